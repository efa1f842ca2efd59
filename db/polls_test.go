package db_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

// today is when the fleets of these tests are looked at.
func today() time.Time { return time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC) }

func odometer() db.OdometerSignal {
	return db.OdometerSignal{Code: "odometer-traveleddistance", Permission: "read_odometer"}
}

// own connects a car under v3, which needs no tokens, 90 days before today.
func (b *bundle) own(t *testing.T, cars ...string) {
	t.Helper()
	for _, car := range cars {
		_, err := b.store.ConnectVehicle(t.Context(), db.ConnectedVehicle{
			SmartcarVehicleID: car, OwnerEmail: "owner@milepost.example", API: db.APIv3, Permissions: []string{"read_odometer", "read_vin"},
		})
		require.NoError(t, err)
	}
	b.change(t, "UPDATE smartcar_vehicles SET created_at = $1, updated_at = $1 WHERE smartcar_vehicle_id = ANY ($2)", today().Add(-90*day), cars)
}

// drive has webhooks bring so many odometer readings of a car, the last one silent before today.
func (b *bundle) drive(t *testing.T, car string, silent, gap time.Duration, readings int) {
	t.Helper()
	b.observe(t, car, "webhook", silent, gap, readings)
	b.hear(t, car, silent)
}

func (b *bundle) observe(t *testing.T, car, source string, silent, gap time.Duration, readings int) {
	t.Helper()
	b.change(t, `INSERT INTO odometer_readings (vehicle_id, observed_at, odometer_km, observed_at_source, reported_value, source_type, event_id)
		SELECT vehicle_id, $2::timestamptz - number * make_interval(secs => $3), 1000 - number, 'oem_updated_at', 0, $5, 'event'
		FROM smartcar_vehicles, generate_series(0, $4 - 1) AS number WHERE smartcar_vehicle_id = $1`,
		car, today().Add(-silent), gap.Seconds(), readings, source)
}

// hear has Smartcar send the odometer, whatever its moment.
func (b *bundle) hear(t *testing.T, car string, silent time.Duration) {
	t.Helper()
	b.change(t, `INSERT INTO vehicle_signals AS kept (smartcar_vehicle_id, data_type, reported_at) VALUES ($1, $2, $3)
		ON CONFLICT (smartcar_vehicle_id, data_type) DO UPDATE SET reported_at = EXCLUDED.reported_at`,
		car, odometer().Code, today().Add(-silent))
}

// endOutage stores an outage that ended so long before today.
func (b *bundle) endOutage(t *testing.T, ago time.Duration) {
	t.Helper()
	b.change(t, `INSERT INTO webhook_outages (source, started_at, ended_at, detected_at) VALUES ('ledger', $1::timestamptz - interval '1 hour', $1, $1)`,
		today().Add(-ago))
}

func (b *bundle) poll(t *testing.T, poll db.SettledPoll) {
	t.Helper()
	require.NoError(t, b.store.SettlePoll(t.Context(), poll))
}

// answer is a poll that Smartcar answered so long before today.
func answer(car, outcome string, ago time.Duration) db.SettledPoll {
	return db.SettledPoll{SmartcarVehicleID: car, Outcome: outcome, AskedAt: today().Add(-ago), Unchanged: outcome != "received"}
}

// silent lists today's candidates as "car", "car!" after an outage, with what stands in the way.
func (b *bundle) silent(t *testing.T) []string {
	t.Helper()
	return b.silentAt(t, today())
}

func (b *bundle) silentAt(t *testing.T, now time.Time) (silent []string) {
	t.Helper()
	candidates, err := b.store.PollCandidates(t.Context(), odometer(), now)
	require.NoError(t, err)
	for _, candidate := range candidates {
		text := candidate.SmartcarVehicleID
		if candidate.AfterOutage {
			text += "!"
		}
		silent = append(silent, strings.TrimSpace(text+" "+candidate.Obstacle))
	}
	return silent
}

