package activities

import (
	"context"
	"errors"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// ResumeVehicle takes a vehicle up again whose owner has re-authenticated: Smartcar
// issues no new tokens then, the old ones work again, which a refresh proves. Under
// v3 there is nothing to prove. Source: Smartcar, "Re-authentication".
//
// Idempotent: one refresh more does no harm, and the application is told once. Tried
// again while Smartcar or the database is away. Tokens that are refused again are no
// error but a reason for the owner.
func (a *Activities) ResumeVehicle(ctx context.Context, input contract.ResumeVehicleInput) (contract.ResumeVehicleResult, error) {
	defer heartbeat(ctx)()
	if a.deps.Vault == nil {
		return contract.ResumeVehicleResult{}, classify(errNotConfigured)
	}
	status, err := a.deps.Vault.TokenStatus(ctx, input.SmartcarVehicleID)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return contract.ResumeVehicleResult{Refused: contract.ReasonReauthenticationFailed}, nil
	case err != nil:
		return contract.ResumeVehicleResult{}, classify(err)
	case status.API == db.APIv2 && a.deps.OAuth == nil:
		return contract.ResumeVehicleResult{}, classify(errNotConfigured)
	case status.API == db.APIv2:
		status, err = a.deps.Vault.Refresh(ctx, db.RefreshRequest{
			SmartcarVehicleID: input.SmartcarVehicleID, EvenIfInvalid: true,
		}, a.exchangeRefreshToken)
	}
	if err != nil {
		return contract.ResumeVehicleResult{}, classify(err)
	}
	if status.API == db.APIv2 && !status.Valid {
		return contract.ResumeVehicleResult{Refused: contract.ReasonReauthenticationFailed}, nil
	}
	return contract.ResumeVehicleResult{}, classify(a.deps.Store.ResolveReauthentication(ctx, input.SmartcarVehicleID))
}
