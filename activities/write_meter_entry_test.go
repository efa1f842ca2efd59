package activities_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

func TestAReadingIsEnteredWithItsSignalsLogAndLedgerMark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	result := b.arrive("one", "42506.3", noon())

	require.Equal(t, contract.OutcomeMeterEntry, result.Outcome)
	require.Equal(t, []string{"42506.300 at 0.00"}, b.entries())
	require.Equal(t, db.StatusProcessed, b.event("one").Status)
	require.Equal(t, []string{"odometer " + fmt.Sprint(result.MeterEntryID)},
		texts(t, b.url, "SELECT sync_type || ' ' || (data->>'meterEntryId') FROM smartcar_sync_logs"))
	require.Equal(t, []string{
		`odometer-traveleddistance {"value":42506.3,"unit":"km"} -`, "tractionbattery-range - SERVER/INTERNAL",
	}, texts(t, b.url, `SELECT data_type || ' ' || coalesce(data_value::text, '-') || ' ' ||
		coalesce(failure_type || '/' || failure_code, '-') FROM vehicle_data ORDER BY id`))
	require.Equal(t, []string{"webhook Smartcar webhook one"},
		texts(t, b.url, "SELECT source_type || ' ' || notes || ' ' || event_id FROM meter_entries"))
}

func TestTheHappyPathDoesEverythingAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	input := contract.ProcessAtOnceInput{EventID: b.receive(state("one", "42506.3", noon()))}
	result, err := b.ProcessAtOnce(t.Context(), input)
	require.NoError(t, err)
	require.Equal(t, contract.OutcomeMeterEntry, result.Written.Outcome)
	require.Equal(t, []string{"42506.300 at 0.00"}, b.entries())

	again, err := b.ProcessAtOnce(t.Context(), input)
	require.NoError(t, err)
	require.Equal(t, result.Written.MeterEntryID, again.Loaded.Recorded.MeterEntryID)
	require.Len(t, b.entries(), 1)
}

func TestTheHappyPathStopsWhereAStepFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.refuseHugeReadings()
	for name, body := range map[string]string{
		"an unknown unit":    strings.ReplaceAll(state("unit", "1", noon()), `"unit":"km"`, `"unit":"furlongs"`),
		"a refused value":    state("huge", "99999999999999", noon()),
		"no vehicle state":   strings.ReplaceAll(state("error", "1", noon()), "VEHICLE_STATE", "VEHICLE_ERROR"),
		"an unknown vehicle": strings.ReplaceAll(state("stranger", "1", noon()), smartcarVehicle, "stranger"),
	} {
		result, err := b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: b.receive(body)})
		require.NoError(t, err, name)
		require.Nil(t, result.Written, name)
		require.NotEmpty(t, result.Loaded.Kind, name)
	}
	_, err := b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: "unheard-of"})
	requireFinal(t, err, contract.FailureEventNotFound)
}

func TestWritingAgainHasNoSecondEffect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.arrive("one", "42506.3", noon())
	again, err := b.WriteMeterEntry(t.Context(), contract.WriteMeterEntryInput{EventID: "one", VehicleID: b.vehicleID})
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Len(t, b.entries(), 1)
	require.Equal(t, []string{"2"}, texts(t, b.url, "SELECT count(*)::text FROM vehicle_data"))

	loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: "one"})
	require.NoError(t, err)
	require.Equal(t, &contract.ProcessEventResult{Outcome: first.Outcome, MeterEntryID: first.MeterEntryID}, loaded.Recorded)
}

