package activities_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// owners are the meter entries with the events that own them, and what is said of them.
func (b *bundle) owners() []string {
	b.t.Helper()
	return texts(b.t, b.url, `SELECT concat_ws(' ', entry.odometer_km, entry.event_id, entry.notes,
			CASE WHEN reading.event_id = entry.event_id AND reading.source_type = entry.source_type THEN NULL ELSE 'BUT ' || reading.event_id END,
			'superseded ' || CASE WHEN superseded_at IS NOT NULL THEN '' END)
		FROM meter_entries AS entry JOIN odometer_readings AS reading ON reading.id = entry.reading_id ORDER BY entry_date, entry.id`)
}

func (b *bundle) outcomes(eventIDs ...string) []string {
	b.t.Helper()
	outcomes := make([]string, len(eventIDs))
	for i, eventID := range eventIDs {
		event := b.event(eventID)
		switch {
		case event.Outcome != nil:
			outcomes[i] = *event.Outcome
		case event.FailureClass != nil:
			outcomes[i] = *event.FailureClass
		}
	}
	return outcomes
}

// arriveWithoutUnit takes a reading through processing whose unit is assumed.
func (b *bundle) arriveWithoutUnit(eventID, kilometres string, observedAt time.Time) contract.WriteMeterEntryResult {
	b.t.Helper()
	b.receive(strings.ReplaceAll(state(eventID, kilometres, observedAt), `,"unit":"km"`, ""))
	result, err := b.ProcessAtOnce(b.t.Context(), contract.ProcessAtOnceInput{EventID: eventID})
	require.NoError(b.t, err)
	require.NotNil(b.t, result.Written)
	return *result.Written
}

func TestTheOwnerOfAnObservationDoesNotDependOnTheOrderOfItsEvents(t *testing.T) {
	t.Parallel()
	const assumed = "a-without-unit"
	for _, order := range [][]string{
		{assumed, "b", "c"}, {assumed, "c", "b"}, {"b", assumed, "c"}, {"b", "c", assumed}, {"c", assumed, "b"}, {"c", "b", assumed},
	} {
		b := setup(t)
		for _, eventID := range order {
			arrive := b.arrive
			if eventID == assumed {
				arrive = b.arriveWithoutUnit
			}
			result := arrive(eventID, "100", noon())
			require.Equal(t, []string{string(result.Outcome)}, b.outcomes(eventID))
			require.Equal(t, result.Outcome == contract.OutcomeMeterEntry, result.MeterEntryID != 0)
		}
		require.Equal(t, []string{"100.000 b Smartcar webhook"}, b.owners(), order)
		require.Equal(t, []string{"meter_entry", "duplicate_reading", "duplicate_reading"}, b.outcomes("b", "c", assumed), order)
		require.Equal(t, []string{"1"}, texts(t, b.url, "SELECT count(*)::text FROM odometer_readings"))
		b.requireEveryEntryLogged()

		for _, eventID := range order {
			again, err := b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: eventID})
			require.NoError(t, err)
			require.Equal(t, eventID == "b", again.Loaded.Recorded.MeterEntryID != 0, "a repeated attempt gives what is recorded")
		}
		require.Equal(t, []string{"100.000 b Smartcar webhook"}, b.owners(), order)
	}
}

func TestAnEntryThatChangesItsEventIsLoggedForBoth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("b", "100", noon())
	b.arrive("later", "200", noon().Add(time.Hour))
	b.arrive("a", "100", noon())
	b.arrive("c", "100", noon())
	require.Equal(t, []string{
		"b meter_entry", "later meter_entry entry", "b duplicate_reading by a", "a meter_entry entry", "c duplicate_reading",
	}, b.odometerSyncs())
}

// TestAnImplausibleObservationNeedsOnePerson: and whichever event is retried, it is entered once.
func TestAnImplausibleObservationNeedsOnePerson(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	b.arrive("jump-b", "9000", noon().Add(time.Hour))
	require.Equal(t, contract.FailureImplausibleReading, b.arrive("jump-a", "9000", noon().Add(time.Hour)).FailureClass)
	require.Equal(t, []string{"implausible_reading", "duplicate_reading"}, b.outcomes("jump-a", "jump-b"))

	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "jump-a", Actor: "test", ConfirmReading: true}))
	require.Equal(t, contract.OutcomeDuplicateReading, b.arrive("jump-c", "9000", noon().Add(time.Hour)).Outcome)
	require.Equal(t, contract.OutcomeMeterEntry, b.process("jump-a").Outcome)
	require.Equal(t, []string{"100.000 first Smartcar webhook", "9000.000 jump-a Smartcar webhook"}, b.owners())
	b.arrive("jump-0", "9000", noon().Add(time.Hour))
	require.Equal(t, []string{"100.000 first Smartcar webhook", "9000.000 jump-0 Smartcar webhook"}, b.owners(), "it stays confirmed")
	require.Equal(t, []string{"meter_entry", "duplicate_reading", "duplicate_reading"}, b.outcomes("jump-0", "jump-a", "jump-b"))
}

