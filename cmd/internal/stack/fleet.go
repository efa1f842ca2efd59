package stack

import (
	"context"
	"fmt"

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
