package activities_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// countStatements has the bundle speak to the database through a relay that counts what is executed.
func (b *bundle) countStatements() *atomic.Int64 {
	b.t.Helper()
	database, err := url.Parse(b.url)
	require.NoError(b.t, err)
	listener, err := new(net.ListenConfig).Listen(b.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = listener.Close() })
	statements, address := &atomic.Int64{}, database.Host
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(b.t.Context(), client, address, statements)
		}
	}()
	database.Host = listener.Addr().String()
	b.store, err = db.Open(b.t.Context(), db.Config{URL: database.String(), MaxConnections: 1})
	require.NoError(b.t, err)
	b.t.Cleanup(b.store.Close)
	b.Activities, err = activities.New(activities.Deps{Store: b.store, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b.t, err)
	return statements
}

// relay passes one connection on until either side ends it.
func relay(ctx context.Context, client net.Conn, address string, statements *atomic.Int64) {
	defer func() { _ = client.Close() }()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() { _, _ = io.Copy(client, server) }()
	sent := bufio.NewReader(client)
	// The first message has no type. Source: PostgreSQL, "Message Formats".
	for header := 4; ; header = 5 {
		begin, err := sent.Peek(header)
		if err != nil {
			return
		}
		if kind := begin[0]; header == 5 && (kind == 'E' || kind == 'Q') { // Execute, Query
			statements.Add(1)
		}
		length := int64(binary.BigEndian.Uint32(begin[header-4:])) + int64(header) - 4
		if _, err := io.CopyN(server, sent, length); err != nil {
			return
		}
	}
}

// TestAFirstReadingTakesFewStatements: each of them costs every event.
func TestAFirstReadingTakesFewStatements(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(state("one", "42506.3", noon()))
	statements := b.countStatements()
	_, err := b.store.EventForProcessing(t.Context(), "one") // what connecting and preparing take is not counted
	require.NoError(t, err)
	before := statements.Load()
	result, err := b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: "one"})
	require.NoError(t, err)
	require.Equal(t, contract.OutcomeMeterEntry, result.Written.Outcome)
	require.EqualValues(t, 7, statements.Load()-before, "load, begin, lock, add, enter, close, commit")
}

// longHistory is a history of so many readings, each entered by an event of its own.
func (b *bundle) longHistory(readings string) {
	b.t.Helper()
	texts(b.t, b.url, `INSERT INTO odometer_readings (vehicle_id, observed_at, odometer_km, observed_at_source, reported_value,
			reported_unit, source_type, event_id, verdict)
		SELECT vehicle.id, '2026-11-20 12:00Z'::timestamptz - make_interval(hours => number), 1000000 - number,
			'oem_updated_at', 1000000 - number, 'km', 'webhook', md5(number::text), 'entered'
		FROM generate_series(1, `+readings+`) AS number, vehicles AS vehicle`)
	texts(b.t, b.url, `INSERT INTO meter_entries (vehicle_id, odometer_km, entry_date, source_type, notes, event_id, reading_id)
		SELECT vehicle_id, odometer_km, observed_at, source_type, 'Smartcar webhook', event_id, id FROM odometer_readings`)
	texts(b.t, b.url, `INSERT INTO smartcar_webhook_events (event_id, event_type, smartcar_vehicle_id, status, outcome, closed_at, payload)
		SELECT event_id, 'VEHICLE_STATE', '`+smartcarVehicle+`', 'processed', 'meter_entry', now(), '' FROM odometer_readings`)
	texts(b.t, b.url, "ANALYZE")
}

// TestALongHistoryIsDecidedAgainInTime: a car whose clock stood still reports today's kilometres as the first ever.
func TestALongHistoryIsDecidedAgainInTime(t *testing.T) {
	t.Parallel()
	const readings, perStatement = 20_000, 100
	b := setup(t)
	b.longHistory("20000")
	b.receive(state("dead-clock", "1000002", noon().AddDate(-10, 0, 0)))
	statements := b.countStatements()
	begin := time.Now()
	require.Equal(t, contract.OutcomeMeterEntry, b.process("dead-clock").Outcome)
	t.Logf("%d readings decided again in %s by %d statements", readings, time.Since(begin).Round(time.Millisecond), statements.Load())
	require.Less(t, statements.Load(), int64(readings/perStatement))
	require.Equal(t, []string{"1000002"}, texts(t, b.url, "SELECT sum(odometer_km)::bigint::text FROM meter_entries WHERE superseded_at IS NULL"))
	require.Equal(t, []string{"lower_reading 20000", "meter_entry 1"},
		texts(t, b.url, "SELECT outcome || ' ' || count(*) FROM smartcar_webhook_events GROUP BY outcome ORDER BY outcome"))
	require.Equal(t, []string{"20000"},
		texts(t, b.url, "SELECT count(*)::text FROM smartcar_sync_logs WHERE data->>'redecidedBy' = 'dead-clock'"))
}