func TestAnOvertakenEntryThatComesBackIsThatOfTheOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("first", "100", noon())
	b.arrive("b", "150", noon().Add(3*time.Hour))
	b.arrive("high", "2099.5", noon().Add(2*time.Hour))
	b.arrive("a", "150", noon().Add(3*time.Hour))
	require.Equal(t, []string{"lower_reading", "duplicate_reading"}, b.outcomes("a", "b"))
	b.arrive("slack", "99", noon().Add(time.Hour))
	require.Equal(t, []string{"meter_entry", "duplicate_reading", "implausible_reading"}, b.outcomes("a", "b", "high"))
	require.Contains(t, b.owners(), "150.000 a Smartcar webhook")
	b.requireEveryEntryLogged()
}

func TestAPollAndAWebhookOfOneObservationAreOneReading(t *testing.T) {
	t.Parallel()
	for name, webhook := range map[string]string{"the webhook owns it": "event", "the poll owns it": "zebra"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.keepPolled(db.NewReading{
				ObservedAt: noon(), Kilometres: decimalOf("100"), ObservedAtSource: "retrieved_at", SourceType: "poll", EventID: "poll:one",
			}, "entered")
			texts(t, b.url, `INSERT INTO meter_entries (vehicle_id, odometer_km, entry_date, source_type, notes, event_id, reading_id)
				SELECT vehicle_id, odometer_km, observed_at, source_type, 'Smartcar poll', event_id, id FROM odometer_readings`)
			b.arrive(webhook, "100", noon())
			expected := "100.000 event Smartcar webhook"
			if webhook == "zebra" {
				expected = "100.000 poll:one Smartcar poll"
			}
			require.Equal(t, []string{expected}, b.owners())
		})
	}
}

// TestTheOwnerOfAnObservationInBothHistoriesIsTheSameInBothDirections: what is left behind
// is marked superseded, and an event that waits for its retry goes on where its reading is.
func TestTheOwnerOfAnObservationInBothHistoriesIsTheSameInBothDirections(t *testing.T) {
	t.Parallel()
	for name, direction := range map[string]func(one, other int64) (from, into int64){
		"the owner's vehicle goes":  func(one, other int64) (from, into int64) { return one, other },
		"the owner's vehicle stays": func(one, other int64) (from, into int64) { return other, one },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, otherID := setupTwins(t)
			b.arriveAt(smartcarVehicle, "a", "100", noon())
			b.arriveAt(returned, "b", "100", noon())
			for vehicle, prefix := range map[string]string{smartcarVehicle: "a", returned: "b"} {
				b.arriveAt(vehicle, prefix+"-jump", "9000", noon().Add(time.Hour))
			}
			require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "a-jump", Actor: "test", ConfirmReading: true}))
			require.NoError(t, b.merge(direction(b.vehicleID, otherID)))
			require.Equal(t, []string{"meter_entry", "duplicate_reading", "duplicate_reading"}, b.outcomes("a", "b", "b-jump"))
			require.Equal(t, contract.OutcomeMeterEntry, b.process("a-jump").Outcome)
			b.arriveAt(returned, "0", "100", noon())
			require.Equal(t, []string{"100.000 at 0.00", "9000.000 at 1.00"}, b.entries())
			owners := slices.DeleteFunc(b.owners(), func(owner string) bool { return strings.HasSuffix(owner, "superseded ") })
			require.Equal(t, []string{"100.000 0 Smartcar webhook", "9000.000 a-jump Smartcar webhook"}, owners)
			require.Equal(t, []string{"meter_entry", "duplicate_reading", "duplicate_reading", "meter_entry", "duplicate_reading"},
				b.outcomes("0", "a", "b", "a-jump", "b-jump"))
		})
	}
}
