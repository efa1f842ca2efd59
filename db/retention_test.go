package db_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

const (
	month   = 30 * 24 * time.Hour
	quarter = 90 * 24 * time.Hour
	many    = 100
)

// processed receives an event that was processed days ago.
func (b *bundle) processed(t *testing.T, daysAgo int, eventIDs ...string) {
	t.Helper()
	b.receive(t, eventIDs...)
	for _, eventID := range eventIDs {
		require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: eventID, Outcome: "no_odometer"}))
	}
	b.change(t, `UPDATE smartcar_webhook_events SET created_at = created_at - make_interval(days => $1),
		closed_at = closed_at - make_interval(days => $1) WHERE event_id = ANY ($2)`, daysAgo, eventIDs)
}

func (b *bundle) change(t *testing.T, statement string, arguments ...any) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(context.WithoutCancel(t.Context()))) }()
	_, err = connection.Exec(t.Context(), statement, arguments...)
	require.NoError(t, err)
}

func (b *bundle) texts(t *testing.T, query string) []string {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(context.WithoutCancel(t.Context()))) }()
	rows, err := connection.Query(t.Context(), query)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return found
}

// step is one kind of the list, as Trim runs it.
func (b *bundle) step(t *testing.T, kind string) db.RetentionStep {
	t.Helper()
	for _, step := range b.store.RetentionSteps(db.RetentionPeriods{Payloads: month, SyncLogs: quarter}) {
		if step.Kind == kind {
			return step
		}
	}
	require.Fail(t, "there is no such kind", kind)
	return db.RetentionStep{}
}

// requireTrimmed runs a step in batches of two, and requires that it counted and did so many rows.
func (b *bundle) requireTrimmed(t *testing.T, kind string, want int64) {
	t.Helper()
	step := b.step(t, kind)
	due, err := step.Due(t.Context(), step.OlderThan)
	require.NoError(t, err)
	require.Equal(t, want, due)
	for left := want; ; {
		rows, err := step.Trim(t.Context(), step.OlderThan, 2)
		require.NoError(t, err)
		require.Equal(t, min(left, 2), rows, "no batch does more than its limit, nor less while there is more")
		if left -= rows; rows == 0 {
			break
		}
	}
}

func TestOnlyPayloadsOfEventsThatWereProcessedLongAgoAreTrimmed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.processed(t, 31, "old 1", "old 2", "old 3")
	b.processed(t, 29, "recent")
	b.receive(t, "received", "failed", "started")
	require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: "failed", FailureClass: "unit_unknown"}))
	b.change(t, "UPDATE smartcar_webhook_events SET status = 'started', started_at = now() WHERE event_id = 'started'")
	b.change(t, `UPDATE smartcar_webhook_events SET created_at = now() - interval '1 year', closed_at = now() - interval '1 year'
		WHERE event_id IN ('received', 'failed', 'started')`)
	b.processed(t, 400, "closed lately")
	b.change(t, "UPDATE smartcar_webhook_events SET closed_at = now() WHERE event_id = 'closed lately'")

	b.requireTrimmed(t, "payloads", 3)
	require.Equal(t, []string{"old 1", "old 2", "old 3"},
		b.texts(t, "SELECT event_id FROM smartcar_webhook_events WHERE payload_trimmed_at > now() - interval '1 minute' ORDER BY event_id"))
	for _, kept := range []string{"recent", "received", "failed", "started", "closed lately"} {
		payload, err := b.store.EventPayload(t.Context(), kept)
		require.NoError(t, err)
		require.Equal(t, delivery(kept).Payload, payload)
	}
	b.requireTrimmed(t, "payloads", 0)
}

