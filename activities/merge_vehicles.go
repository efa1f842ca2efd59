package activities

import (
	"context"

	"github.com/milepost/milepost/db"
)

// MergeVehicles continues one meter history for a car that came back under a new
// Smartcar id, as support staff have confirmed: the readings of the one vehicle are
// decided again among those of the other, by the same rules and in one transaction.
//
// It is no activity, but what a command does. Idempotent: what is merged is one vehicle.
func MergeVehicles(ctx context.Context, store *db.Store, merge db.Merge) error {
	return store.MergeVehicles(ctx, merge, func(transaction *db.VehicleTransaction, readings []db.NewReading) error {
		for _, reading := range readings {
			taken, err := transaction.TakeReading(ctx, reading)
			if err != nil {
				return err
			}
			var former string
			if !taken {
				if former, err = leaveBehind(ctx, transaction, reading); err != nil {
					return err
				}
			}
			stored, around, err := transaction.AddReading(ctx, reading, reading.ObservedAt.Add(-duplicateWindow))
			if err != nil {
				return err
			}
			stored.FormerEventID = former
			if _, err := redecide(ctx, transaction, "", stored, around); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaveBehind is for an observation that is in both histories: it counts once, is
// confirmed if either is, and is owned by the event that would own it in one history.
// If that is the one which comes, it gives the event that owned it so far.
func leaveBehind(ctx context.Context, transaction *db.VehicleTransaction, reading db.NewReading) (former string, err error) {
	if err := transaction.Supersede(ctx, reading.ID); err != nil {
		return "", err
	}
	former, err = transaction.ExchangeOwner(ctx, reading.ID)
	if err != nil || former != "" {
		return former, err
	}
	closing, err := closingAnew(db.Reading{
		EventID: reading.EventID, Kilometres: reading.Kilometres, ObservedAt: reading.ObservedAt,
	}, verdictDuplicate, 0, redecidedByMerge)
	if err != nil {
		return "", err
	}
	_, err = transaction.Redecide(ctx, []db.Closing{closing})
	return "", err
}
