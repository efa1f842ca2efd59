package activities

import (
	"context"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// CloseConsent says how a consent ended, for the page that the owner is looking at.
//
// Idempotent: a consent is closed once. Tried again while the database is away.
func (a *Activities) CloseConsent(ctx context.Context, input contract.CloseConsentInput) (struct{}, error) {
	phase := db.ConsentConnected
	if input.Reason != "" {
		phase = db.ConsentFailed
	}
	return struct{}{}, classify(a.deps.Store.CloseConsent(ctx, input.ConsentID, phase, string(input.Reason)))
}
