package activities_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// odometerSyncs are the sync log rows of readings, oldest first: the event, how it ended,
// whether the row names the event's entry, and what decided it again.
func (b *bundle) odometerSyncs() []string {
	b.t.Helper()
	return texts(b.t, b.url, `SELECT concat_ws(' ', log.data->>'eventId', log.data->>'outcome', log.data->>'failureClass',
			CASE WHEN entry.id IS NULL THEN NULL ELSE 'entry' END, 'by ' || (log.data->>'redecidedBy'))
		FROM smartcar_sync_logs AS log
		LEFT JOIN meter_entries AS entry ON entry.id = (log.data->>'meterEntryId')::bigint AND entry.event_id = log.data->>'eventId'
		WHERE log.sync_type = 'odometer' AND log.event_id = log.data->>'eventId' AND log.smartcar_vehicle_id <> ''
		ORDER BY log.id`)
}

func (b *bundle) requireEveryEntryLogged() {
	b.t.Helper()
	require.Equal(b.t, texts(b.t, b.url, "SELECT count(*)::text FROM meter_entries WHERE source_type = 'webhook'"),
		texts(b.t, b.url, `SELECT count(DISTINCT data->>'meterEntryId')::text FROM smartcar_sync_logs
			WHERE sync_type = 'odometer' AND event_id NOT LIKE 'poll:%'`))
}

func TestAnEntryThatALaterEventWroteIsLoggedWithIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	b.arrive("jump", "3000", noon().Add(2*time.Hour))
	b.arrive("between", "1500", noon().Add(time.Hour))

	require.Equal(t, []string{
		"first meter_entry entry",
		"jump implausible_reading",
		"jump meter_entry entry by between",
		"between meter_entry entry",
	}, b.odometerSyncs())
	b.requireEveryEntryLogged()
	require.Equal(t, []string{"3000 2026-11-20T14:00:00Z"}, texts(t, b.url, `SELECT (data->>'odometerKm') || ' ' || (data->>'observedAt')
		FROM smartcar_sync_logs WHERE data ? 'redecidedBy'`))
}

func TestAnEntryThatIsOvertakenAndComesBackIsLoggedEachTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	b.arrive("overtaken", "150", noon().Add(3*time.Hour))
	b.arrive("high", "2099.5", noon().Add(2*time.Hour))
	// Within the slack for rounding, and enough for the next to be more than 2,000 km above it.
	b.arrive("slack", "99", noon().Add(time.Hour))

	require.Equal(t, []string{
		"first meter_entry entry",
		"overtaken meter_entry entry",
		"overtaken lower_reading by high",
		"high meter_entry entry",
		"high implausible_reading by slack",
		"overtaken meter_entry entry by slack",
		"slack meter_entry entry",
	}, b.odometerSyncs())
	b.requireEveryEntryLogged()
}

func TestAnEventThatFailsForALateReadingIsToldOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	b.arrive("high", "2099.5", noon().Add(2*time.Hour))
	closed := &closedEvents{}
	var err error
	b.Activities, err = activities.New(activities.Deps{
		Store: b.store, Logger: slog.New(slog.NewJSONHandler(b.logs, nil)), Observer: closed,
	})
	require.NoError(t, err)
	b.logs.Reset()
	// Within the slack for rounding, and enough for the next to be more than 2,000 km above it.
	b.arrive("slack", "99", noon().Add(time.Hour))

	require.Equal(t, db.StatusFailed, b.event("high").Status)
	require.Equal(t, []string{"meter_entry", "implausible_reading"}, closed.results)
	require.Regexp(t, `"msg":"processing.failed","eventId":"high","eventType":"VEHICLE_STATE","vehicleId":"`+smartcarVehicle+
		`","deliveryId":"","failureClass":"implausible_reading"`, b.logs.String())

	b.logs.Reset()
	b.arrive("between", "1000", noon().Add(90*time.Minute))
	require.Equal(t, []string{"meter_entry", "implausible_reading", "meter_entry", "meter_entry"}, closed.results)
	require.Regexp(t, `"msg":"processing.finished","eventId":"high".*"outcome":"meter_entry"`, b.logs.String())
}

