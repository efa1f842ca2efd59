package activities_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The queries that people already use, as they are printed in their field guides.
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
	newest := slices.Clone(events)
	slices.SortFunc(newest, func(a, b generatedEvent) int { return b.original.ReceivedAt.Compare(a.original.ReceivedAt) })
	for place, row := range rowsOf(t, s.url, queryNewestEvents) {
		require.Equal(t, newest[place].original.EventID, row["event_id"])
		require.EqualValues(t, 1+len(newest[place].copies), row["delivery_count"])
	}
	requireOdometerSyncs(t, s, events)
	requireEventCounts(t, s, events)
}

func requireOdometerSyncs(t *testing.T, s *stream, events []generatedEvent) {
	t.Helper()
	var withReading, synced []string
	for _, event := range events {
		if event.hasReading {
			withReading = append(withReading, event.original.EventID)
		}
	}
	syncs := rowsOf(t, s.url, queryOdometerSyncs)
	for _, row := range syncs {
		eventID, isText := row["event_id"].(string)
		require.True(t, isText)
		synced = append(synced, eventID)
	}
	slices.Sort(synced)
	require.ElementsMatch(t, withReading, slices.Compact(slices.Clone(synced)))

	standing, all := 0, rowsOf(t, s.url, queryWebhookMeter)
	require.True(t, slices.IsSortedFunc(all, func(a, b map[string]any) int {
		return cmp.Compare(unixMicro(t, b["entry_date"]), unixMicro(t, a["entry_date"]))
	}))
	entered := map[any]bool{}
	for _, row := range all {
		entered[row["id"]] = true
		if row["superseded_at"] == nil {
			standing++
		}
	}
	counted := rowsOf(t, s.url, "SELECT count(*) FROM smartcar_webhook_events WHERE outcome = 'meter_entry'")
	require.EqualValues(t, counted[0]["count"], standing, "every event that wrote an entry has it standing")
	for _, row := range rowsOf(t, s.url, querySyncCounts) {
		t.Logf("sync logs: %v", row)
	}
	t.Logf("%d meter entries, %d of them standing; %d odometer syncs of %d events", len(all), standing, len(syncs), len(withReading))
}

func unixMicro(t *testing.T, column any) int64 {
	t.Helper()
	moment, isTime := column.(time.Time)
	require.True(t, isTime)
	return moment.UnixMicro()
}

func requireEventCounts(t *testing.T, s *stream, events []generatedEvent) {
	t.Helper()
	generated, found, failed := map[any]int64{}, map[any]int64{}, map[any]int64{}
	for _, event := range events {
		generated[event.original.EventType]++
	}
	for _, row := range rowsOf(t, s.url, queryEventCounts) {
		count, isNumber := row["count"].(int64)
		require.True(t, isNumber)
		found[row["event_type"]] += count
		if row["processed"] == false {
			failed[row["event_type"]] += count
		}
	}
	require.Equal(t, generated, found)
	t.Logf("failed: %v", failed)
}