func TestReadingsGetTheirVerdicts(t *testing.T) {
	t.Parallel()
	type reading struct {
		kilometres string
		after      time.Duration
		outcome    contract.Outcome
		class      contract.FailureClass
	}
	entered, duplicate, lower := contract.OutcomeMeterEntry, contract.OutcomeDuplicateReading, contract.OutcomeLowerReading
	for name, readings := range map[string][]reading{
		"the same value within the hour is a duplicate": {
			{"100", 0, entered, ""}, {"100.04", time.Hour, duplicate, ""}, {"100", time.Hour + time.Second, entered, ""},
		},
		"another value within the hour is entered": {
			{"100", 0, entered, ""}, {"100.1", time.Minute, entered, ""},
		},
		"the very same observation is a duplicate": {
			{"100", 0, entered, ""}, {"100", 0, duplicate, ""},
		},
		"a lower reading is not entered, but for rounding": {
			{"100", 0, entered, ""}, {"98.9", 2 * time.Hour, lower, ""}, {"99", 3 * time.Hour, entered, ""},
			{"98.5", 4 * time.Hour, lower, ""},
		},
		"a late reading is entered at its own date": {
			{"100", 0, entered, ""}, {"300", 10 * time.Hour, entered, ""}, {"200", 5 * time.Hour, entered, ""},
		},
		"a late reading lower than what came before it is not": {
			{"100", 0, entered, ""}, {"300", 10 * time.Hour, entered, ""}, {"50", 5 * time.Hour, lower, ""},
		},
		"more than 2,000 km in a day is implausible": {
			{"100", 0, entered, ""}, {"2100", time.Hour, entered, ""}, {"4100.1", 2 * time.Hour, "", contract.FailureImplausibleReading},
			{"4200", 2 * 24 * time.Hour, entered, ""},
		},
		"a negative reading is implausible": {
			{"-1", 0, "", contract.FailureImplausibleReading},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for i, reading := range readings {
				result := b.arrive(fmt.Sprintf("event-%d", i), reading.kilometres, noon().Add(reading.after))
				require.Equal(t, reading.outcome, result.Outcome, "reading %d", i)
				require.Equal(t, reading.class, result.FailureClass, "reading %d", i)
			}
		})
	}
}

func TestAnImplausibleReadingIsKeptAndEnteredOnceAPersonConfirmsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("before", "100", noon())
	require.Equal(t, contract.FailureImplausibleReading, b.arrive("jump", "9000", noon().Add(time.Hour)).FailureClass)
	event := b.event("jump")
	require.Equal(t, db.StatusFailed, event.Status)
	require.Equal(t, string(contract.FailureImplausibleReading), *event.FailureClass)

	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "jump", Actor: "test"}))
	require.Equal(t, contract.FailureImplausibleReading, b.process("jump").FailureClass, "a retry alone confirms nothing")
	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "jump", Actor: "test", ConfirmReading: true}))
	require.Equal(t, contract.OutcomeMeterEntry, b.process("jump").Outcome)
	require.Equal(t, []string{"100.000 at 0.00", "9000.000 at 1.00"}, b.entries())
	require.Equal(t, []string{"4"}, texts(t, b.url, "SELECT count(*)::text FROM vehicle_data"), "signals are stored once")
}

func TestALateReadingRedecidesWhatFollowsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	b.arrive("overtaken", "150", noon().Add(2*time.Hour))
	b.arrive("after", "250", noon().Add(3*time.Hour))

	require.Equal(t, contract.OutcomeMeterEntry, b.arrive("late", "200", noon().Add(time.Hour)).Outcome)
	require.Equal(t, []string{"100.000 at 0.00", "200.000 at 1.00", "250.000 at 3.00"}, b.entries())
	require.Equal(t, string(contract.OutcomeLowerReading), *b.event("overtaken").Outcome)
	require.Equal(t, []string{"150.000"},
		texts(t, b.url, "SELECT odometer_km::text FROM meter_entries WHERE superseded_at IS NOT NULL"), "marked, not deleted")
}

func TestALateReadingCanMakeAnImplausibleOnePlausible(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	require.Equal(t, contract.FailureImplausibleReading, b.arrive("jump", "3000", noon().Add(2*time.Hour)).FailureClass)
	b.arrive("between", "1500", noon().Add(time.Hour))

	require.Equal(t, []string{"100.000 at 0.00", "1500.000 at 1.00", "3000.000 at 2.00"}, b.entries())
	require.Equal(t, db.StatusProcessed, b.event("jump").Status, "and its event needs nobody any more")
}

// TestTheEntriesAreAFunctionOfTheSetOfReadings feeds the same readings in many orders.
func TestTheEntriesAreAFunctionOfTheSetOfReadings(t *testing.T) {
	t.Parallel()
	for round := range 12 {
		seed := uint64(round) + 1
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, seed))
			type reading struct {
				kilometres string
				observedAt time.Time
			}
			readings := make([]reading, 40)
			for i := range readings {
				// Few distinct values and moments, so that all rules meet each other.
				value := 1000 + random.IntN(12)*300 + i*20
				readings[i] = reading{fmt.Sprintf("%d.%d", value, random.IntN(3)), noon().Add(time.Duration(random.IntN(90)) * 20 * time.Minute)}
			}
			sorted := setup(t)
			inOrder := slices.Clone(readings)
			slices.SortStableFunc(inOrder, func(a, b reading) int { return a.observedAt.Compare(b.observedAt) })
			for i, reading := range inOrder {
				sorted.arrive(fmt.Sprintf("sorted-%d", i), reading.kilometres, reading.observedAt)
			}
			shuffled := setup(t)
			random.Shuffle(len(readings), func(i, j int) { readings[i], readings[j] = readings[j], readings[i] })
			for i, reading := range readings {
				shuffled.arrive(fmt.Sprintf("shuffled-%d", i), reading.kilometres, reading.observedAt)
			}
			require.NotEmpty(t, sorted.entries())
			require.Equal(t, sorted.entries(), shuffled.entries())
			require.Equal(t,
				texts(t, shuffled.url, "SELECT count(*)::text FROM meter_entries WHERE superseded_at IS NULL"),
				texts(t, shuffled.url, "SELECT count(*)::text FROM smartcar_webhook_events WHERE outcome = 'meter_entry'"),
				"the ledger says meter_entry exactly where an entry stands")
		})
	}
}

