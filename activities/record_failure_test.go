package activities_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// inFurlongs is an event whose odometer cannot be used, with a signal that can.
func inFurlongs(eventID string) string {
	return strings.NewReplacer(`"unit":"km"`, `"unit":"furlongs"`,
		`"status":{"value":"ERROR","error":{"type":"SERVER","code":"INTERNAL"}}`, `"body":{"value":100,"unit":"mi"}`,
	).Replace(state(eventID, "42506.3", noon()))
}

// failForItsUnit takes an event through processing as the workflow would.
func (b *bundle) failForItsUnit(eventID string) {
	b.t.Helper()
	loaded, err := b.LoadEvent(b.t.Context(), contract.LoadEventInput{EventID: eventID})
	require.NoError(b.t, err)
	_, err = b.ConvertUnits(b.t.Context(), contract.ConvertUnitsInput{Value: loaded.Odometer.Value, Unit: loaded.Odometer.Unit})
	requireFinal(b.t, err, contract.FailureUnitUnknown)
	b.recordFailure(eventID, contract.FailureUnitUnknown)
}

func (b *bundle) recordFailure(eventID string, class contract.FailureClass) {
	b.t.Helper()
	_, err := b.RecordFailure(b.t.Context(), contract.RecordFailureInput{EventID: eventID, Class: class, Detail: "why"})
	require.NoError(b.t, err)
}

func (b *bundle) storedSignals() []string {
	b.t.Helper()
	return texts(b.t, b.url, `SELECT concat_ws(' ', data_type, data_value->>'value', unit, '=', normalised_value, normalised_unit)
		FROM vehicle_data ORDER BY id`)
}

func TestAnUnknownUnitOfTheOdometerKeepsNoOtherSignalWaiting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(inFurlongs("one"))
	b.failForItsUnit("one")

	stored := []string{"odometer-traveleddistance 42506.3 furlongs = ", "tractionbattery-range 100 mi = 160.9344 km"}
	require.Equal(t, stored, b.storedSignals(), "the odometer as it was sent")
	require.Equal(t, "100 160.9344km 12:00 - available supported", b.signal(smartcarVehicle, "tractionbattery-range"))
	require.Equal(t, []string{"2026-12-20 12:00", "2026-12-20 12:00"},
		texts(t, b.url, "SELECT to_char(reported_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM vehicle_signals"), "when it was received")
	require.Equal(t, string(contract.FailureUnitUnknown), *b.event("one").FailureClass)
	require.Empty(t, b.entries())

	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "one", Actor: "test"}))
	b.failForItsUnit("one")
	require.Equal(t, stored, b.storedSignals(), "a retry that fails again stores nothing twice")

	// What a version does that knows the unit.
	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "one", Actor: "test"}))
	require.Equal(t, contract.OutcomeMeterEntry, b.process("one").Outcome)
	require.Equal(t, stored, b.storedSignals(), "nor does one that succeeds")
	b.recordFailure("one", contract.FailureUnitUnknown)
	require.Equal(t, db.StatusProcessed, b.event("one").Status, "a late attempt of before changes nothing")
	require.Equal(t, stored, b.storedSignals())
}

func TestOtherFailuresStoreNoSignals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, class := range contract.FailureClasses() {
		if slices.Contains([]contract.FailureClass{
			contract.FailureUnitUnknown, contract.FailureDataRejected, contract.FailureMalformedPayload,
		}, class) {
			continue
		}
		eventID := "event-" + string(class)
		b.receive(inFurlongs(eventID))
		b.recordFailure(eventID, class)
		require.Equal(t, string(class), *b.event(eventID).FailureClass)
	}
	require.Empty(t, b.storedSignals(), "a vehicle may be a stranger's, or the body of no use")
}

func TestAnOdometerThatIsRefusedKeepsNoOtherSignalWaiting(t *testing.T) {
	t.Parallel()
	for _, class := range []contract.FailureClass{contract.FailureDataRejected, contract.FailureMalformedPayload} {
		b := setup(t)
		b.receive(inFurlongs("one"))
		b.recordFailure("one", class)
		b.recordFailure("one", class)
		require.Equal(t, []string{"odometer-traveleddistance 42506.3 furlongs = ", "tractionbattery-range 100 mi = 160.9344 km"}, b.storedSignals())
		require.Equal(t, string(class), *b.event("one").FailureClass)

		b.receive(strings.ReplaceAll(inFurlongs("test"), `"LIVE"`, `"TEST"`))
		b.recordFailure("test", class)
		require.Len(t, b.storedSignals(), 2, "readings of a test are invented")
	}
}

func TestAnEventWhoseSignalsAreRefusedIsClosedWithoutThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	texts(t, b.url, "ALTER TABLE vehicle_data ADD CONSTRAINT vehicle_data_refused CHECK (unit <> 'mi')")
	b.receive(inFurlongs("one"))
	b.failForItsUnit("one")
	require.Equal(t, string(contract.FailureUnitUnknown), *b.event("one").FailureClass)
	require.Empty(t, b.storedSignals())
}

// TestAttemptsAtOneFailureStoreItsSignalsOnce: an attempt that nobody heard of may go on beside the next.
func TestAttemptsAtOneFailureStoreItsSignalsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const events, attempts = 20, 4
	for i := range events {
		eventID := b.receive(inFurlongs(fmt.Sprint("event-", i)))
		var group sync.WaitGroup
		for range attempts {
			group.Go(func() {
				_, err := b.RecordFailure(t.Context(), contract.RecordFailureInput{EventID: eventID, Class: contract.FailureUnitUnknown})
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	require.Equal(t, []string{"20 events, 40 signals"},
		texts(t, b.url, "SELECT count(DISTINCT event_id) || ' events, ' || count(*) || ' signals' FROM vehicle_data"))
}
