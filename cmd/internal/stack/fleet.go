package stack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/db"
)

// exampleFleet are the vehicles of the example payloads, so that any of them can be sent.
func exampleFleet() []db.ConnectedVehicle {
	const owner, name, smartcarUser = "driver@milepost.example", "Example Driver", "7c2f0f2e-5b7e-4d1c-9c55-0f4a3c1d9e11"
	return []db.ConnectedVehicle{
		{
			SmartcarVehicleID: "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90", SmartcarUserID: smartcarUser,
			OwnerEmail: owner, OwnerName: name, Make: "POLESTAR", Model: "Polestar 2", Year: 2023,
		},
		{
			SmartcarVehicleID: "0f6d2c4b-9a1e-4c7d-8b3f-5e6a7d8c9b01", SmartcarUserID: smartcarUser,
			OwnerEmail: owner, OwnerName: name, Make: "FORD", Model: "F-150", Year: 2021,
		},
		{
			SmartcarVehicleID: "36ab27d0-fd9d-4455-823a-ce30af709ffc", SmartcarUserID: smartcarUser,
			OwnerEmail: owner, OwnerName: name, Make: "TESLA", Model: "Model 3", Year: 2020,
		},
	}
}

func seedFleet(ctx context.Context, store *db.Store) error {
	for _, vehicle := range exampleFleet() {
		if _, err := store.ConnectVehicle(ctx, vehicle); err != nil {
			return fmt.Errorf("seed the example fleet: %w", err)
		}
	}
	return nil
}

// Issuer issues tokens as an owner's consent would: smartcartest.Platform.
type Issuer interface {
	Issue(userID string, vehicleIDs []string) (access, refresh string)
}

// simulatedOwner owns the simulated cars.
const simulatedOwner = "simulated-driver@milepost.example"

// ConnectSimulated connects a car with tokens of the simulated Smartcar, unless it has some already.
func (s *Stack) ConnectSimulated(ctx context.Context, issuer Issuer, car smartcartest.Car) error {
	status, err := s.Vault.TokenStatus(ctx, car.VehicleID)
	if err == nil && status.TokenID != 0 && status.Valid {
		return nil
	}
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	ownerID, err := s.Store.Owner(ctx, simulatedOwner, "Simulated Driver")
	if err != nil {
		return err
	}
	access, refresh := issuer.Issue(car.UserID, []string{car.VehicleID})
	tokenID, err := s.Vault.AddTokens(ctx, ownerID, db.TokenPair{
		AccessToken: access, RefreshToken: refresh, ExpiresIn: simulatedAccessLife,
	})
	if err != nil {
		return err
	}
	_, err = s.Store.ConnectVehicle(ctx, db.ConnectedVehicle{
		SmartcarVehicleID: car.VehicleID, SmartcarUserID: car.UserID, OwnerID: ownerID, TokenID: tokenID,
		Make: car.Make, Model: car.Model, Year: int32(car.Year), //nolint:gosec // a year
	})
	return err
}

// simulatedAccessLife is the life that the simulated Smartcar gives access tokens.
const simulatedAccessLife = 2 * time.Hour