func TestATrimmedPayloadIsGoneAndSaysSo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.processed(t, 31, "old")
	b.processed(t, 1, "recent")
	b.requireTrimmed(t, "payloads", 1)

	payload, err := b.store.EventPayload(t.Context(), "old")
	require.NoError(t, err)
	require.Empty(t, payload)
	err = b.store.ExplainEmptyPayload(t.Context(), "old")
	require.ErrorIs(t, err, db.ErrPayloadTrimmed)
	require.ErrorContains(t, err, time.Now().UTC().Format("2006-01-02"))
	require.NoError(t, b.store.ExplainEmptyPayload(t.Context(), "recent"))
	require.ErrorIs(t, b.store.ExplainEmptyPayload(t.Context(), "unheard of"), db.ErrNotFound)
	require.Equal(t, []string{`old {"trimmed": true}`, `recent {"eventId": "recent"}`},
		b.texts(t, "SELECT id || ' ' || payload::text FROM webhook_logs ORDER BY id"))
	require.Equal(t, []string{"id", "smartcar_vehicle_id", "event_type", "payload", "received_at"},
		b.texts(t, "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'webhook_logs' ORDER BY ordinal_position"))
}

func TestATrimmedEventIsStillADuplicateWhenItIsDeliveredAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.processed(t, 31, "old")
	b.requireTrimmed(t, "payloads", 1)

	receipts, err := b.ledger.Append(t.Context(), []db.Delivery{delivery("old")})
	require.NoError(t, err)
	require.Equal(t, []db.Receipt{{EventID: "old", Duplicate: true}}, receipts)
	event := b.show(t, "old")
	require.Equal(t, db.StatusProcessed, event.Status)
	require.EqualValues(t, 2, event.DeliveryCount)
	require.Zero(t, event.PayloadBytes, "a redelivery brings no payload back")
	claimed, err := b.store.ClaimEvents(t.Context(), many, time.Minute)
	require.NoError(t, err)
	require.Empty(t, claimed)
}

func TestEventsThatSomebodyHoldsAreTrimmedTheNextTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.processed(t, 31, "held", "free")
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(context.WithoutCancel(t.Context()))) }()
	holding, err := connection.Begin(t.Context())
	require.NoError(t, err)
	_, err = holding.Exec(t.Context(), "SELECT FROM smartcar_webhook_events WHERE event_id = 'held' FOR UPDATE")
	require.NoError(t, err)

	rows, err := b.store.TrimPayloads(t.Context(), month, many)
	require.NoError(t, err)
	require.EqualValues(t, 1, rows)
	require.NoError(t, holding.Rollback(t.Context()))
	b.requireTrimmed(t, "payloads", 1)
}

// TestTheIndexForTrimmingLeavesUpdatesHOT compares what PostgreSQL counts with and without the index.
func TestTheIndexForTrimmingLeavesUpdatesHOT(t *testing.T) {
	t.Parallel()
	const events = 5 // all on one page, with room for their updates
	updates := func(prepare string) (hot int64) {
		b := setup(t)
		b.change(t, prepare)
		ids := make([]string, events)
		for i := range ids {
			ids[i] = fmt.Sprint("event ", i)
		}
		b.receive(t, ids...)
		b.receive(t, ids...) // HOT
		claimed, err := b.store.ClaimEvents(t.Context(), events, time.Minute)
		require.NoError(t, err) // HOT
		require.NoError(t, b.store.MarkEventsStarted(t.Context(), claimed))
		for _, id := range ids {
			require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: id, Outcome: "no_odometer"}))
		}
		b.receive(t, ids...) // HOT
		b.store.Close()      // a session that ends reports what it counted
		require.Eventually(t, func() bool {
			all := b.count(t, "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'smartcar_webhook_events'")
			hot = b.count(t, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'smartcar_webhook_events'")
			return all == 5*events
		}, 30*time.Second, 50*time.Millisecond)
		return hot
	}
	before := updates("DROP INDEX smartcar_webhook_events_to_trim")
	now := updates("SELECT")
	require.EqualValues(t, 3*events, before, "redeliveries and claims")
	require.Equal(t, before, now)

	worse := updates("CREATE INDEX ON smartcar_webhook_events (last_delivered_at) WHERE payload_trimmed_at IS NULL")
	require.Less(t, worse, before, "this is how an index would show that is in the way")
}

