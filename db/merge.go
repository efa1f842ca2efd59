package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

var (
	// ErrDifferentVehicles says that the vehicles cannot be one: owner, make, model, year or VIN differ.
	ErrDifferentVehicles = errors.New("the vehicles differ in owner, make, model, year or VIN, or one of them is merged already")
	// ErrSameVehicle says that they are one already.
	ErrSameVehicle = errors.New("both ids are of the same vehicle already")
)

// Merge says that two vehicles are one car: From came with a new Smartcar id.
type Merge struct {
	FromVehicleID, IntoVehicleID int64
	Actor, Reason                string
}

// MergeVehicles moves the connections of one vehicle to another, with the VIN where
// that one has none, and gives its readings to fn, in the order of observation, to be
// decided again there with TakeReading; all in one transaction under both row locks. ErrDifferentVehicles when
// they cannot be one car.
func (s *Store) MergeVehicles(
	ctx context.Context, merge Merge, fn func(transaction *VehicleTransaction, readings []NewReading) error,
) error {
	if merge.FromVehicleID == merge.IntoVehicleID {
		return ErrSameVehicle
	}
	return s.inTransaction(ctx, "merge vehicles", func(queries *dbsqlc.Queries) error {
		done, err := lockForMerge(ctx, queries, merge)
		if err != nil {
			return err
		}
		if err := moveIdentity(ctx, queries, merge); err != nil || done {
			return err
		}
		err = queries.MarkMerged(ctx, dbsqlc.MarkMergedParams{ID: merge.FromVehicleID, MergedInto: merge.IntoVehicleID})
		if err != nil {
			return translate("mark merged vehicle", err)
		}
		readings, err := readingsOf(ctx, queries, merge.FromVehicleID)
		if err != nil {
			return err
		}
		if err := fn(&VehicleTransaction{queries: queries, vehicleID: merge.IntoVehicleID}, readings); err != nil {
			return &callerError{err: err}
		}
		return logMerge(ctx, queries, merge, len(readings))
	})
}

// lockForMerge takes both row locks, in one order whoever merges what, and makes
// sure that the vehicles can be one car; done when they are already.
func lockForMerge(ctx context.Context, queries *dbsqlc.Queries, merge Merge) (done bool, err error) {
	merged := map[int64]*int64{}
	for _, id := range []int64{
		min(merge.FromVehicleID, merge.IntoVehicleID), max(merge.FromVehicleID, merge.IntoVehicleID),
	} {
		if merged[id], err = queries.LockVehicleForMerge(ctx, id); err != nil {
			return false, translate("lock vehicle", err)
		}
	}
	if into := merged[merge.FromVehicleID]; into != nil && *into == merge.IntoVehicleID {
		return true, nil
	}
	same, err := queries.SameKindOfVehicle(ctx, dbsqlc.SameKindOfVehicleParams{One: merge.FromVehicleID, Other: merge.IntoVehicleID})
	if err != nil {
		return false, translate("compare vehicles", err)
	}
	if !valueOr(same, false) || merged[merge.FromVehicleID] != nil || merged[merge.IntoVehicleID] != nil {
		return false, &callerError{err: ErrDifferentVehicles}
	}
	return false, nil
}

// moveIdentity gives the vehicle that is left what the car is known by. Done again, it
// repairs what an earlier merge has left behind.
func moveIdentity(ctx context.Context, queries *dbsqlc.Queries, merge Merge) error {
	_, err := queries.MoveConnectionsToVehicle(ctx, dbsqlc.MoveConnectionsToVehicleParams{
		FromVehicleID: merge.FromVehicleID, ToVehicleID: merge.IntoVehicleID,
	})
	if err != nil {
		return translate("move connections", err)
	}
	return translate("take VIN over", queries.TakeOverVIN(ctx, dbsqlc.TakeOverVINParams{
		FromVehicleID: merge.FromVehicleID, IntoVehicleID: merge.IntoVehicleID,
	}))
}

func readingsOf(ctx context.Context, queries *dbsqlc.Queries, vehicleID int64) ([]NewReading, error) {
	rows, err := queries.ReadingsOfVehicle(ctx, vehicleID)
	if err != nil {
		return nil, translate("read readings", err)
	}
	readings := make([]NewReading, len(rows))
	for i, row := range rows {
		readings[i] = NewReading{
			ID: row.ID, ObservedAt: row.ObservedAt.UTC(), ObservedAtSource: row.ObservedAtSource, Kilometres: row.OdometerKm,
			ReportedValue: row.ReportedValue, ReportedUnit: row.ReportedUnit, UnitAssumed: row.UnitAssumed,
			SourceType: row.SourceType, EventID: row.EventID, Confirmed: row.Confirmed,
		}
	}
	return readings, nil
}

// TakeReading takes over a reading of the vehicle that is being merged into this
// one, undecided and without a standing entry; false when this vehicle has the same
// observation already, which is left behind.
func (t *VehicleTransaction) TakeReading(ctx context.Context, reading NewReading) (taken bool, err error) {
	changed, err := t.queries.TakeReading(ctx, dbsqlc.TakeReadingParams{ID: reading.ID, VehicleID: t.vehicleID})
	if err != nil || changed == 0 {
		return false, translate("take reading over", err)
	}
	return true, translate("take entry over", t.queries.TakeEntry(ctx, dbsqlc.TakeEntryParams{
		ReadingID: reading.ID, VehicleID: t.vehicleID,
	}))
}

// ExchangeOwner is for an observation that both vehicles have. If the event that brought
// it to the other one comes before the event that owns it here (see AddReading), the two
// change places, and it gives the event that is then left behind; otherwise "".
func (t *VehicleTransaction) ExchangeOwner(ctx context.Context, readingID int64) (leftBehind string, err error) {
	left, err := t.queries.ExchangeOwner(ctx, dbsqlc.ExchangeOwnerParams{ID: readingID, VehicleID: t.vehicleID})
	if err != nil || len(left) == 0 {
		return "", translate("exchange the reading's event", err)
	}
	return left[0], nil
}

func logMerge(ctx context.Context, queries *dbsqlc.Queries, merge Merge, readings int) error {
	data, err := json.Marshal(map[string]any{
		"fromVehicleId": merge.FromVehicleID, "intoVehicleId": merge.IntoVehicleID,
		"readings": readings, "actor": merge.Actor, "reason": merge.Reason,
	})
	if err != nil {
		return fmt.Errorf("write sync log: %w", err)
	}
	return translate("write sync log", queries.InsertSyncLog(ctx, dbsqlc.InsertSyncLogParams{SyncType: "merge", Data: data}))
}
