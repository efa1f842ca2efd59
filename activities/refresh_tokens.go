package activities

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// The log events of refreshing, which alarms rely on.
const (
	logTokensRefreshed     = "tokens.refreshed"
	logReauthRequired      = "tokens.reauth_required"
	logCredentialsRefused  = "smartcar.credentials_refused" //nolint:gosec // a name
	logPlanRefused         = "smartcar.plan_refused"
	logRefreshFailed       = "tokens.refresh_failed"
	logRefreshRecovered    = "tokens.refresh_recovered"
	logRefreshNotRecovered = "tokens.refresh_not_recovered"
)

// RefreshTokens gives a vehicle's token family a new pair, unless somebody else did
// since the caller looked.
//
// Idempotent: the family's row lock is held for the whole exchange, the pair that
// was due is named by its generation, and a family at a later one is left alone.
// Tried again for as long as Smartcar or the database is away, honouring Retry-After;
// with the application's credentials refused, at long intervals. A refusal of the
// owner's tokens is no error but the state reauth_required; where there is nothing to
// be kept fresh any more, the vehicle's state is all that comes back.
func (a *Activities) RefreshTokens(ctx context.Context, input contract.RefreshTokensInput) (contract.TokenStatus, error) {
	defer heartbeat(ctx)()
	if a.deps.Vault == nil || a.deps.OAuth == nil {
		return contract.TokenStatus{}, classify(errNotConfigured)
	}
	known, err := a.LoadTokenStatus(ctx, contract.LoadTokenStatusInput{SmartcarVehicleID: input.SmartcarVehicleID})
	if err != nil || known.State == contract.ConnectionDisconnecting || known.State == contract.ConnectionEnded {
		return known, err
	}
	status, err := a.deps.Vault.Refresh(ctx, db.RefreshRequest{
		SmartcarVehicleID: input.SmartcarVehicleID, TokenID: input.TokenID, Generation: input.Generation,
		EvenIfInvalid: input.EvenIfInvalid,
	}, a.exchangeRefreshToken)
	vehicle := slog.String("vehicleId", input.SmartcarVehicleID)
	switch {
	case errors.Is(err, db.ErrNotFound): // the family is gone; the vehicle may have another one
		return a.LoadTokenStatus(ctx, contract.LoadTokenStatusInput{SmartcarVehicleID: input.SmartcarVehicleID})
	case err != nil:
		result := RefreshFailed
		if isOperatorsFault(err) {
			result = RefreshCredentialsRefused
		}
		a.observeRefresh(ctx, result)
		a.deps.Logger.Warn(logRefreshFailed, vehicle, slog.String("error", err.Error()))
		return contract.TokenStatus{}, classify(err)
	}
	described := a.describeTokens(status)
	switch described.State {
	case contract.ConnectionReauthRequired:
		a.observeRefresh(ctx, RefreshNeedsOwner)
		a.deps.Logger.Warn(logReauthRequired, vehicle)
	case contract.ConnectionActive:
		a.observeRefresh(ctx, RefreshDone)
		a.deps.Logger.Info(logTokensRefreshed, vehicle, slog.Int64("generation", status.Generation))
	case contract.ConnectionDisconnecting, contract.ConnectionEnded:
	}
	return described, nil
}

// RecoverRefreshes finishes calls to Smartcar whose answer, and with it the new pair,
// was lost, by whomever they were made: a process that died, or one that goes on to
// something else, as a poll does. The same old token is used again while Smartcar still
// takes it. It is for every worker to do every few seconds, and does not need Temporal,
// which may be away, or slow to notice. What cannot be recovered is left to TokenRefresh.
func (a *Activities) RecoverRefreshes(ctx context.Context) error {
	if a.deps.Vault == nil || a.deps.OAuth == nil {
		return nil
	}
	unfinished, err := a.deps.Vault.UnfinishedRefreshes(ctx, a.deps.Clock(), longestGrace)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(recoveryConcurrency)
	for _, refresh := range unfinished {
		group.Go(func() error {
			vehicle := slog.String("vehicleId", refresh.SmartcarVehicleID)
			status, err := a.deps.Vault.Refresh(ctx, db.RefreshRequest{
				SmartcarVehicleID: refresh.SmartcarVehicleID, TokenID: refresh.TokenID, Generation: refresh.Generation,
				EvenIfInvalid: true, // as the call was that is made again, if it was made at all
			}, a.exchangeRefreshToken)
			switch {
			case err != nil:
				a.deps.Logger.Warn(logRefreshNotRecovered, vehicle, slog.String("error", err.Error()))
			case !status.Valid:
				a.deps.Logger.Warn(logReauthRequired, vehicle)
			default:
				a.deps.Logger.Info(logRefreshRecovered, vehicle)
			}
			return nil // for TokenRefresh to go on with
		})
	}
	return errors.Join(group.Wait(), ctx.Err())
}

const (
	// longestGrace is the longest time for which Smartcar is said to take a used token. Source:
	// Smartcar, "Lifetimes and rotation".
	longestGrace        = 10 * time.Minute
	recoveryConcurrency = 4
)

var _ OAuth = (*smartcar.OAuth)(nil)
