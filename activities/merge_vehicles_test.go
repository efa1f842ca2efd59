package activities_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const returned = "the-same-car-under-a-new-id"

// setupTwins gives one owner two vehicles that may be one car: smartcarVehicle and returned.
func setupTwins(t *testing.T) (b *bundle, otherID int64) {
	t.Helper()
	b = setup(t)
	otherID, err := b.store.ConnectVehicle(t.Context(), db.ConnectedVehicle{SmartcarVehicleID: returned, OwnerEmail: "owner@milepost.example"})
	require.NoError(t, err)
	return b, otherID
}

// arriveAt takes a reading through processing, of either vehicle.
func (b *bundle) arriveAt(vehicle, eventID, kilometres string, observedAt time.Time) contract.WriteMeterEntryResult {
	b.t.Helper()
	b.receive(strings.ReplaceAll(state(eventID, kilometres, observedAt), smartcarVehicle, vehicle))
	return b.process(eventID)
}

func (b *bundle) merge(from, into int64) error {
	return activities.MergeVehicles(b.t.Context(), b.store, db.Merge{FromVehicleID: from, IntoVehicleID: into, Actor: "test", Reason: "same car"})
}

// TestTwoHistoriesMergedAreTheHistoryOfAllReadings feeds the same readings to two vehicles that are merged, and to one.
func TestTwoHistoriesMergedAreTheHistoryOfAllReadings(t *testing.T) {
	t.Parallel()
	for round := range 10 {
		seed := uint64(round) + 1
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, seed))
			apart, otherID := setupTwins(t)
			together := setup(t)
			for i := range 40 {
				// Few distinct values and moments, so that all rules meet each other, and some observations come twice.
				kilometres := fmt.Sprintf("%d.%d", 1000+random.IntN(12)*300+i*20, random.IntN(3))
				observedAt := noon().Add(time.Duration(random.IntN(90)) * 20 * time.Minute)
				vehicles := [][]string{{smartcarVehicle}, {returned}, {smartcarVehicle, returned}}[random.IntN(3)]
				for _, vehicle := range vehicles {
					eventID := fmt.Sprintf("event-%d-%s", i, vehicle)
					apart.arriveAt(vehicle, eventID, kilometres, observedAt)
					together.arrive(eventID, kilometres, observedAt)
				}
			}
			from, into := otherID, apart.vehicleID
			if seed%2 == 0 {
				from, into = into, from
			}
			require.NoError(t, apart.merge(from, into))
			require.NotEmpty(t, together.entries())
			require.Equal(t, together.entries(), apart.entries())
			require.Equal(t, []string{fmt.Sprint(into)}, texts(t, apart.url, "SELECT DISTINCT vehicle_id::text FROM meter_entries WHERE superseded_at IS NULL"))
			require.Equal(t, []string{fmt.Sprint(into)}, texts(t, apart.url, "SELECT DISTINCT vehicle_id::text FROM smartcar_vehicles"))
			owned := "SELECT concat_ws(' ', entry_date, odometer_km, event_id, source_type, notes) FROM meter_entries WHERE superseded_at IS NULL ORDER BY 1"
			require.Equal(t, texts(t, together.url, owned), texts(t, apart.url, owned), "and are the same events'")
			ledger := "SELECT outcome || ' ' || count(*) FROM smartcar_webhook_events WHERE status = 'processed' GROUP BY outcome ORDER BY outcome"
			require.Equal(t, texts(t, together.url, ledger), texts(t, apart.url, ledger), "the events end as they would have")

			require.NoError(t, apart.merge(from, into), "what is merged is one vehicle")
			require.Equal(t, together.entries(), apart.entries())
			require.Equal(t, texts(t, together.url, ledger), texts(t, apart.url, ledger))
			late := noon().Add(7 * time.Hour)
			require.Equal(t, together.arrive("late", "2000", late).Outcome, apart.arriveAt(returned, "late", "2000", late).Outcome)
			require.Equal(t, together.entries(), apart.entries(), "and goes on as one")
			require.Equal(t, texts(t, together.url, owned), texts(t, apart.url, owned))
		})
	}
}

func TestTheSameObservationInBothHistoriesCountsOnce(t *testing.T) {
	t.Parallel()
	b, otherID := setupTwins(t)
	b.arriveAt(smartcarVehicle, "one", "100", noon())
	b.arriveAt(returned, "other", "100", noon())
	require.Len(t, b.entries(), 2)
	require.NoError(t, b.merge(otherID, b.vehicleID))
	require.Equal(t, []string{"100.000 at 0.00"}, b.entries())
	require.Equal(t, string(contract.OutcomeMeterEntry), *b.event("one").Outcome)
	require.Equal(t, string(contract.OutcomeDuplicateReading), *b.event("other").Outcome)
}

