package db_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestMigratingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	var group sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		group.Go(func() { errs[i] = db.Migrate(t.Context(), b.url) })
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, db.StatusReceived, b.show(t, "one").Status)
}

func TestABadURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	const url = "postgres://user:hunter2@host:notaport/x"
	_, err := db.Open(t.Context(), db.Config{URL: url})
	require.ErrorIs(t, err, db.ErrBadURL)
	require.NotContains(t, err.Error(), "hunter2")
	err = db.Migrate(t.Context(), url)
	require.ErrorIs(t, err, db.ErrBadURL)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAClaimedEventIsOneStartersUntilItsLeaseEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "a", "b", "c")
	const lease = 3 * time.Second

	first, err := b.store.ClaimEvents(t.Context(), 2, lease)
	require.NoError(t, err)
	require.Len(t, first, 2)
	second, err := b.store.ClaimEvents(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, second, 1, "the third is all that is left")

	require.Eventually(t, func() bool {
		again, err := b.store.ClaimEvents(t.Context(), 10, time.Minute)
		return err == nil && len(again) == 2
	}, 30*time.Second, 20*time.Millisecond, "claimable again after the lease")
}

func TestConcurrentStartersNeverClaimTheSameEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const events = 200
	for i := range events {
		b.receive(t, fmt.Sprint("event ", i))
	}
	var group sync.WaitGroup
	var mutex sync.Mutex
	claims := map[string]int{}
	for range 8 {
		group.Go(func() {
			for {
				claimed, err := b.store.ClaimEvents(t.Context(), 7, time.Minute)
				if err != nil || len(claimed) == 0 {
					return
				}
				mutex.Lock()
				for _, event := range claimed {
					claims[event.EventID]++
				}
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	require.Len(t, claims, events)
	for eventID, times := range claims {
		require.Equal(t, 1, times, eventID)
	}
}

func TestMarkingStartedLeavesClosedEventsAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "running", "done")
	claimed, err := b.store.ClaimEvents(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: "done", Outcome: "test_delivery"}))
	require.NoError(t, b.store.MarkEventsStarted(t.Context(), claimed))

	require.Equal(t, db.StatusStarted, b.show(t, "running").Status)
	require.Equal(t, db.StatusProcessed, b.show(t, "done").Status)
}

func TestAMarkThatComesAfterARetryLeavesTheRowToBeStartedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	first, err := b.store.ClaimEvents(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: "one", FailureClass: "unit_unknown"}))
	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "one", Actor: "me"}))

	require.NoError(t, b.store.MarkEventsStarted(t.Context(), first))
	require.Equal(t, db.StatusReceived, b.show(t, "one").Status)
	second, err := b.store.ClaimEvents(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, second, 1)
	require.NoError(t, b.store.MarkEventsStarted(t.Context(), first))
	require.Equal(t, db.StatusReceived, b.show(t, "one").Status)
	require.NoError(t, b.store.MarkEventsStarted(t.Context(), second))
	require.Equal(t, db.StatusStarted, b.show(t, "one").Status)
}

func TestAProcessedEventStaysProcessed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	closing := db.Closing{EventID: "one", Outcome: "test_delivery", SyncType: "test_delivery", SyncData: []byte(`{}`)}
	require.NoError(t, b.store.CloseEvent(t.Context(), closing))
	require.NoError(t, b.store.CloseEvent(t.Context(), closing))
	require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: "one", FailureClass: "malformed_payload"}))

	event := b.show(t, "one")
	require.Equal(t, db.StatusProcessed, event.Status)
	require.Equal(t, "test_delivery", *event.Outcome)
	require.EqualValues(t, 1, b.count(t, "SELECT count(*) FROM smartcar_sync_logs"), "closing again writes no second log row")
}

func TestOnlyFailedEventsAreRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "failed", "received")
	require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: "failed", FailureClass: "unit_unknown", FailureDetail: "why"}))

	require.ErrorIs(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "received", Actor: "me"}), db.ErrNotFailed)
	require.ErrorIs(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "unheard of", Actor: "me"}), db.ErrNotFound)
	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "failed", Actor: "me", Reason: "fixed"}))

	event := b.show(t, "failed")
	require.Equal(t, db.StatusReceived, event.Status)
	require.Nil(t, event.FailureClass)
	require.Len(t, event.Audits, 1)
	require.Equal(t, "me", event.Audits[0].Actor)
	require.Equal(t, "fixed", event.Audits[0].Reason)
}

func TestConnectingAVehicleRequeuesWhatWaitedForIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "unknown", "inactive", "other")
	for eventID, class := range map[string]string{
		"unknown": "unknown_vehicle", "inactive": "vehicle_inactive", "other": "unit_unknown",
	} {
		require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: eventID, FailureClass: class}))
	}
	first := b.connect(t)

	require.Equal(t, db.StatusReceived, b.show(t, "unknown").Status)
	require.Len(t, b.show(t, "unknown").Audits, 1)
	require.Equal(t, db.StatusReceived, b.show(t, "inactive").Status)
	require.Equal(t, db.StatusFailed, b.show(t, "other").Status)
	require.Equal(t, first, b.connect(t), "connecting again keeps the vehicle")
}

func TestADisconnectedVehicleIsInactiveUntilItIsConnectedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	b.connect(t)
	active := func() bool {
		event, err := b.store.EventForProcessing(t.Context(), "one")
		require.NoError(t, err)
		return event.VehicleActive
	}
	require.True(t, active())
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), vehicle))
	require.False(t, active())
	require.ErrorIs(t, b.store.DisconnectVehicle(t.Context(), vehicle), db.ErrNotFound)
	b.connect(t)
	require.True(t, active())
}

func TestStaleEventsAreGivenOnceInAWhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	b.start(t)
	const old = 200 * time.Millisecond
	require.Eventually(t, func() bool {
		stale, err := b.store.StaleStartedEvents(t.Context(), 10, old)
		return err == nil && len(stale) == 1
	}, 10*time.Second, 10*time.Millisecond)
	stale, err := b.store.StaleStartedEvents(t.Context(), 10, time.Hour)
	require.NoError(t, err)
	require.Empty(t, stale)

	require.NoError(t, b.store.RequeueStartedEvent(t.Context(), "one"))
	require.Equal(t, db.StatusReceived, b.show(t, "one").Status)
}

func TestTheBacklogIsWhatWaitsForAStarter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "a")
	b.start(t)
	b.receive(t, "b")
	backlog, err := b.store.Backlog(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, backlog.Depth)
	require.Positive(t, backlog.Oldest)
}

func TestErrorsDoNotRepeatValues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	err := b.store.CloseEvent(t.Context(), db.Closing{EventID: "one", Outcome: "no_odometer", Signals: []db.SignalRecord{
		{Code: "location-preciselocation", Value: []byte(`{"latitude":52.52 no json`), ObservedAt: time.Now(), ObservedAtSource: "received_at"},
	}})
	require.ErrorIs(t, err, db.ErrRejected)
	require.NotContains(t, err.Error(), "52.52")
	require.Contains(t, err.Error(), "22P02", "but names PostgreSQL's code")
	require.Equal(t, db.StatusReceived, b.show(t, "one").Status, "all or nothing")
}

func TestOddSignalsAreStoredAllTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: "one", Outcome: "no_odometer", Signals: []db.SignalRecord{
		{Code: "nul \x00 and \xff", Value: []byte(`{"value":"\u0000","huge":1e999999}`), ObservedAt: time.Now(), ObservedAtSource: "received_at"},
		{Code: "failed", FailureType: "PERMISSION", ObservedAt: time.Now(), ObservedAtSource: "received_at"},
	}}))
	require.EqualValues(t, 2, b.count(t, "SELECT count(*) FROM vehicle_data"))
}

func TestAnErrorOfTheCallbackRollsBackAndComesBackAsItIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	vehicleID := b.connect(t)
	b.receive(t, "one")
	err := b.store.WithVehicle(t.Context(), vehicleID, func(transaction *db.VehicleTransaction) error {
		closed, err := transaction.Close(t.Context(), db.Closing{EventID: "one", Outcome: "no_odometer"})
		require.NoError(t, err)
		require.True(t, closed)
		return context.Canceled
	})
	require.Equal(t, context.Canceled, err)
	require.Equal(t, db.StatusReceived, b.show(t, "one").Status)
	require.ErrorIs(t, b.store.WithVehicle(t.Context(), 424242, nil), db.ErrConflict, "it may have been merged into another")
}

// TestTheQueriesOfTheFieldGuidesRun runs the queries that people already use.
func TestTheQueriesOfTheFieldGuidesRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "one")
	odd := delivery("odd")
	odd.Payload = []byte(`{"x":"\u0000"}`)
	_, err := b.ledger.Append(t.Context(), []db.Delivery{odd})
	require.NoError(t, err)
	for _, query := range []string{
		"SELECT * FROM smartcar_webhook_events ORDER BY created_at DESC LIMIT 10",
		"SELECT * FROM smartcar_sync_logs WHERE sync_type = 'odometer' ORDER BY created_at DESC",
		"SELECT * FROM meter_entries WHERE notes LIKE '%webhook%' ORDER BY entry_date DESC",
		`SELECT event_type, processed, COUNT(*) FROM smartcar_webhook_events
 WHERE created_at > NOW() - INTERVAL '24 hours' GROUP BY event_type, processed`,
		`SELECT sync_type, COUNT(*), COUNT(DISTINCT (data->>'meterEntryId')) FROM smartcar_sync_logs
 WHERE created_at > NOW() - INTERVAL '24 hours' GROUP BY sync_type`,
		"SELECT id, smartcar_vehicle_id, event_type, payload, received_at FROM webhook_logs",
		"SELECT id, email, name FROM users",
		"SELECT id, your_app_user_id, smartcar_user_id, make, model, year, created_at, updated_at FROM vehicles",
		"SELECT smartcar_vehicle_id, vehicle_id, is_active FROM smartcar_vehicles",
		"SELECT id, smartcar_vehicle_id, created_at, data_type, data_value FROM vehicle_data",
		"SELECT vehicle_id, odometer_km, entry_date, source_type, notes, event_id FROM meter_entries",
	} {
		t.Run(strings.Fields(query)[3], func(t *testing.T) {
			t.Parallel()
			b.rows(t, query)
		})
	}
}

func (b *bundle) rows(t *testing.T, query string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(t.Context())) }()
	rows, err := connection.Query(t.Context(), query)
	require.NoError(t, err)
	for rows.Next() {
		_, err := rows.Values()
		require.NoError(t, err)
	}
	require.NoError(t, rows.Err())
}

func (b *bundle) count(t *testing.T, query string) (count int64) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(t.Context())) }()
	require.NoError(t, connection.QueryRow(t.Context(), query).Scan(&count))
	return count
}
