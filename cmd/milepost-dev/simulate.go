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
	"github.com/milepost/milepost/db"
)

// simulatorAddress leaves the port to the system: nothing but dev.env needs to know it.
const simulatorAddress = "127.0.0.1:0"

// simulate connects three cars, drives them until ctx is done, and gives the
// simulator's URL.
func simulate(ctx context.Context, running *stack.Stack, background *sync.WaitGroup, dataDir string, out *lines) (string, error) {
	cars := smartcartest.DefaultCars()
	for _, car := range cars {
		_, err := running.Store.ConnectVehicle(ctx, db.ConnectedVehicle{
			SmartcarVehicleID: car.VehicleID, SmartcarUserID: car.UserID,
			OwnerEmail: "simulated-driver@milepost.example", OwnerName: "Simulated Driver",
			Make: car.Make, Model: car.Model, Year: int32(car.Year), //nolint:gosec // a year
		})
		if err != nil {
			return "", fmt.Errorf("connect the simulated cars: %w", err)
		}
	}
	sender, err := smartcartest.NewSender(smartcartest.SenderDeps{
		URL: running.URL() + webhookPath, Token: running.ManagementToken(),
	})
	if err != nil {
		return "", fmt.Errorf("prepare the simulator: %w", err)
	}
	deps := smartcartest.SimulatorDeps{Deliverer: sender, Cars: cars}
	if dataDir != "" {
		deps.StateFile = filepath.Join(dataDir, "simulator.json")
	}
	simulator, err := smartcartest.NewSimulator(deps)
	if err != nil {
		return "", fmt.Errorf("prepare the simulator: %w", err)
	}
	handler, err := simulator.Handler()
	if err != nil {
		return "", fmt.Errorf("prepare the simulator's page: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", simulatorAddress)
	if err != nil {
		return "", fmt.Errorf("listen for the simulator: %w", err)
	}
	server := api.NewServer(listener.Addr().String(), handler)
	background.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			out.print("the simulator's page is gone: " + err.Error())
		}
	})
	background.Go(func() {
		if err := simulator.Run(ctx); err != nil {
			out.print("the simulator stopped: " + err.Error())
		}
		if err := server.Close(); err != nil {
			out.print("close the simulator's page: " + err.Error())
		}
	})
	return "http://" + listener.Addr().String(), nil
}
