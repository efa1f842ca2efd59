package activities

import (
	"context"
	"errors"

	"github.com/milepost/milepost/db"
)

// confirmStored enters the reading of an event whose payload has been trimmed, once a
// person has confirmed it: the reading is all that is needed of it. The event comes
// back as it is then closed. What has brought no reading gives missing.
//
// It is no activity, but a part of loading. Idempotent, as WriteMeterEntry is.
func (a *Activities) confirmStored(ctx context.Context, event db.LedgerEvent, missing error) (db.LedgerEvent, error) {
	var decided redecided
	err := a.deps.Store.WithVehicle(ctx, event.VehicleID, func(transaction *db.VehicleTransaction) error {
		reading, err := transaction.ReadingOf(ctx, event.EventID)
		if errors.Is(err, db.ErrNotFound) {
			return missing
		}
		if err != nil {
			return err
		}
		reading.Confirmed = true
		stored, around, err := transaction.AddReading(ctx, reading, reading.ObservedAt.Add(-duplicateWindow))
		if err != nil {
			return err
		}
		decided, err = redecide(ctx, transaction, event.EventID, stored, around)
		if err != nil {
			return err
		}
		closing, err := closingAnew(stored, decided.verdict, decided.entryID, event.EventID)
		if err != nil {
			return err
		}
		_, err = transaction.Close(ctx, closing)
		return err
	})
	if err != nil {
		return event, err
	}
	a.redecided(ctx, decided.events)
	return a.deps.Store.EventForProcessing(ctx, event.EventID)
}
