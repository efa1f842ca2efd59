package activities_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// trimmer runs the activity as a worker would, and keeps its heartbeats.
type trimmer struct {
	environment *testsuite.TestActivityEnvironment
	beats       []contract.RetentionResult
}

func (b *bundle) trimmer() *trimmer {
	b.t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	r := &trimmer{environment: suite.NewTestActivityEnvironment()}
	r.environment.RegisterActivityWithOptions(b.TrimRetained, activity.RegisterOptions{Name: contract.TrimRetainedActivity})
	r.environment.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
		var beat contract.RetentionResult
		if details.Get(&beat) == nil {
			r.beats = append(r.beats, beat)
		}
	})
	return r
}

func (r *trimmer) run(input contract.RetentionInput) (contract.RetentionResult, error) {
	var result contract.RetentionResult
	value, err := r.environment.ExecuteActivity(contract.TrimRetainedActivity, input)
	if err != nil {
		return result, err
	}
	return result, value.Get(&result)
}

// age lets all that is in the ledger and the logs have happened days earlier.
func (b *bundle) age(days int) {
	b.t.Helper()
	for table, columns := range map[string][]string{
		"smartcar_webhook_events": {"created_at", "closed_at"}, "smartcar_sync_logs": {"created_at"},
	} {
		for _, column := range columns {
			texts(b.t, b.url, fmt.Sprintf("UPDATE %s SET %s = %s - make_interval(days => %d) RETURNING ''", table, column, column, days))
		}
	}
}

func TestWhatWasProcessedLongAgoIsTrimmedAndStaysProcessed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("old", "1000", noon())
	b.age(31)
	b.arrive("recent", "1100", noon().Add(2*time.Hour))
	trimmer := b.trimmer()

	result, err := trimmer.run(contract.RetentionInput{})
	require.NoError(t, err)
	require.Equal(t, contract.RetentionResult{Rows: map[string]int64{
		"payloads": 1, "syncLogs": 0, "expiredCodes": 0, "unansweredConsents": 0, "closedConsents": 0, "deliveredNotices": 0, "quarantine": 0,
	}}, result)
	require.NotEmpty(t, trimmer.beats)
	require.Equal(t, map[string]int64{"payloads": 1}, trimmer.beats[0].Rows, "each batch says how far it is")
	require.Contains(t, b.logs.String(), `"msg":"retention.finished","rows":{`)

	loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: "old"})
	require.NoError(t, err, "a reset in the Temporal UI finds what was recorded")
	require.Equal(t, contract.OutcomeMeterEntry, loaded.Recorded.Outcome)
	require.Len(t, b.entries(), 2)
}

func TestTheRetentionIsTheOneThatWasGiven(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("old", "1000", noon())
	b.age(3)
	result, err := b.trimmer().run(contract.RetentionInput{Payloads: 4 * 24 * time.Hour, SyncLogs: 2 * 24 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, []int64{0, 1}, []int64{result.Rows["payloads"], result.Rows["syncLogs"]})
	result, err = b.trimmer().run(contract.RetentionInput{Payloads: 2 * 24 * time.Hour, SyncLogs: -time.Hour})
	require.NoError(t, err)
	require.Equal(t, []int64{1, 0}, []int64{result.Rows["payloads"], result.Rows["syncLogs"]})
}

func TestANewTryOfTrimmingGoesOnCounting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("old", "1000", noon())
	b.age(31)
	trimmer := b.trimmer()
	trimmer.environment.SetHeartbeatDetails(contract.RetentionResult{Rows: map[string]int64{"payloads": 3000}})
	result, err := trimmer.run(contract.RetentionInput{})
	require.NoError(t, err)
	require.EqualValues(t, 3001, result.Rows["payloads"])
}

func TestTrimmingWaitsOutADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.Close()
	_, err := b.trimmer().run(contract.RetentionInput{})
	requireTransient(t, err, "database_unavailable", 0)
}

const readingOfOld = "SELECT odometer_km::text || ' ' || verdict FROM odometer_readings WHERE event_id = 'old'"

// A late reading may decide again what was processed, and trimmed, long ago. The body
// that a retry would need is gone; the reading, which a person can vouch for, is not.
func TestATrimmedEventThatALateReadingFailedIsRetriedWithItsReadingConfirmedOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive("old", "9000", noon())
	b.age(31)
	_, err := b.trimmer().run(contract.RetentionInput{})
	require.NoError(t, err)
	b.arrive("late", "1000", noon().Add(-time.Hour))
	require.Equal(t, string(contract.FailureImplausibleReading), *b.event("old").FailureClass)

	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "old", Actor: "me"}))
	_, err = b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: "old"})
	requireFinal(t, err, contract.FailurePayloadTrimmed)
	_, err = b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: "old"})
	requireFinal(t, err, contract.FailurePayloadTrimmed)
	require.ErrorContains(t, err, "odometer_readings")
	_, err = b.RecordFailure(t.Context(), contract.RecordFailureInput{EventID: "old", Class: contract.FailurePayloadTrimmed})
	require.NoError(t, err)
	require.Equal(t, []string{"9000.000 implausible"}, texts(t, b.url, readingOfOld))

	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "old", Actor: "me", ConfirmReading: true}))
	for range 2 {
		done, err := b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: "old"})
		require.NoError(t, err)
		require.Equal(t, contract.OutcomeMeterEntry, done.Loaded.Recorded.Outcome)
		require.NotZero(t, done.Loaded.Recorded.MeterEntryID)
	}
	require.Equal(t, []string{"9000.000 entered"}, texts(t, b.url, readingOfOld))
	require.Equal(t, []string{"1000.000 at -1.00", "9000.000 at 0.00"}, b.entries())
	require.Equal(t, db.StatusProcessed, b.event("old").Status)
}

func TestATrimmedEventWithoutAReadingHasNothingToConfirm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sendState(smartcarVehicle, "signals-only", 0, `{"code":"tractionbattery-range","body":{"value":1,"unit":"km"}}`)
	require.Equal(t, string(contract.OutcomeNoOdometer), *b.event("signals-only").Outcome)
	b.age(31)
	_, err := b.trimmer().run(contract.RetentionInput{})
	require.NoError(t, err)
	texts(t, b.url, "UPDATE smartcar_webhook_events SET status = 'received', outcome = NULL, reading_confirmed = true RETURNING ''")
	_, err = b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: "signals-only"})
	requireFinal(t, err, contract.FailurePayloadTrimmed)
}
