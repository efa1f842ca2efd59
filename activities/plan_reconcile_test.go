package activities_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// busyUntil fills the ledger with 30 hours of deliveries, one a minute; the last is a minute before.
func (b *polling) busyUntil(end time.Time) {
	b.t.Helper()
	b.execute(fmt.Sprintf(`INSERT INTO smartcar_webhook_events (event_id, event_type, created_at, payload)
		SELECT 'event ' || at, 'VEHICLE_STATE', at, '' FROM generate_series('%s'::timestamptz - interval '30 hours', '%[1]s', '1 minute') AS at
		WHERE at < '%[1]s'`, end.Format(time.RFC3339Nano)))
}

func TestAPlanNamesOutagesAndWhoIsToBeAsked(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	gone := b.now.Add(-time.Hour)
	b.own(car, otherCar)
	b.ownV3("car-3")
	b.busyUntil(gone)
	for _, heard := range []string{car, otherCar} {
		b.execute(fmt.Sprintf("INSERT INTO vehicle_signals (smartcar_vehicle_id, data_type, reported_at) VALUES ('%s', '%s', '%s')",
			heard, smartcar.CodeOdometer, gone.Format(time.RFC3339Nano)))
	}
	b.execute("UPDATE smartcar_vehicles SET connection_state = 'reauth_required' WHERE smartcar_vehicle_id = '" + otherCar + "'")
	plan := b.plan()
	require.Equal(t, contract.PlanReconcileResult{
		Outages: []contract.Outage{{StartedAt: gone.Add(-time.Minute)}}, Silent: 3, Ready: 2, SmartcarVehicleIDs: []string{"car-3", car},
		Obstacles:   map[contract.PollOutcome]int{contract.PollNeedsOwner: 1},
		NotRestored: []contract.NotRestored{{SmartcarVehicleID: otherCar, Reason: contract.PollNeedsOwner}},
	}, plan)
	require.Contains(t, b.logs.String(), `"msg":"webhooks.outage"`)
	require.NotContains(t, b.logs.String(), "endedAt", "it lasts")
	require.Empty(t, b.plan().Outages, "that is known now")

	b.execute(fmt.Sprintf("INSERT INTO smartcar_webhook_events (event_id, event_type, created_at, payload) VALUES ('back', 'VEHICLE_STATE', '%s', '')",
		b.now.Format(time.RFC3339Nano)))
	require.Equal(t, []contract.Outage{{StartedAt: gone.Add(-time.Minute), EndedAt: b.now}}, b.plan().Outages)
	require.Contains(t, b.logs.String(), `"endedAt":"`+b.now.Format(time.RFC3339Nano)+`"`)
}

func TestTheLeastOutageIsASetting(t *testing.T) {
	t.Parallel()
	b := setupPolling(t, func(b *connected) { b.deps.ShortestOutage = 2 * time.Hour })
	b.busyUntil(b.now.Add(-time.Hour))
	require.Empty(t, b.plan().Outages)
	b.now = b.now.Add(time.Hour)
	require.Len(t, b.plan().Outages, 1)
}

func TestADeferredVehicleIsNamedWithTheReasonOfItsLastPoll(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.smartcar.on(batchOf(car), answer(409, failure(409, "VEHICLE_STATE", "ASLEEP")))
	b.poll(car)
	plan := b.plan()
	require.Equal(t, map[contract.PollOutcome]int{contract.PollDeferred: 1}, plan.Obstacles)
	require.Equal(t, []contract.NotRestored{
		{SmartcarVehicleID: car, Reason: contract.PollVehicleUnreachable, TryAgainAt: b.now.Add(pollInterval)},
	}, plan.NotRestored)
	require.Empty(t, plan.SmartcarVehicleIDs)
}

func TestAPlanIsBounded(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.execute("INSERT INTO vehicles (your_app_user_id) SELECT users.id FROM users, generate_series(1, 420) LIMIT 420")
	b.execute(`INSERT INTO smartcar_vehicles (vehicle_id, smartcar_vehicle_id, api, connection_state, created_at)
		SELECT id, 'car ' || id, 'v3', CASE WHEN id % 3 = 0 THEN 'reauth_required' ELSE 'connected' END, now() - make_interval(mins => 100000 + id::integer) FROM vehicles
		WHERE id > (SELECT max(vehicle_id) FROM smartcar_vehicles)`)
	// Four minutes at one in five seconds, and four of silence, for 20 hours.
	b.execute(fmt.Sprintf(`INSERT INTO smartcar_webhook_events (event_id, event_type, created_at, payload)
		SELECT 'event ' || at, 'VEHICLE_STATE', at, '' FROM generate_series('%s'::timestamptz - interval '20 hours', '%[1]s', '5 seconds') AS at
		WHERE (extract(epoch FROM '%[1]s' - at)::integer / 240) %% 2 = 0`, b.now.Format(time.RFC3339Nano)))
	plan := b.plan()
	require.Equal(t, 421, plan.Silent)
	require.Equal(t, 281, plan.Ready)
	require.Len(t, plan.SmartcarVehicleIDs, 150)
	require.Len(t, plan.NotRestored, contract.MaxNotRestored)
	require.Equal(t, map[contract.PollOutcome]int{contract.PollNeedsOwner: 140}, plan.Obstacles)
	require.Len(t, plan.Outages, 100)
	require.Equal(t, 149, strings.Count(b.logs.String(), "webhooks.outage"))
}

func TestNobodyIsAskedWhileSmartcarIsNotConfigured(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*activities.Deps){
		"without clients":  func(deps *activities.Deps) { deps.Platforms = nil },
		"without a keyset": func(deps *activities.Deps) { deps.Vault = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.own(car)
			b.busyUntil(b.now.Add(-time.Hour))
			b.Activities = b.restart(change)
			plan := b.plan()
			require.Len(t, plan.Outages, 1)
			require.Contains(t, b.logs.String(), "webhooks.outage")
			require.Zero(t, plan.Silent)
			require.Empty(t, plan.SmartcarVehicleIDs)
		})
	}
}

func TestThatALastPollWasPutOffSaysMoreThanThatTheNextOneIs(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		candidate db.PollCandidate
		want      contract.PollOutcome
	}{
		"can be polled now":           {db.PollCandidate{}, ""},
		"can be polled now, at last":  {db.PollCandidate{Outcome: string(contract.PollVehicleUnreachable)}, ""},
		"never polled":                {db.PollCandidate{Obstacle: string(contract.PollDeferred)}, contract.PollDeferred},
		"answered, and not due again": {deferredAfter(contract.PollReceived), contract.PollDeferred},
		"put off":                     {deferredAfter(contract.PollNeedsOperator), contract.PollNeedsOperator},
		"another obstacle since": {
			db.PollCandidate{Obstacle: string(contract.PollNoPermission), Outcome: string(contract.PollVehicleUnreachable)},
			contract.PollNoPermission,
		},
	} {
		require.Equal(t, row.want, activities.NotRestored(row.candidate).Reason, name)
	}
}

func deferredAfter(outcome contract.PollOutcome) db.PollCandidate {
	return db.PollCandidate{Obstacle: string(contract.PollDeferred), Outcome: string(outcome)}
}
