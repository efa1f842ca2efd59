package db_test

import (
	"errors"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

// mergeBundle has two vehicles of one owner, with one reading of their own each and one that both have.
type mergeBundle struct {
	*vaultBundle

	from, into int64
}

func setupMerge(t *testing.T) *mergeBundle {
	t.Helper()
	b := &mergeBundle{vaultBundle: setupVault(t)}
	statuses, err := b.store.ListVehicles(t.Context(), db.VehicleFilter{Owner: "family@milepost.example", Limit: 2})
	require.NoError(t, err)
	b.into, b.from = statuses[0].VehicleID, statuses[1].VehicleID
	b.read(b.into, "into-1", 1)
	b.read(b.into, "into-2", 2)
	b.read(b.from, "from-2", 2)
	b.read(b.from, "from-3", 3)
	return b
}

// read enters a reading of so many hours and kilometres.
func (b *mergeBundle) read(vehicleID int64, eventID string, number int64) {
	b.t.Helper()
	require.NoError(b.t, b.store.WithVehicle(b.t.Context(), vehicleID, func(transaction *db.VehicleTransaction) error {
		at := time.Date(2026, 11, 20, int(number), 0, 0, 0, time.UTC)
		reading, _, err := transaction.AddReading(b.t.Context(), db.NewReading{
			ObservedAt: at, ObservedAtSource: "oemUpdatedAt", Kilometres: decimal.NewFromInt(number),
			ReportedValue: decimal.NewFromInt(number), ReportedUnit: "km", SourceType: "webhook", EventID: eventID,
		}, at)
		if err != nil {
			return err
		}
		_, err = transaction.Enter(b.t.Context(), reading, "test")
		return err
	}))
}

func (b *mergeBundle) merge(fn func(*db.VehicleTransaction, []db.NewReading) error) error {
	return b.store.MergeVehicles(b.t.Context(), db.Merge{
		FromVehicleID: b.from, IntoVehicleID: b.into, Actor: "support", Reason: "the owner said so",
	}, fn)
}

func TestReadingsAreTakenOverUndecidedAndInOrder(t *testing.T) {
	t.Parallel()
	b := setupMerge(t)
	require.NoError(t, b.merge(func(transaction *db.VehicleTransaction, readings []db.NewReading) error {
		require.Len(t, readings, 2)
		require.Equal(t, []string{"from-2", "from-3"}, []string{readings[0].EventID, readings[1].EventID})
		require.Equal(t, "km", readings[0].ReportedUnit)
		taken, err := transaction.TakeReading(t.Context(), readings[0])
		require.NoError(t, err)
		require.False(t, taken, "the same observation is there")
		taken, err = transaction.TakeReading(t.Context(), readings[1])
		require.NoError(t, err)
		require.True(t, taken)
		return nil
	}))
	require.Equal(t, []string{"undecided"}, b.column(`SELECT verdict FROM odometer_readings WHERE event_id = 'from-3' AND vehicle_id = $1`, b.into))
	require.Equal(t, []string{"1"}, b.column(
		`SELECT count(*)::text FROM meter_entries WHERE event_id = 'from-3' AND vehicle_id = $1 AND superseded_at IS NOT NULL`, b.into))
	require.Equal(t, []string{"2"}, b.column(`SELECT count(*)::text FROM smartcar_vehicles WHERE vehicle_id = $1`, b.into))
	require.Equal(t, []string{"support: the owner said so, 2 readings"}, b.column(
		`SELECT (data->>'actor') || ': ' || (data->>'reason') || ', ' || (data->>'readings') || ' readings' FROM smartcar_sync_logs WHERE sync_type = 'merge'`))
}

func TestAMergeThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	b := setupMerge(t)
	failure := errors.New("no")
	require.ErrorIs(t, b.merge(func(transaction *db.VehicleTransaction, readings []db.NewReading) error {
		_, err := transaction.TakeReading(t.Context(), readings[1])
		require.NoError(t, err)
		return failure
	}), failure)
	require.Equal(t, []string{"2"}, b.column(`SELECT count(*)::text FROM odometer_readings WHERE vehicle_id = $1 AND verdict = 'entered'`, b.from))
	require.Equal(t, []string{"1"}, b.column(`SELECT count(*)::text FROM smartcar_vehicles WHERE vehicle_id = $1`, b.from))
	require.Empty(t, b.column(`SELECT sync_type FROM smartcar_sync_logs`))
}

