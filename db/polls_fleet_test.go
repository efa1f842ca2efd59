package db_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALargeFleetIsSearchedInSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("200,000 readings")
	}
	t.Parallel()
	const cars, readings, limit = 10_000, 20, 30 * time.Second
	b := setup(t)
	b.own(t, "car")
	// A fifth of the fleet is silent for longer than the six hours that are usual.
	b.change(t, `INSERT INTO vehicles (your_app_user_id) SELECT users.id FROM users, generate_series(1, $1)`, cars)
	b.change(t, `INSERT INTO smartcar_vehicles (vehicle_id, smartcar_vehicle_id, api, permissions, created_at, updated_at)
		SELECT id, 'car ' || id, 'v3', '{read_odometer}', $1, $1 FROM vehicles WHERE id > 1`, today().Add(-90*day))
	b.change(t, `INSERT INTO vehicle_signals (smartcar_vehicle_id, data_type, reported_at)
		SELECT smartcar_vehicle_id, $1, $2::timestamptz - make_interval(hours => CASE WHEN vehicle_id % 5 = 0 THEN 7 ELSE 1 END)
		FROM smartcar_vehicles WHERE vehicle_id > 1`, odometer().Code, today())
	b.change(t, `INSERT INTO odometer_readings (vehicle_id, observed_at, odometer_km, observed_at_source, reported_value, source_type, event_id)
		SELECT id, $1::timestamptz - make_interval(hours => 3 * number), 1000 - number, 'oem_updated_at', 0, 'webhook', 'event'
		FROM generate_series(1, $2) AS number, vehicles WHERE id > 1`, today(), readings)
	b.change(t, `INSERT INTO smartcar_polls (smartcar_vehicle_id, polled_at, outcome)
		SELECT smartcar_vehicle_id, $1, 'received' FROM smartcar_vehicles WHERE vehicle_id % 2 = 0`, today().Add(-30*day))
	b.change(t, "ANALYZE")

	for range 2 {
		begun := time.Now()
		candidates, err := b.store.PollCandidates(t.Context(), odometer(), today())
		took := time.Since(begun)
		require.NoError(t, err)
		require.Len(t, candidates, cars/5+1, "and the car that nothing is known of")
		t.Logf("%d vehicles with %d readings each: %s", cars, readings, took)
		require.Less(t, took, limit)
	}

	b.endOutage(t, time.Minute)
	begun := time.Now()
	candidates, err := b.store.PollCandidates(t.Context(), odometer(), today())
	took := time.Since(begun)
	require.NoError(t, err)
	require.Len(t, candidates, cars+1)
	require.True(t, candidates[cars].AfterOutage)
	t.Logf("%d of them after an outage: %s", len(candidates), took)
	require.Less(t, took, limit)
}
