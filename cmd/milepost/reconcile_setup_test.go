package main

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/workflows/contract"
)

const hiddenText = "VIN-OF-A-PERSON"

// reconcileBundle is a fleet that the reconcile command works on; the test acts as the workflow.
type reconcileBundle struct {
	t        *testing.T
	url      string
	store    *db.Store
	out      *bytes.Buffer
	progress *watcher
}

// watcher does one thing after each line of progress that is written.
type watcher struct {
	bytes.Buffer

	steps []func()
}

func (w *watcher) Write(line []byte) (int, error) {
	if len(w.steps) > 0 {
		next := w.steps[0]
		w.steps = w.steps[1:]
		defer next()
	}
	return w.Buffer.Write(line)
}

func setupReconcile(t *testing.T) *reconcileBundle {
	t.Helper()
	url := dbtest.New(t)
	store, err := db.Open(t.Context(), db.Config{URL: url, MaxConnections: 2})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return &reconcileBundle{t: t, url: url, store: store, out: &bytes.Buffer{}, progress: &watcher{}}
}

func (b *reconcileBundle) run(arguments ...string) error {
	b.t.Helper()
	return b.runUntil(b.t.Context(), arguments...)
}

func (b *reconcileBundle) runUntil(ctx context.Context, arguments ...string) error {
	b.t.Helper()
	b.out.Reset()
	b.progress.Reset()
	tools := reconcileTools{
		environment: map[string]string{"DATABASE_URL": b.url}, output: b.out, progress: b.progress,
		pause: time.Millisecond, patience: 5 * time.Millisecond,
	}
	root := &cli.Command{Name: "milepost", Writer: b.out, ErrWriter: b.progress, Commands: []*cli.Command{tools.command()}}
	err := root.Run(ctx, append([]string{"milepost", "reconcile"}, arguments...))
	require.NotContains(b.t, b.out.String()+b.progress.String(), hiddenText)
	require.Empty(b.t, b.progress.steps, "the command wrote less progress than the test waits for")
	return err
}

// connect connects a vehicle that nothing has been heard of since, so long ago.
func (b *reconcileBundle) connect(id string, ago time.Duration, changes ...func(*db.ConnectedVehicle)) {
	b.t.Helper()
	vehicle := db.ConnectedVehicle{
		SmartcarVehicleID: id, OwnerEmail: "ada@example.com", API: db.APIv3, VIN: hiddenText + id,
		Permissions: []string{"read_odometer"},
	}
	for _, change := range changes {
		change(&vehicle)
	}
	_, err := b.store.ConnectVehicle(b.t.Context(), vehicle)
	require.NoError(b.t, err)
	b.change("UPDATE smartcar_vehicles SET created_at = $2 WHERE smartcar_vehicle_id = $1", id, time.Now().Add(-ago))
}

func withoutTokens(vehicle *db.ConnectedVehicle) { vehicle.API = db.APIv2 }

func withoutPermission(vehicle *db.ConnectedVehicle) { vehicle.Permissions = []string{"read_vin"} }

func (b *reconcileBundle) change(statement string, arguments ...any) {
	b.t.Helper()
	connection, err := pgx.Connect(b.t.Context(), b.url)
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, connection.Close(context.WithoutCancel(b.t.Context()))) }()
	_, err = connection.Exec(b.t.Context(), statement, arguments...)
	require.NoError(b.t, err)
}

// started takes the requests, as the starter does, and says how many there were.
func (b *reconcileBundle) started() int {
	b.t.Helper()
	claimed, err := b.store.ClaimWorkflowRequests(b.t.Context(), []string{db.RequestReconcile}, 10, time.Minute)
	require.NoError(b.t, err)
	for _, request := range claimed {
		require.NoError(b.t, b.store.WorkflowRequestDone(b.t.Context(), request.ID))
	}
	return len(claimed)
}

// answered settles a poll that Smartcar answered.
func (b *reconcileBundle) answered(id string, outcome contract.PollOutcome) {
	b.t.Helper()
	require.NoError(b.t, b.store.SettlePoll(b.t.Context(), db.SettledPoll{
		SmartcarVehicleID: id, Outcome: string(outcome), AskedAt: time.Now(), Unchanged: outcome != contract.PollReceived,
	}))
}

// putOff settles a poll that is to be tried again.
func (b *reconcileBundle) putOff(id string, outcome contract.PollOutcome, until time.Time) {
	b.t.Helper()
	require.NoError(b.t, b.store.SettlePoll(b.t.Context(), db.SettledPoll{
		SmartcarVehicleID: id, Outcome: string(outcome), NotBefore: until,
	}))
}

// received settles polls that brought a reading; the events are called like the vehicles.
func (b *reconcileBundle) received(ids ...string) {
	b.t.Helper()
	for _, id := range ids {
		b.receivedAs(id, id)
	}
}

func (b *reconcileBundle) receivedAs(eventID, id string) {
	b.t.Helper()
	added, err := b.store.AppendPoll(b.t.Context(), db.Delivery{
		EventID: eventID, EventType: db.EventTypePoll, SmartcarVehicleID: id, Mode: "LIVE",
		DeliveredAt: time.Now(), ReceivedAt: time.Now(), Payload: []byte(`{"vin":"` + hiddenText + `"}`),
	})
	require.NoError(b.t, err)
	require.True(b.t, added)
	b.answered(id, contract.PollReceived)
}

func (b *reconcileBundle) processed(id string, outcome contract.Outcome) {
	b.t.Helper()
	b.close(db.Closing{EventID: id, Outcome: string(outcome)})
}

func (b *reconcileBundle) failed(id string, class contract.FailureClass) {
	b.t.Helper()
	b.close(db.Closing{EventID: id, FailureClass: string(class), FailureDetail: hiddenText})
}

// close closes an event that reported an odometer just now.
func (b *reconcileBundle) close(closing db.Closing) {
	b.t.Helper()
	closing.ReportedAt = time.Now()
	closing.Signals = []db.SignalRecord{{
		Code: activities.OdometerSignal().Code, Value: []byte(`{"value":1}`), ObservedAt: time.Now(), ObservedAtSource: "retrieved_at",
	}}
	require.NoError(b.t, b.store.CloseEvent(b.t.Context(), closing))
}

// webhook has a vehicle send its odometer by itself.
func (b *reconcileBundle) webhook(id string) {
	b.t.Helper()
	_, err := b.store.AppendAlone(b.t.Context(), db.Delivery{
		EventID: "webhook-" + id, EventType: "VEHICLE_STATE", SmartcarVehicleID: id, ReceivedAt: time.Now(), Payload: []byte("{}"),
	})
	require.NoError(b.t, err)
	b.processed("webhook-"+id, contract.OutcomeMeterEntry)
}

func decoded[T any](b *reconcileBundle) (value T) {
	b.t.Helper()
	decoder := json.NewDecoder(b.out)
	decoder.DisallowUnknownFields()
	require.NoError(b.t, decoder.Decode(&value))
	return value
}