// closedEvents remembers how events were closed.
type closedEvents struct{ results []string }

func (c *closedEvents) EventClosed(_ context.Context, result string) {
	c.results = append(c.results, result)
}
func (*closedEvents) TokensRefreshed(context.Context, activities.RefreshResult) {}
func (*closedEvents) NoticeClosed(context.Context, bool)                        {}

func TestWhatEndsAsItDidIsNotLoggedAgain(t *testing.T) {
	t.Parallel()
	b, otherID := setupTwins(t)
	b.arriveAt(smartcarVehicle, "one", "100", noon())
	b.arriveAt(smartcarVehicle, "one-late", "300", noon().Add(4*time.Hour))
	b.arriveAt(returned, "other", "200", noon().Add(2*time.Hour))
	b.arriveAt(returned, "other-late", "250", noon().Add(5*time.Hour))
	before := b.odometerSyncs()
	require.NoError(t, b.merge(otherID, b.vehicleID))

	require.Equal(t, append(before, "other-late lower_reading by merge"), b.odometerSyncs(), "of all that were decided again, one ends differently")
	b.requireEveryEntryLogged()
}

func TestAReadingThatWasPolledIsDecidedAgainWithoutAnEvent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		assumed bool
		notes   string
	}{
		"in a known unit": {false, "poll Smartcar poll"},
		"without a unit":  {true, "poll Smartcar poll; no unit was given, kilometres assumed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.arrive("first", "100", noon())
			b.keepPolled(db.NewReading{
				ObservedAt: noon().Add(2 * time.Hour), Kilometres: decimalOf("3000"), UnitAssumed: test.assumed,
				ObservedAtSource: "retrieved_at", SourceType: "poll", EventID: "poll:one",
			}, "implausible")
			b.arrive("between", "1500", noon().Add(time.Hour))

			require.Equal(t, []string{"100.000 at 0.00", "1500.000 at 1.00", "3000.000 at 2.00"}, b.entries())
			require.Equal(t, []string{test.notes},
				texts(t, b.url, "SELECT source_type || ' ' || notes FROM meter_entries WHERE event_id = 'poll:one'"))
			require.Equal(t, []string{
				"first meter_entry entry", "poll:one meter_entry entry by between", "between meter_entry entry",
			}, b.odometerSyncs())
			require.Equal(t, []string{smartcarVehicle},
				texts(t, b.url, "SELECT smartcar_vehicle_id FROM smartcar_sync_logs WHERE event_id = 'poll:one'"))

			b.arrive("overtaking", "3100", noon().Add(90*time.Minute))
			require.Equal(t, "poll:one lower_reading by overtaking", b.odometerSyncs()[3])
			require.Equal(t, []string{"100.000 at 0.00", "1500.000 at 1.00", "3100.000 at 1.50"}, b.entries())
		})
	}
}

// keepPolled stores a reading that no event brought, with its verdict.
func (b *bundle) keepPolled(reading db.NewReading, verdict string) {
	b.t.Helper()
	require.NoError(b.t, b.store.WithVehicle(b.t.Context(), b.vehicleID, func(transaction *db.VehicleTransaction) error {
		stored, _, err := transaction.AddReading(b.t.Context(), reading, reading.ObservedAt)
		if err != nil {
			return err
		}
		return transaction.SetVerdict(b.t.Context(), stored.ID, verdict)
	}))
}

// TestAnEventThatWaitsForItsRetryStaysOpenWhenItIsDecidedAgain: its entry is logged all the same.
func TestAnEventThatWaitsForItsRetryStaysOpenWhenItIsDecidedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	b.arrive("jump", "3000", noon().Add(2*time.Hour))
	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "jump", Actor: "test"}))
	b.arrive("between", "1500", noon().Add(time.Hour))
	require.Equal(t, db.StatusReceived, b.event("jump").Status)
	b.requireEveryEntryLogged()

	require.Equal(t, contract.OutcomeMeterEntry, b.process("jump").Outcome)
	require.Equal(t, "jump meter_entry entry", b.odometerSyncs()[4])
	b.requireEveryEntryLogged()
}
