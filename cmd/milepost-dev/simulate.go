package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
)

// simulatorAddress leaves the port to the system: nothing but dev.env needs to know it.
const simulatorAddress = "127.0.0.1:0"

// simulation is a simulated Smartcar: its consent pages and APIs, and cars that drive.
type simulation struct {
	dataDir    string // "" keeps nothing
	out        *lines
	background sync.WaitGroup

	platform  *smartcartest.Platform
	simulator *smartcartest.Simulator
	server    *http.Server
}

// start serves the platform and gives its URL. The stack calls it before Milepost is started.
func (s *simulation) start(ctx context.Context, application stack.Application) (string, error) {
	if err := s.prepare(application); err != nil {
		return "", fmt.Errorf("prepare the simulator: %w", err)
	}
	page, err := s.simulator.Handler()
	if err != nil {
		return "", fmt.Errorf("prepare the simulator's page: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", page)
	for _, path := range s.platform.Paths() {
		mux.Handle(path, s.platform)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address())
	if err != nil {
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", simulatorAddress)
	}
	if err != nil {
		return "", fmt.Errorf("listen for the simulator: %w", err)
	}
	s.server = api.NewServer(listener.Addr().String(), mux)
	s.background.Go(func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.out.print("the simulator is gone: " + err.Error())
		}
	})
	return "http://" + listener.Addr().String(), nil
}

// address is that of the last run, if it is known: a browser may still have a page of it open.
func (s *simulation) address() string {
	if s.dataDir == "" {
		return simulatorAddress
	}
	environment, err := stack.ReadEnvironmentFile(s.dataDir)
	if err != nil {
		return simulatorAddress // the first run
	}
	if address := environment["SMARTCARSIM_URL"]; address != "" {
		return address[len("http://"):]
	}
	return simulatorAddress
}

func (s *simulation) prepare(application stack.Application) error {
	sender, err := smartcartest.NewSender(smartcartest.SenderDeps{
		URL: application.WebhookURL, Token: application.ManagementToken,
	})
	if err != nil {
		return err
	}
	driving := smartcartest.SimulatorDeps{Deliverer: sender}
	platform := smartcartest.PlatformDeps{
		ClientID: application.ClientID, ClientSecret: application.ClientSecret,
		APIClientID: application.APIClientID, APIClientSecret: application.ClientSecret,
		ManagementToken: application.ManagementToken, RedirectURIs: []string{application.RedirectURI},
	}
	if s.dataDir != "" {
		driving.StateFile = filepath.Join(s.dataDir, "simulator.json")
		platform.StateFile = filepath.Join(s.dataDir, "platform.json")
	}
	if s.simulator, err = smartcartest.NewSimulator(driving); err != nil {
		return err
	}
	s.platform, err = smartcartest.NewPlatform(platform)
	return err
}

// drive connects the cars that are not connected yet, and reports them until ctx is done.
func (s *simulation) drive(ctx context.Context, running *stack.Stack) error {
	for _, car := range smartcartest.DefaultCars() {
		if err := running.ConnectSimulated(ctx, s.platform, car); err != nil {
			return fmt.Errorf("connect the simulated cars: %w", err)
		}
	}
	s.background.Go(func() {
		if err := s.simulator.Run(ctx); err != nil {
			s.out.print("the simulator stopped: " + err.Error())
		}
	})
	return nil
}

// stop ends the server; the cars end with their context.
func (s *simulation) stop() error {
	var err error
	if s.server != nil {
		if err = s.server.Close(); err != nil {
			err = fmt.Errorf("close the simulator: %w", err)
		}
	}
	s.background.Wait()
	return err
}
