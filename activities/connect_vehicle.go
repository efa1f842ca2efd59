package activities

import (
	"context"
	"errors"
	"log/slog"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// ConnectVehicle asks Smartcar what a vehicle of a consent is, and stores it with
// its owner, permissions and tokens, in one transaction with all that follows.
//
// Idempotent: a vehicle that is connected is brought up to date, and told of once.
// Tried again while Smartcar or the database is away. A vehicle that Smartcar will
// not describe, or that another user has connected, is no error but a reason.
func (a *Activities) ConnectVehicle(
	ctx context.Context, input contract.ConnectVehicleInput,
) (contract.ConnectVehicleResult, error) {
	defer heartbeat(ctx)()
	consent, err := a.consent(ctx, input.ConsentID)
	if err != nil {
		return contract.ConnectVehicleResult{}, classify(err)
	}
	var vehicle smartcar.Vehicle
	err = a.withCountedCredential(ctx, grantOfConsent(consent), func(
		ctx context.Context, platform Platform, credential smartcar.Credential,
	) (err error) {
		vehicle, err = platform.Vehicle(ctx, credential, input.SmartcarVehicleID)
		return err
	})
	if isRefusal(err) {
		a.deps.Logger.Warn("vehicle.refused",
			slog.String("vehicleId", input.SmartcarVehicleID), slog.String("error", err.Error()))
		return contract.ConnectVehicleResult{Refused: contract.ReasonVehicleRefused}, nil
	}
	if err != nil {
		return contract.ConnectVehicleResult{}, classify(err)
	}
	_, err = a.deps.Store.ConnectVehicle(ctx, db.ConnectedVehicle{
		SmartcarVehicleID: input.SmartcarVehicleID, SmartcarUserID: vehicle.UserID, OwnerID: consent.OwnerID,
		Make: vehicle.Make, Model: vehicle.Model, Year: int32(vehicle.Year), //nolint:gosec // a year
		VIN: vehicle.VIN, Permissions: vehicle.Permissions, API: consent.API, TokenID: consent.TokenID, ConsentID: consent.ID,
	})
	if errors.Is(err, db.ErrOtherOwner) {
		return contract.ConnectVehicleResult{Refused: contract.ReasonOtherOwner}, nil
	}
	if err != nil {
		return contract.ConnectVehicleResult{}, classify(err)
	}
	a.deps.Logger.Info("vehicle.connected", slog.String("vehicleId", input.SmartcarVehicleID))
	return contract.ConnectVehicleResult{}, nil
}