func TestAReadingThatAPersonConfirmedStaysConfirmedInBothDirections(t *testing.T) {
	t.Parallel()
	for name, confirmed := range map[string]string{"of the vehicle that goes": "other-jump", "of the vehicle that stays": "jump"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, otherID := setupTwins(t)
			for vehicle, prefix := range map[string]string{smartcarVehicle: "", returned: "other-"} {
				b.arriveAt(vehicle, prefix+"start", "100", noon())
				require.Equal(t, contract.FailureImplausibleReading, b.arriveAt(vehicle, prefix+"jump", "9000", noon().Add(time.Hour)).FailureClass)
			}
			require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: confirmed, Actor: "test", ConfirmReading: true}))
			require.Equal(t, contract.OutcomeMeterEntry, b.process(confirmed).Outcome)
			require.NoError(t, b.merge(otherID, b.vehicleID))
			require.Equal(t, []string{"100.000 at 0.00", "9000.000 at 1.00"}, b.entries())
			outcomes := []string{*b.event("jump").Outcome, *b.event("other-jump").Outcome}
			slices.Sort(outcomes)
			require.Equal(t, []string{"duplicate_reading", "meter_entry"}, outcomes)
		})
	}
}

// TestAnEventThatWasLoadedBeforeTheMergeIsWrittenAfterIt: the write may have been waiting for long.
func TestAnEventThatWasLoadedBeforeTheMergeIsWrittenAfterIt(t *testing.T) {
	t.Parallel()
	b, otherID := setupTwins(t)
	b.arriveAt(smartcarVehicle, "one", "100", noon())
	b.receive(strings.ReplaceAll(state("waiting", "200", noon().Add(time.Hour)), smartcarVehicle, returned))
	loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: "waiting"})
	require.NoError(t, err)
	require.NoError(t, b.merge(otherID, b.vehicleID))
	_, err = b.WriteMeterEntry(t.Context(), contract.WriteMeterEntryInput{
		EventID: "waiting", VehicleID: loaded.VehicleID,
		Odometer: &contract.OdometerReading{Reported: *loaded.Odometer, Kilometres: loaded.Odometer.Value},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"100.000 at 0.00", "200.000 at 1.00"}, b.entries())
	require.Equal(t, []string{fmt.Sprint(b.vehicleID)}, texts(t, b.url, "SELECT DISTINCT vehicle_id::text FROM meter_entries"))
}

func TestVehiclesThatCannotBeOneCarAreNotMerged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	vehicle := func(change func(*db.ConnectedVehicle)) int64 {
		described := db.ConnectedVehicle{
			OwnerEmail: driver, Make: "POLESTAR", Model: "Polestar 2", Year: 2023, VIN: vin,
		}
		change(&described)
		described.SmartcarVehicleID = fmt.Sprintf("%s-%s-%s-%d-%s", described.OwnerEmail, described.Make, described.Model, described.Year, described.VIN)
		id, err := b.store.ConnectVehicle(t.Context(), described)
		require.NoError(t, err)
		return id
	}
	into := vehicle(func(*db.ConnectedVehicle) {})
	for name, change := range map[string]func(*db.ConnectedVehicle){
		"another owner": func(v *db.ConnectedVehicle) { v.OwnerEmail = "another@milepost.example" },
		"another make":  func(v *db.ConnectedVehicle) { v.Make, v.VIN = "VOLVO", "" },
		"another model": func(v *db.ConnectedVehicle) { v.Model, v.VIN = "Polestar 3", "" },
		"another year":  func(v *db.ConnectedVehicle) { v.Year, v.VIN = 2024, "" },
		"another VIN":   func(v *db.ConnectedVehicle) { v.VIN = otherVIN },
	} {
		other := vehicle(change)
		err := b.merge(other, into)
		require.ErrorIs(t, err, db.ErrDifferentVehicles, name)
		require.ErrorIs(t, b.merge(into, other), db.ErrDifferentVehicles, name)
		require.NotContains(t, err.Error(), vin)
	}
	require.ErrorIs(t, b.merge(into, into), db.ErrSameVehicle)
	require.ErrorIs(t, b.merge(into, 4711), db.ErrNotFound)
	require.NoError(t, b.merge(vehicle(func(v *db.ConnectedVehicle) { v.VIN = "" }), into), "a VIN that is not known differs from none")
}