func TestAVehicleIsSilentBeyondTwiceTheGapThatIsUsualForIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		silent, gap time.Duration
		readings    int
		isSilent    bool
	}{
		"beyond twice its gap":               {7 * time.Hour, 3 * time.Hour, 21, true},
		"within twice its gap":               {5 * time.Hour, 3 * time.Hour, 21, false},
		"a lively one is left alone an hour": {50 * time.Minute, time.Minute, 21, false},
		"and no longer":                      {70 * time.Minute, time.Minute, 21, true},
		"four readings are enough":           {7 * time.Hour, 3 * time.Hour, 4, true},
		"three tell nothing":                 {23 * time.Hour, 3 * time.Hour, 3, false},
		"so that a day is the measure":       {25 * time.Hour, 3 * time.Hour, 3, true},
		"the quietest is asked after a week": {8 * day, 30 * day, 21, true},
		"and not before":                     {6 * day, 30 * day, 21, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.own(t, "car")
			b.drive(t, "car", test.silent, test.gap, test.readings)
			require.Equal(t, test.isSilent, len(b.silent(t)) == 1)
		})
	}
}

func TestOnlyTheLatestWebhooksMakeTheRhythmAndSomeMayBeMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "changed", "polled", "outage", "repeated")
	b.drive(t, "changed", 7*time.Hour, 3*time.Hour, 21)
	b.observe(t, "changed", "webhook", 80*day, 10*day, 20)
	b.drive(t, "polled", 10*time.Hour, 8*time.Hour, 4)
	b.observe(t, "polled", "poll", 10*time.Hour+time.Minute, time.Minute, 20)
	b.drive(t, "outage", 7*time.Hour, 3*time.Hour, 20)
	b.observe(t, "outage", "webhook", 20*day, 3*time.Hour, 1)
	b.drive(t, "repeated", 23*time.Hour, 9*time.Hour, 3)
	b.change(t, `INSERT INTO odometer_readings (vehicle_id, observed_at, odometer_km, observed_at_source, reported_value, source_type, event_id)
		SELECT vehicle_id, observed_at, odometer_km + 1, observed_at_source, reported_value, source_type, event_id
		FROM odometer_readings WHERE vehicle_id = (SELECT vehicle_id FROM smartcar_vehicles WHERE smartcar_vehicle_id = 'repeated')`)
	require.Equal(t, []string{"changed", "outage"}, b.silent(t))
}

func TestAVehicleIsHeardFromWheneverSmartcarSendsItsOdometerOrConnectsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "never", "parked", "new", "gone")
	b.drive(t, "parked", 20*day, 3*time.Hour, 21)
	b.hear(t, "parked", time.Hour)
	b.change(t, "UPDATE smartcar_vehicles SET created_at = $1 WHERE smartcar_vehicle_id = 'new'", today().Add(-23*time.Hour))
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), "gone"))
	require.Equal(t, []string{"never"}, b.silent(t))

	candidates, err := b.store.PollCandidates(t.Context(), odometer(), today())
	require.NoError(t, err)
	require.Equal(t, []db.PollCandidate{{SmartcarVehicleID: "never", API: db.APIv3, HeardAt: today().Add(-90 * day)}}, candidates)
}

func TestAnswersWithoutNewsDoubleThePatience(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car")
	b.drive(t, "car", 60*day, 3*time.Hour, 21)
	since := 60 * day
	for _, hours := range []int{6, 12, 24, 48, 96, 168, 168} {
		patience := time.Duration(hours) * time.Hour
		require.Empty(t, b.silentAt(t, today().Add(-since+patience-time.Minute)), patience)
		require.Equal(t, []string{"car"}, b.silentAt(t, today().Add(-since+patience+time.Minute)), patience)
		since -= patience + time.Hour
		b.poll(t, answer("car", "nothing_new", since))
	}
}

func TestANewReadingEndsThePatience(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		renew func(t *testing.T, b *bundle)
		// first is how long it may be silent from then on, second after one more answer without news.
		first, second time.Duration
	}{
		"that a poll brought": {func(t *testing.T, b *bundle) {
			t.Helper()
			b.poll(t, answer("car", "received", 10*day))
		}, 6 * time.Hour, 12 * time.Hour},
		"that a webhook brought": {func(t *testing.T, b *bundle) {
			t.Helper()
			b.drive(t, "car", 10*day, 3*time.Hour, 21)
		}, 6 * time.Hour, 12 * time.Hour},
		"unless it is none": {func(t *testing.T, b *bundle) {
			t.Helper()
			b.hear(t, "car", 10*day) // the same reading once more
		}, 96 * time.Hour, 7 * day},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.own(t, "car")
			b.drive(t, "car", 60*day, 3*time.Hour, 21)
			for range 4 {
				b.poll(t, answer("car", "nothing_new", 40*day))
			}
			test.renew(t, b)
			requirePatience := func(since, patience time.Duration) {
				t.Helper()
				require.Empty(t, b.silentAt(t, today().Add(-since+patience-time.Minute)))
				require.Equal(t, []string{"car"}, b.silentAt(t, today().Add(-since+patience+time.Minute)))
			}
			requirePatience(10*day, test.first)
			b.poll(t, answer("car", "nothing_new", 8*day))
			requirePatience(8*day, test.second)
		})
	}
}