func TestPossibleDuplicatesAreListedUntilTheyAreMerged(t *testing.T) {
	t.Parallel()
	b := setupMerge(t)
	listed := func() []db.PossibleDuplicate {
		duplicates, err := b.store.PossibleDuplicates(t.Context(), 10)
		require.NoError(t, err)
		return duplicates
	}
	require.Equal(t, []db.PossibleDuplicate{{
		VehicleID: b.into, OtherVehicleID: b.from, SmartcarVehicleID: firstOfFamily, OtherSmartcarVehicleID: secondOfFamily,
		Owner: "family@milepost.example",
	}}, listed())
	b.column(`UPDATE vehicles SET vin = 'VIN' || id RETURNING vin`)
	require.Empty(t, listed(), "two VINs are two cars")
	require.ErrorIs(t, b.merge(nil), db.ErrDifferentVehicles)
	b.column(`UPDATE vehicles SET vin = 'VIN' RETURNING vin`)
	require.Len(t, listed(), 1)
	require.NoError(t, b.merge(func(*db.VehicleTransaction, []db.NewReading) error { return nil }))
	require.Empty(t, listed())
}

func takeNothing(*db.VehicleTransaction, []db.NewReading) error { return nil }

func (b *mergeBundle) connectByVIN(smartcarVehicleID string) (int64, error) {
	return b.connectVehicle(db.ConnectedVehicle{
		SmartcarVehicleID: smartcarVehicleID, OwnerEmail: "family@milepost.example", VIN: "ONECAR",
	})
}

func TestAMergedCarIsStillFoundByItsVIN(t *testing.T) {
	t.Parallel()
	b := setupMerge(t)
	b.change(t, `UPDATE vehicles SET vin = 'ONECAR' WHERE id = $1`, b.from)
	require.NoError(t, b.merge(takeNothing))
	id, err := b.connectByVIN("third-id")
	require.NoError(t, err)
	require.Equal(t, b.into, id)

	// What a merge of before has lost is found again by repeating it.
	b.change(t, `UPDATE vehicles SET vin = '' WHERE id = $1`, b.into)
	b.change(t, `UPDATE smartcar_vehicles SET vehicle_id = $1 WHERE smartcar_vehicle_id = 'third-id'`, b.from)
	require.NoError(t, b.merge(nil))
	require.Equal(t, []string{"ONECAR"}, b.column(`SELECT vin FROM vehicles WHERE id = $1`, b.into))
	require.Equal(t, []string{"3"}, b.column(`SELECT count(*)::text FROM smartcar_vehicles WHERE vehicle_id = $1`, b.into))
	require.Equal(t, []string{"1"}, b.column(`SELECT count(*)::text FROM smartcar_sync_logs WHERE sync_type = 'merge'`))
}

func TestAVehicleThatIsMergedAwayKeepsTheVINOfTheOneThatStays(t *testing.T) {
	t.Parallel()
	b := setupMerge(t)
	b.change(t, `UPDATE vehicles SET vin = 'ONECAR' WHERE id = $1`, b.into)
	require.NoError(t, b.merge(takeNothing))
	require.Equal(t, []string{"ONECAR"}, b.column(`SELECT vin FROM vehicles WHERE id = $1`, b.into))
}

// TestAVehicleThatConnectsDuringAMergeIsNotLeftBehind: it was found by its VIN before the merge ended.
func TestAVehicleThatConnectsDuringAMergeIsNotLeftBehind(t *testing.T) {
	t.Parallel()
	b := setupMerge(t)
	b.change(t, `UPDATE vehicles SET vin = 'ONECAR' WHERE id = $1`, b.from)
	connected := make(chan error, 1)
	require.NoError(t, b.merge(func(*db.VehicleTransaction, []db.NewReading) error {
		go func() {
			_, err := b.connectByVIN("third-id")
			connected <- err
		}()
		require.Eventually(t, func() bool {
			return b.column(`SELECT count(*)::text FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock'`)[0] == "1"
		}, time.Minute, 10*time.Millisecond, "connecting waits for the merge")
		return nil
	}))
	require.ErrorIs(t, <-connected, db.ErrConflict, "which is tried again")
	id, err := b.connectByVIN("third-id")
	require.NoError(t, err)
	require.Equal(t, b.into, id)
	require.NoError(t, b.store.WithVehicle(t.Context(), id, func(*db.VehicleTransaction) error { return nil }))
}
