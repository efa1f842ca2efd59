package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
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

	application stack.Application

	platform  *smartcartest.Platform
	webhooks  *smartcartest.Webhooks
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
	for _, path := range s.webhooks.Paths() {
		mux.Handle(path, s.webhooks)
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
	s.application = application
	currentCar := func(vehicleID string) (smartcartest.Car, bool) { return s.simulator.Car(vehicleID) }
	var err error
	if s.webhooks, err = smartcartest.NewWebhooks(smartcartest.WebhooksDeps{CurrentCar: currentCar}); err != nil {
		return err
	}
	owners, cars := simulatedOwners()
	driving := smartcartest.SimulatorDeps{Deliverer: s.webhooks, Cars: cars}
	platform := smartcartest.PlatformDeps{
		ClientID: application.ClientID, ClientSecret: application.ClientSecret,
		APIClientID: application.APIClientID, APIClientSecret: application.ClientSecret,
		ManagementToken: application.ManagementToken, RedirectURIs: []string{application.RedirectURI},
		Users: owners, CurrentCar: currentCar, WebhookIDs: []string{application.WebhookID},
		RESTLimits: smartcartest.DocumentedRESTLimits(), OnSubscribed: s.subscribed, OnUnsubscribed: s.unsubscribed,
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

// subscribed sends a car's first delivery; from then on it is reported.
func (s *simulation) subscribed(vehicleID string) {
	if err := s.webhooks.Subscribe(s.application.WebhookID, vehicleID); err != nil {
		s.out.print("the simulator cannot report " + vehicleID + ": " + err.Error())
	}
}

func (s *simulation) unsubscribed(webhookID, vehicleID string) {
	if err := s.webhooks.Unsubscribe(webhookID, vehicleID); err != nil {
		s.out.print("the simulator goes on reporting " + vehicleID + ": " + err.Error())
	}
}

// drive connects the cars that are not connected yet, and reports them until ctx is done.
func (s *simulation) drive(ctx context.Context, running *stack.Stack) error {
	err := s.webhooks.Register(ctx, smartcartest.Webhook{
		ID: s.application.WebhookID, URL: s.application.WebhookURL, Token: s.application.ManagementToken,
	})
	if err != nil && !errors.Is(err, smartcartest.ErrVerifyFailed) { // it is tried again
		return fmt.Errorf("register the simulated webhook: %w", err)
	}
	for _, car := range smartcartest.DefaultCars() {
		if err := running.ConnectSimulated(ctx, s.platform, car); err != nil {
			return fmt.Errorf("connect the simulated cars: %w", err)
		}
		s.subscribed(car.VehicleID)
	}
	s.background.Go(func() {
		if err := s.webhooks.Run(ctx); err != nil {
			s.out.print("the simulator stopped delivering: " + err.Error())
		}
	})
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

// simulatedOwners are the owners of the cars that are connected from the start, and
// Katherine, whose two cars are there to be connected.
func simulatedOwners() (owners []smartcartest.PlatformUser, cars []smartcartest.Car) {
	cars = smartcartest.DefaultCars()
	for _, car := range cars {
		name, _, _ := strings.Cut(car.Name, "'s ")
		owners = append(owners, smartcartest.PlatformUser{
			ID: car.UserID, Name: name + " (connected already)", Cars: []smartcartest.PlatformCar{{Car: car}},
		})
	}
	const katherine = "d2a85c19-7e40-4b6f-9c13-5f8a0e6b7104"
	free := []smartcartest.Car{
		{
			Name: "Katherine's estate", VehicleID: "1c7e9a34-5d20-4f8b-8a6e-b3f0d4c2e501", UserID: katherine,
			Make: "VOLVO", Model: "V60", Year: 2022, Unit: "km", OdometerKm: 41260.8, Level: 55, Speed: 60,
		},
		{
			Name: "Katherine's roadster", VehicleID: "94b3f6d8-2a17-4e5c-b0d9-7c8e1f5a6502", UserID: katherine,
			Make: "TESLA", Model: "Roadster", Year: 2024, Unit: "mi", Electric: true, OdometerKm: 8033.4, Level: 80, Speed: 60,
		},
	}
	owner := smartcartest.PlatformUser{ID: katherine, Name: "Katherine"}
	for _, car := range free {
		owner.Cars = append(owner.Cars, smartcartest.PlatformCar{Car: car})
	}
	return append([]smartcartest.PlatformUser{owner}, owners...), append(cars, free...)
}
