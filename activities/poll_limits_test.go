package activities_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

func withLimits(limits smartcar.BudgetLimits) func(*connected) {
	return func(b *connected) { b.deps.PollLimits = limits }
}

// restart makes the activities anew, as another process would.
func (b *polling) restart(change func(*activities.Deps)) *activities.Activities {
	b.t.Helper()
	deps := b.deps
	change(&deps)
	again, err := activities.New(deps)
	require.NoError(b.t, err)
	return again
}

func TestWhatIsNotInTheBudgetIsNotSent(t *testing.T) {
	t.Parallel()
	b := setupPolling(t, withLimits(smartcar.BudgetLimits{Burst: 2, RefillInterval: time.Hour}))
	b.own(car, otherCar, "car-3")
	for _, vehicle := range []string{car, otherCar, "car-3"} {
		b.smartcar.on(batchOf(vehicle), shown("1000", b.now))
	}
	require.Zero(t, b.poll(car).StopUntil)
	last := b.poll(otherCar)
	require.Equal(t, contract.PollReceived, last.Outcome)
	require.Equal(t, b.now.Add(time.Hour), last.StopUntil, "the run need not find out by asking for more")

	b.Activities = b.restart(func(*activities.Deps) {})
	for range 2 {
		result := b.poll("car-3")
		require.Equal(t, contract.PollDeferred, result.Outcome)
		require.Equal(t, b.now.Add(time.Hour), result.StopUntil)
		require.Equal(t, "ready", b.standing("car-3"), "it is not this vehicle that must wait")
	}
	require.Empty(t, b.smartcar.requests(batchOf("car-3")))
	b.now = b.now.Add(time.Hour)
	require.Equal(t, contract.PollReceived, b.poll("car-3").Outcome)
}

func TestTheLastCallOfTheBudgetCanBeSpentByTheSameVehicle(t *testing.T) {
	t.Parallel()
	b := setupPolling(t, withLimits(smartcar.BudgetLimits{Burst: 2, RefillInterval: time.Hour}))
	b.own(car)
	b.smartcar.on(batchOf(car), answer(409, failure(409, "VEHICLE_STATE", "ASLEEP")))
	require.Equal(t, contract.PollVehicleResult{
		Outcome: contract.PollVehicleUnreachable, TryAgainAt: b.now.Add(pollInterval),
	}, b.poll(car), "to look what is left spends nothing")
}

func TestAVehicleIsNotPolledTwiceInHalfAnHour(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.smartcar.on(batchOf(car), answer(500, failure(500, "SERVER", "INTERNAL")), shown("1000", b.now))
	b.poll(car)
	polledAt := b.now
	b.now = b.now.Add(pollInterval - time.Second)
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollDeferred, TryAgainAt: polledAt.Add(pollInterval)}, b.poll(car))
	require.Equal(t, "smartcar_unavailable", b.standing(car), "which is why it waits")
	require.Len(t, b.smartcar.requests(batchOf(car)), 1)
	b.now = b.now.Add(time.Second)
	require.Equal(t, contract.PollReceived, b.poll(car).Outcome)
}

func TestAVehicleWhoseCallsOfTheMonthAreUsedUpWaitsForTheNext(t *testing.T) {
	t.Parallel()
	b := setupPolling(t, withLimits(smartcar.BudgetLimits{VehicleCalls: 2}))
	b.now = noon()
	b.own(car, otherCar)
	b.smartcar.on(batchOf(car), shown("1000", b.now))
	b.smartcar.on(batchOf(otherCar), shown("1000", b.now))
	for range 2 {
		b.poll(car)
		b.now = b.now.Add(time.Hour)
	}
	december := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollDeferred, TryAgainAt: december}, b.poll(car))
	require.Len(t, b.smartcar.requests(batchOf(car)), 2)
	require.Equal(t, contract.PollReceived, b.poll(otherCar).Outcome, "the others go on")
	b.now = december
	b.poll(car)
	require.Len(t, b.smartcar.requests(batchOf(car)), 3)
}

