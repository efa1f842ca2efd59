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
	b.own(t, "reauth", "account", "tokenless", "ungranted", "unsaid", "unsupported", "incompatible", "later", "due", "ready")
	b.change(t, "UPDATE smartcar_vehicles SET created_at = $1, updated_at = $1, token_id = CASE WHEN smartcar_vehicle_id = $2 THEN token_id END",
		today().Add(-90*day), firstOfFamily)
	set := func(car, change string) {
		t.Helper()
		b.change(t, "UPDATE smartcar_vehicles SET "+change+" WHERE smartcar_vehicle_id = $1", car)
	}
	set("reauth", "connection_state = 'reauth_required'")
	b.openError(t, "account", db.ReactionOwnerAction, "", time.Hour)
	set("tokenless", "api = 'v2'")
	set("ungranted", "permissions = '{read_vin}'")
	set("unsaid", "permissions = '{}'")
	b.change(t, `INSERT INTO vehicle_signals (smartcar_vehicle_id, data_type, unsupported_at, incompatible_at)
		VALUES ('unsupported', $1, now(), NULL), ('incompatible', $1, NULL, now())`, odometer().Code)
	b.poll(t, db.SettledPoll{SmartcarVehicleID: "later", Outcome: "vehicle_unreachable", NotBefore: today().Add(time.Hour)})
	b.poll(t, db.SettledPoll{SmartcarVehicleID: "due", Outcome: "vehicle_unreachable", NotBefore: today().Add(-time.Hour)})
	require.ElementsMatch(t, []string{
		"reauth needs_owner", "account needs_owner", "tokenless needs_owner", secondOfFamily + " needs_owner", "ungranted no_permission",
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

// openError has Smartcar report an error of a car's signal, or of the whole car, so long before today.
func (b *bundle) openError(t *testing.T, car string, reaction db.Reaction, signal string, ago time.Duration) {
	t.Helper()
	b.change(t, `INSERT INTO vehicle_errors (smartcar_vehicle_id, error_type, signal, opened_at, reaction) VALUES ($1, $2, $3, $4, $5)`,
		car, "type of "+reaction, signal, today().Add(-ago), reaction)
	b.change(t, `UPDATE smartcar_vehicles SET degraded = ($2 = 'owner_action'),
		connection_state = CASE WHEN $2 IN ('reauthenticate', 'reconsent') THEN 'reauth_required' ELSE 'connected' END
		WHERE smartcar_vehicle_id = $1`, car, reaction)
}

func TestAnErrorOfTheOwnersKeepsPollsAwayADayAtATimeAndOnlyWhenItConcernsTheOdometer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reaction db.Reaction
		signal   string
		hinders  bool
	}{
		"the account":                     {db.ReactionOwnerAction, "", true},
		"the account, for the odometer":   {db.ReactionOwnerAction, odometer().Code, true},
		"the account, for something else": {db.ReactionOwnerAction, "location-preciselocation", false},
		"the owner's sign-in":             {db.ReactionReauthenticate, "", true},
		"the owner's consent":             {db.ReactionReconsent, odometer().Code, true},
		"what nobody wants":               {db.ReactionIgnore, "location-preciselocation", false},
		"what passes":                     {db.ReactionWait, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.own(t, "car", "polled", "outage")
			for car, ago := range map[string]time.Duration{"car": 23 * time.Hour, "polled": 20 * day, "outage": time.Hour} {
				b.openError(t, car, test.reaction, test.signal, ago)
			}
			b.drive(t, "polled", 20*day, time.Hour, 21)
			b.poll(t, db.SettledPoll{SmartcarVehicleID: "polled", Outcome: "needs_owner", AskedAt: today().Add(-23 * time.Hour)})
			b.hear(t, "outage", 25*time.Hour)
			hindered := map[bool]string{true: " needs_owner"}[test.hinders]
			require.Equal(t, []string{"car" + hindered, "polled" + hindered, "outage" + hindered}, b.silent(t))
			require.Equal(t, []string{"car", "polled", "outage" + hindered}, b.silentAt(t, today().Add(2*time.Hour)))

			b.endOutage(t, 12*time.Hour)
			b.hear(t, "polled", 0)
			require.Equal(t, []string{"car!", "outage!"}, b.silent(t), "one poll tells")
			b.poll(t, answer("outage", "needs_owner", 0))
			require.Equal(t, []string{"car!"}, b.silent(t))
		})
	}
}

func TestAnErrorThatWasResolvedKeepsNoPollAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "account", "told", "incompatible")
	b.openError(t, "account", db.ReactionOwnerAction, "", time.Hour)
	b.openError(t, "incompatible", db.ReactionUnsupportedSignals, "", time.Hour)
	b.openError(t, "told", db.ReactionReauthenticate, "", time.Hour)
	require.Equal(t, []string{"account needs_owner", "incompatible not_supported", "told needs_owner"}, b.silent(t))
	b.change(t, "UPDATE vehicle_errors SET resolved_at = opened_at WHERE smartcar_vehicle_id <> 'told'")
	b.change(t, "UPDATE smartcar_vehicles SET connection_state = 'connected' WHERE smartcar_vehicle_id = 'told'")
	require.Equal(t, []string{"account", "incompatible", "told"}, b.silent(t), "and an owner who has been asked in vain is not asked again")
}

func TestACarThatIsIncompatibleAsAWholeIsNotPolledUntilItSendsItsOdometer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car", "in part", "after all")
	b.openError(t, "car", db.ReactionUnsupportedSignals, "", 60*day)
	b.openError(t, "in part", db.ReactionUnsupportedSignals, "charge-ischarging", 60*day)
	b.openError(t, "after all", db.ReactionUnsupportedSignals, "", 60*day)
	b.hear(t, "after all", 30*day)
	require.Equal(t, []string{"car not_supported", "in part", "after all"}, b.silent(t))
	b.endOutage(t, time.Hour)
	require.Equal(t, []string{"car! not_supported", "in part!", "after all!"}, b.silent(t))
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
