package db_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestEachObstacleIsNamed(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	b.own(t, "reauth", "degraded", "tokenless", "ungranted", "unsaid", "unsupported", "incompatible", "later", "due", "ready")
	b.change(t, "UPDATE smartcar_vehicles SET created_at = $1, updated_at = $1, token_id = CASE WHEN smartcar_vehicle_id = $2 THEN token_id END",
		today().Add(-90*day), firstOfFamily)
	set := func(car, change string) {
		t.Helper()
		b.change(t, "UPDATE smartcar_vehicles SET "+change+" WHERE smartcar_vehicle_id = $1", car)
	}
	set("reauth", "connection_state = 'reauth_required'")
	set("degraded", "degraded = true")
	set("tokenless", "api = 'v2'")
	set("ungranted", "permissions = '{read_vin}'")
	set("unsaid", "permissions = '{}'")
	b.change(t, `INSERT INTO vehicle_signals (smartcar_vehicle_id, data_type, unsupported_at, incompatible_at)
		VALUES ('unsupported', $1, now(), NULL), ('incompatible', $1, NULL, now())`, odometer().Code)
	b.poll(t, db.SettledPoll{SmartcarVehicleID: "later", Outcome: "vehicle_unreachable", NotBefore: today().Add(time.Hour)})
	b.poll(t, db.SettledPoll{SmartcarVehicleID: "due", Outcome: "vehicle_unreachable", NotBefore: today().Add(-time.Hour)})
	require.ElementsMatch(t, []string{
		"reauth needs_owner", "degraded needs_owner", "tokenless needs_owner", secondOfFamily + " needs_owner", "ungranted no_permission",
		"unsupported not_supported", "incompatible not_supported", "later deferred", "due", "ready", "unsaid", firstOfFamily,
	}, b.silent(t))

	b.change(t, "UPDATE smartcar_tokens SET status = 'invalid'")
	require.Contains(t, b.silent(t), firstOfFamily+" needs_owner")
	candidates, err := b.store.PollCandidates(t.Context(), odometer(), today())
	require.NoError(t, err)
	for _, candidate := range candidates {
		if candidate.SmartcarVehicleID == "later" {
			require.Equal(t, "vehicle_unreachable", candidate.Outcome)
			require.Equal(t, today().Add(time.Hour), candidate.NotBefore)
		}
	}
}

func TestARefusalForGoodHoldsUntilTheVehicleOrItsConnectionSaysOtherwise(t *testing.T) {
	t.Parallel()
	for outcome, holds := range map[string]bool{
		"no_permission": true, "not_supported": true, "needs_owner": false, "not_given": false, "refused": false, "nothing_new": false,
	} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.own(t, "car", "heard", "renewed")
			for _, car := range []string{"car", "heard", "renewed"} {
				b.poll(t, answer(car, outcome, 20*day))
			}
			b.hear(t, "heard", 15*day)
			b.change(t, "UPDATE smartcar_vehicles SET updated_at = $1 WHERE smartcar_vehicle_id = 'renewed'", today().Add(-15*day))
			silent := b.silent(t)
			require.Equal(t, holds, silent[0] == "car "+outcome, silent)
			require.Equal(t, []string{"renewed", "heard"}, silent[1:], "in the order of being heard from")
		})
	}
}

func TestAPollThatWasNotMadeLeavesWhatTheOneBeforeCameTo(t *testing.T) {
	t.Parallel()
	hours := func(ahead int) time.Time { return today().Add(time.Duration(ahead) * time.Hour) }
	for name, test := range map[string]struct {
		before   db.SettledPoll
		deferred time.Time
		outcome  string
		until    time.Time
	}{
		"an answer":                     {answer("car", "received", 20*day), hours(1), "received", hours(1)},
		"a refusal for good":            {answer("car", "no_permission", 20*day), hours(1), "no_permission", hours(1)},
		"a pause that lasts":            {db.SettledPoll{Outcome: "vehicle_unreachable", NotBefore: hours(9)}, hours(1), "vehicle_unreachable", hours(9)},
		"a pause that is over by then":  {db.SettledPoll{Outcome: "vehicle_unreachable", NotBefore: hours(-9)}, hours(1), "deferred", hours(1)},
		"a poll that was not made, too": {db.SettledPoll{Outcome: "deferred", NotBefore: hours(-9)}, hours(1), "deferred", hours(1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.own(t, "car")
			test.before.SmartcarVehicleID = "car"
			b.poll(t, test.before)
			b.poll(t, db.SettledPoll{SmartcarVehicleID: "car", Outcome: "deferred", NotBefore: test.deferred})
			candidates, err := b.store.PollCandidates(t.Context(), odometer(), today())
			require.NoError(t, err)
			require.Len(t, candidates, 1)
			require.Equal(t, test.outcome, candidates[0].Outcome)
			require.Equal(t, test.until, candidates[0].NotBefore)
		})
	}
}

func TestVehiclesAfterAnOutageComeFirstAndThenTheLongestSilent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "b silent", "a silent", "longest silent", "outage", "longer outage")
	b.poll(t, answer("longest silent", "nothing_new", 8*day))
	b.drive(t, "longest silent", 20*day, day, 21)
	for _, car := range []string{"a silent", "b silent"} {
		b.drive(t, car, 10*day, day, 21)
		b.poll(t, answer(car, "nothing_new", 8*day))
	}
	b.endOutage(t, 9*day)
	b.change(t, "UPDATE webhook_outages SET detected_at = $1", today())
	b.drive(t, "outage", 9*day+time.Hour, 30*day, 21)
	b.drive(t, "longer outage", 9*day+2*time.Hour, 30*day, 21)
	require.Equal(t, []string{"longer outage!", "outage!", "longest silent", "a silent", "b silent"}, b.silent(t))
}
