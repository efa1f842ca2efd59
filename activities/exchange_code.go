package activities

import (
	"context"
	"errors"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// ExchangeCode trades a consent's authorization code for the first pair of a token
// family. Consents of v3 and re-authentications bring no code, and need none.
//
// Idempotent: the consent's row lock is held for the whole exchange, and a code that
// was exchanged is not there any more. Tried again while Smartcar or the database is
// away. A code that Smartcar does not take is no error but a reason for the owner.
func (a *Activities) ExchangeCode(ctx context.Context, input contract.ExchangeCodeInput) (contract.ExchangeCodeResult, error) {
	defer heartbeat(ctx)()
	consent, err := a.consent(ctx, input.ConsentID)
	if err != nil {
		return contract.ExchangeCodeResult{}, classify(err)
	}
	if consent.SmartcarVehicleID != "" {
		return contract.ExchangeCodeResult{ReauthenticatedVehicleID: consent.SmartcarVehicleID}, nil
	}
	if consent.API == db.APIv3 {
		return contract.ExchangeCodeResult{}, nil
	}
	if a.deps.OAuth == nil {
		return contract.ExchangeCodeResult{}, classify(errNotConfigured)
	}
	err = a.deps.Vault.ExchangeCode(ctx, input.ConsentID, func(ctx context.Context, code string) (db.TokenPair, error) {
		pair, err := a.deps.OAuth.Exchange(ctx, smartcar.Token(code))
		return tokenPair(pair), err
	})
	// A code that was refused may have been used by another try, whose pair is stored by now.
	if err == nil || errors.Is(err, smartcar.ErrInvalidGrant) {
		consent, err = a.consent(ctx, input.ConsentID)
	}
	// The callback of a consent may have brought no code: whoever wrote it, there is nothing to exchange.
	if err == nil && consent.TokenID == 0 {
		return contract.ExchangeCodeResult{Refused: contract.ReasonCodeExpired}, nil
	}
	return contract.ExchangeCodeResult{}, classify(err)
}