func TestConcurrentEventsOfOneVehicleMakeOneEntryEach(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const events = 40
	for i := range events {
		b.receive(state(fmt.Sprintf("event-%d", i), "42506.3", noon().Add(time.Duration(i)*time.Second)))
	}
	var group sync.WaitGroup
	for i := range events {
		group.Go(func() { b.process(fmt.Sprintf("event-%d", i)) })
	}
	group.Wait()
	require.Equal(t, []string{"42506.300 at 0.00"}, b.entries(), "the earliest observation, whoever came first")
}

func TestConcurrentAttemptsAtOneEventHaveOneEffect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	input := contract.ProcessAtOnceInput{EventID: b.receive(state("one", "42506.3", noon()))}
	var group sync.WaitGroup
	results := make([]contract.ProcessAtOnceResult, 20)
	errs := make([]error, len(results))
	for i := range results {
		group.Go(func() { results[i], errs[i] = b.ProcessAtOnce(t.Context(), input) })
	}
	group.Wait()
	require.Len(t, b.entries(), 1)
	require.Equal(t, []string{"2"}, texts(t, b.url, "SELECT count(*)::text FROM vehicle_data"))
	require.Equal(t, []string{"1"}, texts(t, b.url, "SELECT count(*)::text FROM smartcar_sync_logs"))
	for i, result := range results {
		require.NoError(t, errs[i])
		if result.Loaded.Recorded == nil {
			require.Equal(t, contract.OutcomeMeterEntry, result.Written.Outcome)
			require.NotZero(t, result.Written.MeterEntryID)
		}
	}
}

// refuseHugeReadings: the columns themselves take every number that Smartcar may send.
func (b *bundle) refuseHugeReadings() {
	b.t.Helper()
	texts(b.t, b.url, "ALTER TABLE odometer_readings ADD CONSTRAINT odometer_readings_refused CHECK (odometer_km < 1e12)")
}

func TestAMarkerForNotAvailableIsImplausibleAndCostsNothingElse(t *testing.T) {
	t.Parallel()
	for name, kilometres := range map[string]string{
		"of 32 bits": "4294967295", "of 32 bits in tenths": "429496729.5", "of 24 bits": "16777215",
		"of 64 bits": "18446744073709551615", "as long as any": "9999999999999999999999999999999999999e20",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			require.Equal(t, contract.FailureImplausibleReading, b.arrive("first", kilometres, noon()).FailureClass)
			require.Equal(t, contract.OutcomeMeterEntry, b.arrive("one", "100", noon().Add(time.Hour)).Outcome)
			require.Equal(t, contract.FailureImplausibleReading, b.arrive("again", kilometres, noon().Add(2*time.Hour)).FailureClass)
			require.Equal(t, contract.OutcomeMeterEntry, b.arrive("two", "101", noon().Add(3*time.Hour)).Outcome)
			require.Equal(t, []string{"100.000 at 1.00", "101.000 at 3.00"}, b.entries())
			require.Equal(t, []string{"8"}, texts(t, b.url, "SELECT count(*)::text FROM vehicle_data"), "the other signals are stored")

			// What nobody should do must not break anything either.
			require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "again", Actor: "test", ConfirmReading: true}))
			require.Equal(t, contract.OutcomeMeterEntry, b.process("again").Outcome)
			require.Len(t, b.entries(), 2, "all that follows is lower")
		})
	}
}

func TestAValueThatTheDatabaseRefusesIsFinal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.refuseHugeReadings()
	b.receive(state("huge", "99999999999999", noon()))
	loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: "huge"})
	require.NoError(t, err)
	_, err = b.WriteMeterEntry(t.Context(), contract.WriteMeterEntryInput{
		EventID: "huge", VehicleID: loaded.VehicleID,
		Odometer: &contract.OdometerReading{Reported: *loaded.Odometer, Kilometres: loaded.Odometer.Value},
	})
	requireFinal(t, err, contract.FailureDataRejected)
}