func TestAfterAnOutageEveryVehicleNotHeardFromIsAskedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "heard", "lively", "quiet", "new", "asked before", "asked after")
	b.change(t, "UPDATE smartcar_vehicles SET created_at = $1 WHERE smartcar_vehicle_id = 'new'", today().Add(-5*time.Minute))
	b.drive(t, "heard", 5*time.Minute, 10*time.Minute, 21)
	b.drive(t, "lively", 20*time.Minute, 15*time.Minute, 21)
	b.drive(t, "quiet", 3*time.Hour, day, 21)
	b.drive(t, "asked before", 40*time.Minute, day, 21)
	b.drive(t, "asked after", 4*time.Hour, day, 21)
	b.poll(t, answer("asked before", "nothing_new", 30*time.Minute))
	b.poll(t, answer("asked after", "nothing_new", 5*time.Minute))
	require.Empty(t, b.silent(t), "nobody is silent beyond the usual")

	b.endOutage(t, 10*time.Minute)
	require.Equal(t, []string{"quiet!", "asked before!", "lively!"}, b.silent(t))
	for _, outcome := range []string{"received", "nothing_new", "needs_owner"} {
		car := b.silent(t)[0]
		b.poll(t, answer(strings.TrimSuffix(car, "!"), outcome, 0))
	}
	require.Empty(t, b.silent(t))
}

func TestAnOutageIsRememberedForAWeekSinceItWasDetected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car")
	b.drive(t, "car", 6*day+12*time.Hour, 30*day, 21)
	b.endOutage(t, 6*day)
	require.Equal(t, []string{"car!"}, b.silent(t))
	require.Equal(t, []string{"car"}, b.silentAt(t, today().Add(2*day)), "by then the silence says it alone")
}

func TestAnOutageOfMoreThanAWeekIsRememberedForAWeekSinceItsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car")
	b.drive(t, "car", 6*day+12*time.Hour, 30*day, 21)
	b.change(t, "INSERT INTO webhook_outages (source, started_at, ended_at, detected_at) VALUES ('ledger', $1, $3, $2)",
		today().Add(-20*day), today().Add(-19*day), today().Add(-6*day))
	require.Equal(t, []string{"car!"}, b.silent(t))
	require.Equal(t, []string{"car"}, b.silentAt(t, today().Add(2*day)))
}

func TestAnOutageThatLastsIsAReasonToAskOnceAndItsEndIsAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car")
	b.drive(t, "car", 3*time.Hour, day, 21)
	b.change(t, "INSERT INTO webhook_outages (source, started_at, detected_at) VALUES ('ledger', $1, $2)",
		today().Add(-3*time.Hour), today().Add(-2*time.Hour))
	require.Equal(t, []string{"car!"}, b.silent(t))
	b.poll(t, answer("car", "nothing_new", time.Hour))
	require.Empty(t, b.silent(t))
	b.change(t, "UPDATE webhook_outages SET ended_at = $1", today().Add(-time.Minute))
	require.Equal(t, []string{"car!"}, b.silent(t))
}

func TestARequestedOutageHasEveryVehicleAskedThatWasNotHeardFromSince(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car", "heard")
	now := time.Now()
	b.hear(t, "car", today().Sub(now)+time.Hour)
	b.hear(t, "heard", today().Sub(now)-time.Hour)
	require.NoError(t, b.store.RequestReconcile(t.Context(), now.Add(-20*day), now.Add(-10*day)))
	require.Empty(t, b.silentAt(t, now), "both were heard from since")
	require.NoError(t, b.store.RequestReconcile(t.Context(), now.Add(-20*day), now))
	require.Equal(t, []string{"car!"}, b.silentAt(t, now.Add(time.Minute)))
}
