package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
)

// trimBundle is a database with one event that was processed 31 days ago, and one yesterday.
type trimBundle struct {
	t           *testing.T
	store       *db.Store
	environment map[string]string
	out         *bytes.Buffer
}

func setupTrim(t *testing.T) *trimBundle {
	t.Helper()
	url := dbtest.New(t)
	b := &trimBundle{t: t, environment: map[string]string{"DATABASE_URL": url}, out: &bytes.Buffer{}}
	var err error
	b.store, err = db.Open(t.Context(), db.Config{URL: url, MaxConnections: 2})
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	ledger := db.NewLedger(b.store)
	for _, eventID := range []string{"old", "recent"} {
		_, err := ledger.Append(t.Context(), []db.Delivery{{
			EventID: eventID, EventType: "VEHICLE_STATE", ReceivedAt: time.Now(), Payload: []byte(`{"eventId":"` + eventID + `"}`),
		}})
		require.NoError(t, err)
		require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: eventID, Outcome: "no_odometer"}))
	}
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = connection.Exec(t.Context(), `UPDATE smartcar_webhook_events SET closed_at = now() - make_interval(days => CASE event_id
		WHEN 'old' THEN 31 ELSE 1 END)`)
	require.NoError(t, err)
	require.NoError(t, connection.Close(t.Context()))
	return b
}

func (b *trimBundle) run(arguments ...string) error {
	b.t.Helper()
	b.out.Reset()
	root := &cli.Command{Name: "milepost", Writer: b.out, ErrWriter: b.out, Commands: []*cli.Command{
		trimCommand(b.environment, b.out), eventsCommand(b.environment, b.out),
	}}
	return root.Run(b.t.Context(), append([]string{"milepost"}, arguments...))
}

func TestADryRunOfTrimCountsAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := setupTrim(t)
	require.NoError(t, b.run("trim", "--dry-run"))
	require.Regexp(t, `WOULD BE TRIMMED +ROWS +KEPT FOR\npayloads +1 +720h0m0s\nsyncLogs +0 +9600h0m0s\n`, b.out.String())
	require.NoError(t, b.run("events", "show", "old", "--payload"))
	require.JSONEq(t, `{"eventId":"old"}`, b.out.String())
}

func TestTrimSaysWhatItDidAndIsDoneThen(t *testing.T) {
	t.Parallel()
	b := setupTrim(t)
	for _, want := range []int64{1, 0} {
		require.NoError(t, b.run("trim", "--json"))
		var done struct {
			DryRun bool
			Rows   map[string]int64
		}
		require.NoError(t, json.Unmarshal(b.out.Bytes(), &done))
		require.False(t, done.DryRun)
		require.Equal(t, map[string]int64{
			"payloads": want, "syncLogs": 0, "expiredCodes": 0, "unansweredConsents": 0, "closedConsents": 0, "deliveredNotices": 0, "quarantine": 0,
		}, done.Rows)
	}
	err := b.run("events", "show", "--payload", "old")
	require.ErrorContains(t, err, `event "old": the payload has been trimmed, on `+time.Now().UTC().Format("2006-01-02"))
	require.NotContains(t, b.out.String(), "eventId")
	require.NoError(t, b.run("events", "show", "--payload", "recent"))
	require.JSONEq(t, `{"eventId":"recent"}`, b.out.String())
	require.NoError(t, b.run("events", "show", "old"))
}

func TestTrimKeepsWhatItsSettingsSay(t *testing.T) {
	t.Parallel()
	b := setupTrim(t)
	b.environment["MILEPOST_PAYLOAD_RETENTION"] = "12h"
	require.NoError(t, b.run("trim", "--dry-run"))
	require.Regexp(t, `payloads +2 +12h0m0s\n`, b.out.String())
	for _, wrong := range []string{"0s", "-1h", "thirty days"} {
		b.environment["MILEPOST_PAYLOAD_RETENTION"] = wrong
		require.ErrorContains(t, b.run("trim"), "must be positive durations")
	}
	require.NoError(t, b.run("events", "show", "--payload", "old"), "nothing was trimmed")
}

func TestWhatTrimDidBeforeItFailedIsPrinted(t *testing.T) {
	t.Parallel()
	b := setupTrim(t)
	connection, err := pgx.Connect(t.Context(), b.environment["DATABASE_URL"])
	require.NoError(t, err)
	_, err = connection.Exec(t.Context(), "ALTER TABLE smartcar_sync_logs RENAME TO out_of_the_way")
	require.NoError(t, err)
	require.NoError(t, connection.Close(t.Context()))
	require.ErrorContains(t, b.run("trim"), "delete sync logs")
	require.Regexp(t, `^TRIMMED +ROWS +KEPT FOR\npayloads +1 +720h0m0s\n$`, b.out.String())
}
