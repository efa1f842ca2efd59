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
	var expected, found []any
	for _, event := range events {
		if event.hasReading {
			expected = append(expected, event.original.EventID)
		}
	}
	for _, row := range rowsOf(t, s.url, queryOdometerSyncs, pgx.RowToMap) {
		found = append(found, row["event_id"])
	}
	require.Len(t, found, len(expected))
	require.Subset(t, found, expected, "each reading was synced, once")
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

// requireSyncCounts: an entry that a later event's re-decision wrote is in no sync log.
func requireSyncCounts(t *testing.T, s *stream, events []generatedEvent, entries int64) {
	t.Helper()
	generated, found := map[string]int64{}, map[string]int64{}
	for _, event := range events {
		if syncType := event.syncType(); syncType != "" {
			generated[syncType]++
		}
	}
	for _, row := range rowsOf(t, s.url, querySyncCounts, pgx.RowToStructByPos[countsOfType]) {
		count, isNumber := row.Other.(int64)
		require.True(t, isNumber)
		found[row.Type] = count
		if row.Type == "odometer" {
			require.Positive(t, row.Count)
			require.LessOrEqual(t, row.Count, entries)
			t.Logf("%d meter entries, %d of them in the sync logs", entries, row.Count)
			continue
		}
		require.Zero(t, row.Count, row.Type)
	}
	require.Equal(t, generated, found)
}

// syncType is what an event's row in the sync log says; one that failed for good before its signals were written has none.
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
