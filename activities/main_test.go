package activities_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/workflows/contract"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m, db.Migrate)) }

const smartcarVehicle = "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90"

// bundle is the activities on a database of a test's own, with one active vehicle.
type bundle struct {
	*activities.Activities

	t         *testing.T
	store     *db.Store
	ledger    *db.Ledger
	url       string
	vehicleID int64
	logs      *bytes.Buffer
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, url: dbtest.New(t), logs: &bytes.Buffer{}}
	var err error
	b.store, err = db.Open(t.Context(), db.Config{URL: b.url, MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	b.ledger = db.NewLedger(b.store)
	b.Activities, err = activities.New(activities.Deps{Store: b.store, Logger: slog.New(slog.NewJSONHandler(b.logs, nil))})
	require.NoError(t, err)
	b.vehicleID, err = b.store.ConnectVehicle(t.Context(), db.ConnectedVehicle{
		SmartcarVehicleID: smartcarVehicle, OwnerEmail: "owner@milepost.example",
	})
	require.NoError(t, err)
	connectedBefore(t, b.url, noon())
	return b
}

// connectedBefore dates the connections back, so that what is reported from a moment on is of them.
func connectedBefore(t *testing.T, url string, moment time.Time) {
	t.Helper()
	texts(t, url, fmt.Sprintf("UPDATE smartcar_vehicles SET connected_at = '%s' RETURNING ''",
		moment.Add(-24*time.Hour).Format(time.RFC3339)))
}

// receive puts a body into the ledger under the id that the receiver would give it.
func (b *bundle) receive(body string) (eventID string) {
	b.t.Helper()
	delivery, err := smartcar.Decode([]byte(body))
	if err != nil {
		require.ErrorIs(b.t, err, smartcar.ErrMalformed)
	}
	event := delivery.Events[0]
	_, err = b.ledger.Append(b.t.Context(), []db.Delivery{{
		EventID: event.ID, EventType: string(delivery.Type), SmartcarVehicleID: event.VehicleID,
		ReceivedAt: noon().AddDate(0, 1, 0), DeliveredAt: delivery.DeliveredAt, Payload: []byte(body),
	}})
	require.NoError(b.t, err)
	return event.ID
}

// noon is the day on which every test's readings are taken.
func noon() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

func state(eventID string, kilometres string, observedAt time.Time) string {
	return fmt.Sprintf(`{"eventId":%q,"eventType":"VEHICLE_STATE","data":{"vehicle":{"id":%q},"signals":[`+
		`{"code":"odometer-traveleddistance","body":{"value":%s,"unit":"km"},"meta":{"oemUpdatedAt":%d},"status":{"value":"SUCCESS"}},`+
		`{"code":"tractionbattery-range","status":{"value":"ERROR","error":{"type":"SERVER","code":"INTERNAL"}}}]},`+
		`"meta":{"mode":"LIVE"}}`, eventID, smartcarVehicle, kilometres, observedAt.UnixMilli())
}

// arrive takes one reading through loading and writing, as the workflow would.
func (b *bundle) arrive(eventID, kilometres string, observedAt time.Time) contract.WriteMeterEntryResult {
	b.t.Helper()
	b.receive(state(eventID, kilometres, observedAt))
	return b.process(eventID)
}

func (b *bundle) process(eventID string) contract.WriteMeterEntryResult {
	b.t.Helper()
	loaded, err := b.LoadEvent(b.t.Context(), contract.LoadEventInput{EventID: eventID})
	require.NoError(b.t, err)
	require.Nil(b.t, loaded.Recorded)
	require.NotNil(b.t, loaded.Odometer)
	result, err := b.WriteMeterEntry(b.t.Context(), contract.WriteMeterEntryInput{
		EventID: eventID, VehicleID: loaded.VehicleID,
		Odometer: &contract.OdometerReading{Reported: *loaded.Odometer, Kilometres: loaded.Odometer.Value},
	})
	require.NoError(b.t, err)
	return result
}

// entries are the standing meter entries, as "kilometres at hours from noon".
func (b *bundle) entries() []string {
	b.t.Helper()
	return texts(b.t, b.url, `SELECT odometer_km::text || ' at ' || round(extract(epoch FROM entry_date - '2026-11-20 12:00Z') / 3600, 2)
		FROM meter_entries WHERE superseded_at IS NULL ORDER BY entry_date, odometer_km`)
}

func (b *bundle) event(eventID string) db.EventDetail {
	b.t.Helper()
	event, err := b.store.ShowEvent(b.t.Context(), eventID)
	require.NoError(b.t, err)
	return event
}

func texts(t *testing.T, url, query string) []string {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(context.WithoutCancel(t.Context()))) }()
	rows, err := connection.Query(t.Context(), query)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return found
}

func requireFinal(t *testing.T, err error, class contract.FailureClass) {
	t.Helper()
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.True(t, application.NonRetryable())
	require.Equal(t, string(class), application.Type())
}

func decimalOf(text string) decimal.Decimal { return decimal.RequireFromString(text) }
