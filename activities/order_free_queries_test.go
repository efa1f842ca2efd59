package activities_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// The queries that people already use, as they are printed in their field guides.
//
//nolint:unqueryvet // they are not ours to change
const (
	queryNewestEvents  = `SELECT * FROM smartcar_webhook_events ORDER BY created_at DESC LIMIT 10;`
	queryOdometerSyncs = `SELECT * FROM smartcar_sync_logs WHERE sync_type = 'odometer' ORDER BY created_at DESC;`
	queryWebhookMeter  = `SELECT * FROM meter_entries WHERE notes LIKE '%webhook%' ORDER BY entry_date DESC;`
	queryEventCounts   = `SELECT event_type, processed, COUNT(*) FROM smartcar_webhook_events
 WHERE created_at > NOW() - INTERVAL '24 hours' GROUP BY event_type, processed;`
	querySyncCounts = `SELECT sync_type, COUNT(*), COUNT(DISTINCT (data->>'meterEntryId')) FROM smartcar_sync_logs
 WHERE created_at > NOW() - INTERVAL '24 hours' GROUP BY sync_type;`
)

// requireFieldGuideCounts runs the five queries and compares them with what was generated.
func requireFieldGuideCounts(t *testing.T, s *stream, events []generatedEvent) {
	t.Helper()
	requireNewestEvents(t, s, events)
	requireOdometerSyncs(t, s, events)
	entries := requireMeterEntries(t, s)
	requireEventCounts(t, s, events)
	requireSyncCounts(t, s, events, entries)
}

func requireNewestEvents(t *testing.T, s *stream, events []generatedEvent) {
	t.Helper()
	newest := slices.Clone(events)
	slices.SortFunc(newest, func(a, b generatedEvent) int { return b.original.ReceivedAt.Compare(a.original.ReceivedAt) })
	rows := rowsOf(t, s.url, queryNewestEvents, pgx.RowToMap)
	require.Len(t, rows, 10)
	for place, row := range rows {
		require.Equal(t, newest[place].original.EventID, row["event_id"])
		require.EqualValues(t, 1+len(newest[place].copies), row["delivery_count"], "each delivery is counted")
	}
}

func requireOdometerSyncs(t *testing.T, s *stream, events []generatedEvent) {
	t.Helper()
	var expected, found, redecided []any
	for _, event := range events {
		if event.hasReading {
			expected = append(expected, event.original.EventID)
		}
	}
	for _, row := range rowsOf(t, s.url, queryOdometerSyncs, pgx.RowToMap) {
		data, isObject := row["data"].(map[string]any)
		require.True(t, isObject)
		if by, isRedecided := data["redecidedBy"]; isRedecided {
			redecided = append(redecided, row["event_id"])
			require.Contains(t, expected, by)
		} else {
			found = append(found, row["event_id"])
		}
	}
	require.Len(t, found, len(expected))
	require.Subset(t, found, expected, "each reading was synced, once")
	require.NotEmpty(t, redecided)
	require.Subset(t, expected, redecided)
	requireTruthfulSyncs(t, s)
}

// requireTruthfulSyncs: the newest row of each event says how it ended, and each one that
// says so anew says something else.
func requireTruthfulSyncs(t *testing.T, s *stream) {
	t.Helper()
	const logged = `WITH logged AS (
			SELECT id, event_id, data ? 'redecidedBy' AS redecided, concat(data->>'outcome', data->>'failureClass') AS ending,
			       lag(concat(data->>'outcome', data->>'failureClass')) OVER event AS before,
			       lead(id) OVER event IS NULL AS newest
			FROM smartcar_sync_logs WHERE sync_type = 'odometer'
			WINDOW event AS (PARTITION BY event_id ORDER BY id)
		) `
	require.Empty(t, rowsOf(t, s.url, logged+`SELECT concat_ws(' ', event_id, ending) FROM logged
		WHERE redecided AND ending = before`, pgx.RowTo[string]))
	require.Empty(t, rowsOf(t, s.url, logged+`SELECT concat_ws(' ', event_id, ending, ledger.outcome, ledger.failure_class)
		FROM logged JOIN smartcar_webhook_events AS ledger USING (event_id)
		WHERE newest AND ending <> concat(ledger.outcome, ledger.failure_class)`, pgx.RowTo[string]))
}

// requireMeterEntries gives the number of entries, superseded ones included.
func requireMeterEntries(t *testing.T, s *stream) int64 {
	t.Helper()
	standing, last := int64(0), time.Now().AddDate(1, 0, 0)
	entries := rowsOf(t, s.url, queryWebhookMeter, pgx.RowToMap)
	for _, entry := range entries {
		date, isTime := entry["entry_date"].(time.Time)
		require.True(t, isTime && !date.After(last))
		last = date
		if entry["superseded_at"] == nil {
			standing++
		}
	}
	processed := rowsOf(t, s.url, "SELECT count(*) FROM smartcar_webhook_events WHERE outcome = 'meter_entry'", pgx.RowTo[int64])
	require.Equal(t, []int64{standing}, processed, "every event that wrote an entry has it standing")
	return int64(len(entries))
}

// countsOfType is a row of the third kind: a type, something, a count.
type countsOfType struct {
	Type  string
	Other any
	Count int64
}

func requireEventCounts(t *testing.T, s *stream, events []generatedEvent) {
	t.Helper()
	generated, found := map[string]int64{}, map[string]int64{}
	var failing, failed int64
	for _, event := range events {
		generated[event.original.EventType]++
		if event.failure != "" {
			failing++
		}
	}
	for _, row := range rowsOf(t, s.url, queryEventCounts, pgx.RowToStructByPos[countsOfType]) {
		found[row.Type] += row.Count
		if row.Other == false {
			failed += row.Count
		}
	}
	require.Equal(t, generated, found)
	implausible := rowsOf(t, s.url, "SELECT count(*) FROM odometer_readings WHERE verdict = 'implausible'", pgx.RowTo[int64])
	require.Equal(t, failing+implausible[0], failed, "every event that is not processed has failed for a reason that was generated")
}

// requireSyncCounts: every entry is in the sync logs, whichever event had it written.
func requireSyncCounts(t *testing.T, s *stream, events []generatedEvent, entries int64) {
	t.Helper()
	generated, found := map[string]int64{}, map[string]int64{}
	for _, event := range events {
		if syncType := event.syncType(); syncType != "" {
			generated[syncType]++
		}
	}
	redecided := rowsOf(t, s.url, "SELECT count(*) FROM smartcar_sync_logs WHERE data ? 'redecidedBy'", pgx.RowTo[int64])
	generated["odometer"] += redecided[0]
	for _, row := range rowsOf(t, s.url, querySyncCounts, pgx.RowToStructByPos[countsOfType]) {
		count, isNumber := row.Other.(int64)
		require.True(t, isNumber)
		found[row.Type] = count
		if row.Type == "odometer" {
			require.Equal(t, entries, row.Count)
			t.Logf("%d meter entries, %d events decided again", entries, redecided[0])
			continue
		}
		require.Zero(t, row.Count, row.Type)
	}
	require.Equal(t, generated, found)
}

// syncType is what an event's row in the sync log says; one that failed for good without a reading has none.
func (e *generatedEvent) syncType() string {
	switch {
	case !e.isLive:
		return "test_delivery"
	case e.failure != "":
		return ""
	case e.hasReading:
		return "odometer"
	case e.original.EventType == "VEHICLE_STATE":
		return "signals"
	case e.original.EventType == "VEHICLE_ERROR":
		return "vehicle_error"
	default:
		return "unknown_event_type"
	}
}