func TestTheIndexFindsWhatToTrim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.change(t, `INSERT INTO smartcar_webhook_events (event_id, event_type, status, outcome, closed_at, payload, payload_trimmed_at)
		SELECT 'event ' || number, 'VEHICLE_STATE', 'processed', 'no_odometer', now() - make_interval(mins => number), '', now()
		FROM generate_series(1, 20000) AS number`)
	b.change(t, "ANALYZE smartcar_webhook_events")
	plan := b.texts(t, `EXPLAIN SELECT event_id FROM smartcar_webhook_events
		WHERE status = 'processed' AND payload_trimmed_at IS NULL AND closed_at < now() - make_interval(secs => 60)
		ORDER BY closed_at LIMIT 1000 FOR UPDATE SKIP LOCKED`)
	require.Contains(t, fmt.Sprint(plan), "smartcar_webhook_events_to_trim")
}

func TestOldSyncLogsGoAndTheOthersStay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.change(t, `INSERT INTO smartcar_sync_logs (sync_type, data, created_at)
		SELECT 'odometer', jsonb_build_object('days', days), now() - make_interval(days => days)
		FROM unnest(ARRAY[95, 94, 93, 92, 91, 89, 10, 0]) AS days`)
	b.requireTrimmed(t, "syncLogs", 5)
	require.Equal(t, []string{"89", "10", "0"}, b.texts(t, "SELECT data->>'days' FROM smartcar_sync_logs ORDER BY id"))
	b.requireTrimmed(t, "syncLogs", 0)
}

func TestNoticesGoWhenTheyWereDeliveredLongAgo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for id, ages := range map[string][3]any{ // created, delivered and given up so many days ago
		"long ago 1": {95, 91, nil}, "long ago 2": {95, 91, nil}, "long ago 3": {91, 91, 90},
		"lately": {95, 89, nil}, "given up": {400, nil, 395}, "not yet": {400, nil, nil}, "to be started": {95, 91, nil},
	} {
		b.change(t, `INSERT INTO notices (id, notice_type, smartcar_vehicle_id, body, created_at, delivered_at, given_up_at)
			VALUES ($1, 'vehicle.connected', 'car', '{}', now() - make_interval(days => $2::integer),
			        now() - make_interval(days => $3::integer), now() - make_interval(days => $4::integer))`, id, ages[0], ages[1], ages[2])
	}
	require.NoError(t, b.store.RequestWorkflow(t.Context(), db.WorkflowRequest{Kind: db.RequestDeliverNotice, Subject: "to be started"}))

	b.requireTrimmed(t, "deliveredNotices", 3)
	require.Equal(t, []string{"given up", "lately", "not yet", "to be started"}, b.texts(t, "SELECT id FROM notices ORDER BY id"))
}

func TestTrimmingGoesThroughEveryKindInBatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.processed(t, 31, "old")
	b.change(t, `INSERT INTO smartcar_sync_logs (sync_type, data, created_at)
		SELECT 'odometer', '{}', now() - interval '91 days' FROM generate_series(1, 2001)`)
	periods := db.RetentionPeriods{Payloads: month, SyncLogs: quarter}
	run := func() (batches []string) {
		require.NoError(t, b.store.Trim(t.Context(), periods, func(kind string, rows int64) {
			batches = append(batches, fmt.Sprint(kind, " ", rows))
		}))
		return batches
	}
	require.Equal(t, []string{
		"payloads 1", "syncLogs 1000", "syncLogs 1000", "syncLogs 1", "expiredCodes 0", "unansweredConsents 0", "closedConsents 0", "deliveredNotices 0", "quarantine 0",
	}, run())
	require.Equal(t, []string{
		"payloads 0", "syncLogs 0", "expiredCodes 0", "unansweredConsents 0", "closedConsents 0", "deliveredNotices 0", "quarantine 0",
	}, run(), "again, there is nothing left")
	require.EqualValues(t, 1, b.count(t, "SELECT count(*) FROM smartcar_webhook_events"))
}

func TestNothingIsTrimmedWithoutARetention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.processed(t, 31, "old")
	unexpected := func(string, int64) { require.Fail(t, "nothing was to be trimmed") }
	for _, periods := range []db.RetentionPeriods{{}, {Payloads: month}, {SyncLogs: month}, {Payloads: -month, SyncLogs: month}} {
		require.Error(t, b.store.Trim(t.Context(), periods, unexpected))
	}
	b.requireTrimmed(t, "payloads", 1)
}
