package activities

import (
	"context"
	"errors"
	"log/slog"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// SubscribeVehicle subscribes a connected vehicle to the configured webhook; without
// one there is nothing to do, since the webhook enrols vehicles by itself.
//
// Idempotent: a subscription that is there is what was wanted, and a vehicle that was
// disconnected meanwhile wants none. Tried again while
// Smartcar or the database is away. What Smartcar refuses for good is logged and
// leaves the vehicle connected: `milepost vehicles list` shows it as not subscribed.
func (a *Activities) SubscribeVehicle(ctx context.Context, input contract.SubscribeVehicleInput) (struct{}, error) {
	defer heartbeat(ctx)()
	if a.deps.WebhookID == "" {
		return struct{}{}, nil
	}
	if a.deps.Vault == nil {
		return struct{}{}, classify(errNotConfigured)
	}
	status, err := a.deps.Vault.TokenStatus(ctx, input.SmartcarVehicleID)
	if errors.Is(err, db.ErrNotFound) {
		return struct{}{}, nil
	}
	if err != nil {
		return struct{}{}, classify(err)
	}
	if !status.Active {
		return struct{}{}, nil // disconnected meanwhile: it has no tokens to call with
	}
	err = a.withCountedCredential(ctx, grantOf(status), func(
		ctx context.Context, platform Platform, credential smartcar.Credential,
	) error {
		return platform.Subscribe(ctx, credential, input.SmartcarVehicleID, a.deps.WebhookID)
	})
	if isRefusal(err) {
		a.deps.Logger.Error("vehicle.not_subscribed",
			slog.String("vehicleId", input.SmartcarVehicleID), slog.String("error", err.Error()))
		return struct{}{}, nil
	}
	if err != nil {
		return struct{}{}, classify(err)
	}
	return struct{}{}, classify(a.deps.Store.VehicleSubscribed(ctx, input.SmartcarVehicleID, a.deps.WebhookID))
}
