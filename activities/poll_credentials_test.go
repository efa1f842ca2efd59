package activities_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

func TestAPollWhoseTokenIsNotAcceptedIsRepeatedOnceWithARefreshedOne(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]http.HandlerFunc{
		"as a whole":       answer(401, failure(401, "AUTHENTICATION", "")),
		"for the odometer": batch(401, failure(401, "AUTHENTICATION", "")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.own(car)
			b.smartcar.on(batchOf(car), refused, shown("1000", b.now))
			require.Equal(t, contract.PollReceived, b.poll(car).Outcome)
			require.EqualValues(t, 1, b.oauth.refreshes.Load())
			require.Equal(t, []string{firstAccess, hush + "-access-2"}, b.smartcar.bearers(batchOf(car)))

			b.now = b.now.Add(pollInterval)
			b.smartcar.on(batchOf(car), refused)
			b.smartcar.forget()
			require.Equal(t, contract.PollNeedsOwner, b.poll(car).Outcome)
			require.EqualValues(t, 2, b.oauth.refreshes.Load())
			require.Equal(t, []string{hush + "-access-2", hush + "-access-3"}, b.smartcar.bearers(batchOf(car)), "and not a third time")
			require.Equal(t, db.StateConnected, b.status(car).State, "nothing but a refused refresh token ends that")
			require.Len(t, b.polledEvents(), 1)
			b.requireSpent(car, "4", time.Minute)
		})
	}
}

func TestAPollThatWasSentIsSpentWhenItsTokenCannotBeRenewed(t *testing.T) {
	t.Parallel()
	for name, renewal := range map[string]func(b *polling) http.HandlerFunc{
		"since nobody is there": func(b *polling) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				b.unreachable.Store(true)
				answer(401, failure(401, "AUTHENTICATION", ""))(w, r)
			}
		},
		"since the token endpoint fails": func(b *polling) http.HandlerFunc {
			b.smartcar.on(tokenEndpoint, page(502))
			return answer(401, failure(401, "AUTHENTICATION", ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.own(car)
			b.smartcar.on(batchOf(car), renewal(b))
			require.Equal(t, contract.PollVehicleResult{
				Outcome: contract.PollSmartcarUnavailable, TryAgainAt: b.now.Add(pollInterval),
			}, b.poll(car))
			require.Len(t, b.smartcar.requests(batchOf(car)), 1)
			b.requireSpent(car, "1", 30*time.Second)
		})
	}
}

func TestTheApplicationTokenOfAPollIsReplacedOnce(t *testing.T) {
	t.Parallel()
	refused := answer(401, `{"errors":[{"status":"401","code":"AUTHENTICATION","detail":"`+hush+`"}]}`)
	b := setupPolling(t)
	b.ownV3(car, otherCar)
	b.smartcar.on(signalsOf(car), refused, signals(signal(smartcar.CodeOdometer, `{"value":7,"unit":"km"}`, b.now)))
	require.Equal(t, contract.PollReceived, b.poll(car).Outcome)
	require.Equal(t, []string{hush + "-application-1", hush + "-application-2"}, b.smartcar.bearers(signalsOf(car)))

	b.smartcar.on(signalsOf(otherCar), refused)
	require.Equal(t, contract.PollVehicleResult{
		Outcome: contract.PollNeedsOperator, TryAgainAt: b.now.Add(pollInterval), StopUntil: b.now.Add(15 * time.Minute),
	}, b.poll(otherCar), "no vehicle would fare better")
	require.Equal(t, []string{hush + "-application-2", hush + "-application-3"}, b.smartcar.bearers(signalsOf(otherCar)))
	require.Len(t, b.smartcar.requests(applicationToken), 3)
	b.requireSpent(car, "2", 2*time.Minute)
	b.requireSpent(otherCar, "2", 2*time.Minute)
}

func TestATokenThatWasOnlyKeptAliveIsRefreshedBeforeThePoll(t *testing.T) {
	t.Parallel()
	b := setupPolling(t, func(b *connected) { b.deps.Refreshing = activities.RefreshToKeepAlive })
	b.own(car)
	b.execute("UPDATE smartcar_tokens SET expires_at = now() - interval '6 days'")
	b.smartcar.on(batchOf(car), shown("1000", b.now))
	require.Equal(t, contract.PollReceived, b.poll(car).Outcome)
	require.Equal(t, []string{hush + "-access-2"}, b.smartcar.bearers(batchOf(car)))
	require.EqualValues(t, 1, b.oauth.refreshes.Load())
}

func TestAPollWhoseTokenCannotBeRefreshedSaysWhoCanHelp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reply    http.HandlerFunc
		outcome  contract.PollOutcome
		state    string
		standing string
		stops    bool
	}{
		"the owner":      {oauthFailure(400, "invalid_grant"), contract.PollNeedsOwner, db.StateReauthRequired, "needs_owner", false},
		"an operator":    {oauthFailure(401, "invalid_client"), contract.PollNeedsOperator, db.StateConnected, "ready", true},
		"Smartcar alone": {page(502), contract.PollSmartcarUnavailable, db.StateConnected, "ready", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.own(car)
			b.execute("UPDATE smartcar_tokens SET expires_at = now()")
			b.smartcar.on(tokenEndpoint, test.reply)
			result := b.poll(car)
			require.Equal(t, test.outcome, result.Outcome)
			require.Equal(t, test.stops, !result.StopUntil.IsZero())
			require.Empty(t, b.smartcar.requests(batchOf(car)))
			b.requireSpent(car, "0", 0)
			require.Equal(t, test.state, b.status(car).State)
			b.now = b.now.Add(patience + time.Second)
			require.Equal(t, test.standing, b.standing(car))
		})
	}
}

func TestAPollWithoutSettingsWaitsForTheOperator(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	for _, change := range []func(*activities.Deps){
		func(deps *activities.Deps) { deps.Vault = nil },
		func(deps *activities.Deps) { deps.Platforms = nil },
	} {
		_, err := b.restart(change).PollVehicle(t.Context(), contract.PollVehicleInput{SmartcarVehicleID: car})
		requireTransient(t, err, "connect_not_configured", operatorsTurn)
	}
}
