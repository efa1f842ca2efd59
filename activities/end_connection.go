package activities

import (
	"context"
	"errors"
	"log/slog"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// EndConnection tells Smartcar that a vehicle is not to be served any more, and then
// forgets its tokens unless another vehicle needs them.
//
// Idempotent: Smartcar's "not found" is the wanted end, and a vehicle that was
// connected again meanwhile is left alone. Tried again while Smartcar or the database
// is away. What Smartcar refuses for good ends the connection here all the same.
func (a *Activities) EndConnection(ctx context.Context, input contract.EndConnectionInput) (struct{}, error) {
	defer heartbeat(ctx)()
	if a.deps.Vault == nil {
		return struct{}{}, classify(errNotConfigured)
	}
	status, err := a.deps.Vault.TokenStatus(ctx, input.SmartcarVehicleID)
	if errors.Is(err, db.ErrNotFound) || (err == nil && status.State != db.StateDisconnecting) {
		return struct{}{}, nil
	}
	if err != nil {
		return struct{}{}, classify(err)
	}
	err = a.tellDisconnected(ctx, status)
	if err != nil && !isRefusal(err) {
		return struct{}{}, classify(err)
	}
	if err != nil {
		a.deps.Logger.Warn("vehicle.disconnect_refused",
			slog.String("vehicleId", input.SmartcarVehicleID), slog.String("error", err.Error()))
	}
	return struct{}{}, classify(a.deps.Store.DisconnectEnded(ctx, input.SmartcarVehicleID, status.TokenID))
}

// tellDisconnected uses the management token for v2 when there is one: it works
// whatever became of the owner's. Source: Smartcar, "Endpoints", DELETE application.
func (a *Activities) tellDisconnected(ctx context.Context, status db.TokenStatus) error {
	if status.API == db.APIv2 && a.deps.ManagementToken != "" {
		platform, err := a.platform(status.API)
		if err != nil {
			return err
		}
		err = platform.Disconnect(ctx, smartcar.Credential{AccessToken: a.deps.ManagementToken}, status.SmartcarVehicleID)
		if !errors.Is(err, smartcar.ErrUnauthorized) && !errors.Is(err, smartcar.ErrForbidden) {
			return err
		}
	}
	return a.withCredential(ctx, grantOf(status), func(platform Platform, credential smartcar.Credential) error {
		return platform.Disconnect(ctx, credential, status.SmartcarVehicleID)
	})
}

func grantOf(status db.TokenStatus) grant {
	return grant{api: status.API, tokenID: status.TokenID, smartcarUserID: status.SmartcarUserID}
}
