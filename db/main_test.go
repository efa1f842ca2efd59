package db_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m, db.Migrate)) }

const vehicle = "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90"

// bundle is a migrated database of a test's own.
type bundle struct {
	store  *db.Store
	ledger *db.Ledger
	url    string
}

func setup(t *testing.T) *bundle {
	t.Helper()
	url := dbtest.New(t)
	store, err := db.Open(t.Context(), db.Config{URL: url, MaxConnections: 8})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return &bundle{store: store, ledger: db.NewLedger(store), url: url}
}

func delivery(eventID string) db.Delivery {
	return db.Delivery{
		EventID: eventID, EventType: "VEHICLE_STATE", SmartcarVehicleID: vehicle, Mode: "LIVE",
		DeliveryID: "delivery of " + eventID, ReceivedAt: time.Now(), Payload: []byte(`{"eventId":"` + eventID + `"}`),
	}
}

func (b *bundle) receive(t *testing.T, eventIDs ...string) {
	t.Helper()
	for _, eventID := range eventIDs {
		_, err := b.ledger.Append(t.Context(), []db.Delivery{delivery(eventID)})
		require.NoError(t, err)
	}
}

func (b *bundle) connect(t *testing.T) int64 {
	t.Helper()
	vehicleID, err := b.store.ConnectVehicle(t.Context(), db.ConnectedVehicle{
		SmartcarVehicleID: vehicle, OwnerEmail: "owner@milepost.example", Make: "POLESTAR", Model: "Polestar 2", Year: 2023,
	})
	require.NoError(t, err)
	return vehicleID
}

func (b *bundle) show(t *testing.T, eventID string) db.EventDetail {
	t.Helper()
	event, err := b.store.ShowEvent(t.Context(), eventID)
	require.NoError(t, err)
	return event
}

// start claims what is received and marks it started.
func (b *bundle) start(t *testing.T) {
	t.Helper()
	claimed, err := b.store.ClaimEvents(t.Context(), 100, time.Minute)
	require.NoError(t, err)
	require.NoError(t, b.store.MarkEventsStarted(t.Context(), claimed))
}