func TestALimitOfTheApplicationStopsAllPolls(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car, otherCar)
	b.smartcar.on(batchOf(car), batch(429, failure(429, "RATE_LIMIT", "SMARTCAR_API"), "Retry-After", "600"))
	b.smartcar.on(batchOf(otherCar), shown("1000", b.now))
	until := b.now.Add(10 * time.Minute)
	require.Equal(t, until, b.poll(car).StopUntil)
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollDeferred, StopUntil: until, TryAgainAt: until}, b.poll(otherCar))
	require.Empty(t, b.smartcar.requests(batchOf(otherCar)))
	b.now = until
	require.Equal(t, contract.PollReceived, b.poll(otherCar).Outcome)
}

func TestVehiclesThatArePutOffTogetherAreNotAskedTogether(t *testing.T) {
	t.Parallel()
	const cars = 8
	b := setupPolling(t, func(c *connected) { c.deps.Jitter = nil })
	asked := map[time.Time]bool{}
	for number := range cars {
		vehicle := fmt.Sprint("car-", number)
		b.own(vehicle)
		b.smartcar.on(batchOf(vehicle), answer(429, failure(429, "RATE_LIMIT", "VEHICLE"), "Retry-After", "7200"))
		again := b.poll(vehicle).TryAgainAt
		require.WithinRange(t, again, b.now.Add(2*time.Hour), b.now.Add(2*time.Hour+12*time.Minute))
		asked[again] = true
	}
	require.Greater(t, len(asked), 1)
}

func TestALimitOfAVehicleLeavesTheOthers(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car, otherCar)
	b.smartcar.on(batchOf(car), answer(429, failure(429, "RATE_LIMIT", "VEHICLE"), "Retry-After", "4320"), shown("1000", b.now))
	b.smartcar.on(batchOf(otherCar), shown("1000", b.now))
	polledAt := b.now
	require.Zero(t, b.poll(car).StopUntil)
	require.Equal(t, contract.PollReceived, b.poll(otherCar).Outcome)
	b.now = polledAt.Add(72*time.Minute - time.Second)
	require.Equal(t, contract.PollDeferred, b.poll(car).Outcome)
	require.Len(t, b.smartcar.requests(batchOf(car)), 1)
	b.now = polledAt.Add(72 * time.Minute)
	require.Equal(t, contract.PollReceived, b.poll(car).Outcome)
}

// spentOf are the calls that a vehicle has spent this month, and how long the application's bucket takes to fill.
func (b *polling) spentOf(vehicle string) (calls string, fill time.Duration) {
	b.t.Helper()
	calls = texts(b.t, b.url, "SELECT COALESCE(budget->>'calls', '0') FROM smartcar_polls WHERE smartcar_vehicle_id = '"+vehicle+"'")[0]
	return calls, b.untilFull()
}

func (b *polling) untilFull() time.Duration {
	b.t.Helper()
	full, err := time.Parse(time.RFC3339Nano, texts(b.t, b.url, "SELECT budget->>'fullAt' FROM smartcar_polling")[0])
	require.NoError(b.t, err)
	return full.Sub(b.now)
}

// requireSpent requires what the vehicle has spent this month, and the application of its bucket.
func (b *polling) requireSpent(vehicle, calls string, fill time.Duration) {
	b.t.Helper()
	spent, untilFull := b.spentOf(vehicle)
	require.Equal(b.t, calls, spent)
	require.Equal(b.t, fill, untilFull)
}

func TestCallsThatWereNeverSentAreGivenBack(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.unreachable.Store(true)
	result := b.poll(car)
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollSmartcarUnavailable, TryAgainAt: b.now.Add(5 * time.Minute)}, result)
	b.requireSpent(car, "0", 0)

	b.unreachable.Store(false)
	b.smartcar.on(batchOf(car), shown("1000", b.now))
	b.now = b.now.Add(5 * time.Minute)
	require.Equal(t, contract.PollReceived, b.poll(car).Outcome, "sooner than after half an hour")
	b.requireSpent(car, "1", 30*time.Second)
}

func TestAnOpenBreakerStopsTheRunAndCostsNothing(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car, otherCar)
	b.smartcar.on(batchOf(car), page(502))
	b.smartcar.on(batchOf(otherCar), shown("1000", b.now))
	breaker := smartcar.NewBreaker(nil, smartcar.BreakerSettings{Failures: 1, OpenFor: time.Hour})
	hosts := smartcar.Hosts{API: b.smartcar.URL, Auth: b.smartcar.URL, IAM: b.smartcar.URL, Vehicle: b.smartcar.URL, Management: b.smartcar.URL}
	client, err := smartcar.NewV2Client(smartcar.ClientConfig{Hosts: hosts, HTTP: &http.Client{Transport: breaker}})
	require.NoError(t, err)
	b.Activities = b.restart(func(deps *activities.Deps) { deps.Platforms = map[string]activities.Platform{db.APIv2: client} })

	require.Equal(t, contract.PollSmartcarUnavailable, b.poll(car).Outcome, "this opens it")
	_, spent := b.spentOf(car)
	result := b.poll(otherCar)
	require.Equal(t, contract.PollSmartcarUnavailable, result.Outcome)
	require.WithinDuration(t, b.now.Add(time.Hour), result.StopUntil, time.Minute)
	require.Equal(t, result.StopUntil, result.TryAgainAt)
	require.Empty(t, b.smartcar.requests(batchOf(otherCar)))
	b.requireSpent(otherCar, "0", spent)
}

func TestWhatConnectingSendsIsTakenFromThePollsToo(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.execute("UPDATE smartcar_vehicles SET is_active = false WHERE smartcar_vehicle_id = '" + smartcarVehicle + "'")
	b.smartcar.list(car)
	b.smartcar.describe(car, carVIN)
	b.smartcar.on(subscribeV2, answer(200, `{"webhookId":"`+webhookID+`","vehicleId":"`+car+`"}`))
	require.Empty(t, b.connect(b.consent(driver, db.APIv2)))
	require.NoError(t, b.subscribe())
	sent := 0
	for _, one := range b.smartcar.asked {
		if one.route != tokenEndpoint {
			sent++
		}
	}
	require.Greater(t, sent, 4)
	require.Equal(t, time.Duration(sent)*30*time.Second, b.untilFull())
}

func TestALimitThatConnectingMeetsStopsThePolls(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.smartcar.on(batchOf(car), shown("1000", b.now))
	b.smartcar.on(subscribeV2, answer(430, failure(430, "BILLING", "INVALID_PLAN")))
	requireTransient(t, b.subscribe(), credentials, operatorsTurn)
	require.Equal(t, contract.PollReceived, b.poll(car).Outcome, "that is about webhooks")
	b.smartcar.forget()

	b.now = b.now.Add(time.Hour)
	b.smartcar.on(subscribeV2, answer(429, failure(429, "RATE_LIMIT", "SMARTCAR_API"), "Retry-After", "600"))
	requireTransient(t, b.subscribe(), "smartcar_rate_limited", 10*time.Minute)
	until := b.now.Add(10 * time.Minute)
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollDeferred, StopUntil: until, TryAgainAt: until}, b.poll(car))
	require.Empty(t, b.smartcar.requests(batchOf(car)))
}

func TestProcessesThatPollAtOnceKeepToOneBudget(t *testing.T) {
	t.Parallel()
	const burst, cars = 7, 20
	b := setupPolling(t, withLimits(smartcar.BudgetLimits{Burst: burst, RefillInterval: time.Hour}))
	vehicles := make([]string, cars)
	for number := range vehicles {
		vehicles[number] = fmt.Sprint("car-", number)
		b.smartcar.on(batchOf(vehicles[number]), shown("1000", b.now))
	}
	b.own(vehicles...)
	store, err := db.Open(t.Context(), db.Config{URL: b.url, MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	processes := []*activities.Activities{b.Activities, b.restart(func(deps *activities.Deps) {
		deps.Store, deps.Logger = store, slog.New(slog.DiscardHandler)
	})}
	var group sync.WaitGroup
	outcomes := make(chan contract.PollOutcome, 2*cars)
	for _, vehicle := range vehicles {
		for _, process := range processes {
			group.Go(func() {
				result, err := process.PollVehicle(context.WithoutCancel(t.Context()), contract.PollVehicleInput{SmartcarVehicleID: vehicle})
				if err != nil {
					t.Error(err)
				}
				outcomes <- result.Outcome
			})
		}
	}
	group.Wait()
	close(outcomes)
	counts := map[contract.PollOutcome]int{}
	for outcome := range outcomes {
		counts[outcome]++
	}
	require.Equal(t, map[contract.PollOutcome]int{contract.PollReceived: burst, contract.PollDeferred: 2*cars - burst}, counts)
	require.Len(t, b.polledEvents(), burst)
	sent := 0
	for _, vehicle := range vehicles {
		sent += len(b.smartcar.requests(batchOf(vehicle)))
	}
	require.Equal(t, burst, sent)
}
