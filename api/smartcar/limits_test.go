package smartcar_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func newBudget(t *testing.T, limits smartcar.BudgetLimits) *smartcar.Budget {
	t.Helper()
	budget, err := smartcar.NewBudget(limits)
	require.NoError(t, err)
	return budget
}

func requireAllowed(t *testing.T, budget *smartcar.Budget, vehicle string, calls int, now time.Time) {
	t.Helper()
	wait, ok := budget.Allow(vehicle, calls, now)
	require.True(t, ok)
	require.Zero(t, wait)
}

// requireWait also sees that asking again a moment before the end is too early, and at the end is not, if the state is kept.
func requireWait(t *testing.T, budget *smartcar.Budget, vehicle string, calls int, now time.Time, expected time.Duration) {
	t.Helper()
	before := budget.Snapshot()
	wait, ok := budget.Allow(vehicle, calls, now)
	require.False(t, ok)
	require.Equal(t, expected, wait)
	require.Equal(t, before, budget.Snapshot(), "a refusal spends nothing")
	_, ok = budget.Allow(vehicle, calls, now.Add(wait-1))
	require.False(t, ok)
	_, ok = budget.Allow(vehicle, calls, now.Add(wait))
	require.True(t, ok)
	budget.Restore(before)
}

func limited(kind error, name, code string, retryAfter time.Duration) error {
	return fmt.Errorf("poll: %w", &smartcar.CallError{Kind: kind, HTTPStatus: 429, Type: name, Code: code, RetryAfter: retryAfter})
}

func TestTheApplicationHasABucketOfCalls(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{}), noon()
	for i := range 30 {
		requireAllowed(t, budget, fmt.Sprint("vehicle-", i), 4, now)
	}
	requireWait(t, budget, "another", 1, now, 30*time.Second)
	requireWait(t, budget, "another", 4, now, 2*time.Minute)
	now = now.Add(2*time.Minute + time.Second)
	requireAllowed(t, budget, "another", 4, now)
	requireWait(t, budget, "one more", 1, now, 29*time.Second)
	now = now.Add(24 * time.Hour)
	for i := range 120 {
		requireAllowed(t, budget, fmt.Sprint("next day ", i), 1, now)
	}
	requireWait(t, budget, "one more", 1, now, 30*time.Second)
}

func TestAPollLargerThanTheBucketWaitsForAFullOne(t *testing.T) {
	t.Parallel()
	budget := newBudget(t, smartcar.BudgetLimits{Burst: 2, RefillInterval: time.Minute})
	requireAllowed(t, budget, "a", 5, noon())
	requireWait(t, budget, "b", 1, noon(), 4*time.Minute)
	requireWait(t, budget, "b", 5, noon(), 5*time.Minute)
	requireAllowed(t, newBudget(t, smartcar.BudgetLimits{}), "a", -7, noon())
}

func TestAVehicleIsLeftAloneForAnInterval(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{}), noon()
	requireAllowed(t, budget, "a", 1, now)
	requireWait(t, budget, "a", 1, now.Add(10*time.Minute), 20*time.Minute)
	requireAllowed(t, budget, "b", 1, now)
	requireAllowed(t, budget, "a", 1, now.Add(30*time.Minute))
	budget.Forget("a")
	requireAllowed(t, budget, "a", 1, now.Add(31*time.Minute))
}

func TestAVehicleHasItsCallsOfTheMonth(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{VehicleCalls: 10}), noon()
	requireAllowed(t, budget, "a", 8, now)
	now = now.Add(time.Hour)
	requireWait(t, budget, "a", 3, now, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).Sub(now))
	requireAllowed(t, budget, "a", 2, now)
	requireAllowed(t, budget, "b", 10, now)
	now = time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)
	requireAllowed(t, budget, "a", 10, now)
	requireWait(t, budget, "a", 1, now, time.Hour)
	_, ok := budget.Allow("a", 11, now.AddDate(0, 6, 0))
	require.False(t, ok, "more than a month has")
}

func TestALimitPausesTheVehicleOrTheApplication(t *testing.T) {
	t.Parallel()
	rate, billing, down := smartcar.ErrRateLimited, smartcar.ErrBilling, smartcar.ErrUnavailable
	for name, test := range map[string]struct {
		err           error
		vehicle, rest time.Duration // How long the vehicle and all others wait.
	}{
		"a vehicle's, with a time":       {limited(rate, "RATE_LIMIT", "VEHICLE", 72*time.Minute), 72 * time.Minute, 0},
		"a vehicle's, without":           {limited(rate, "RATE_LIMIT", "VEHICLE", 0), 30 * time.Minute, 0},
		"the application's, with a time": {limited(rate, "RATE_LIMIT", "SMARTCAR_API", 10*time.Minute), 10 * time.Minute, 10 * time.Minute},
		"the application's, without":     {limited(rate, "RATE_LIMIT", "SMARTCAR_API", 0), time.Minute, time.Minute},
		"nobody's":                       {limited(rate, "", "", 0), time.Minute, time.Minute},
		"a maker's":                      {limited(down, "UPSTREAM", "RATE_LIMIT", 0), time.Hour, 0},
		"the plan's, of a vehicle":       {limited(billing, "BILLING", "VEHICLE_REQUEST_LIMIT", 0), 24 * time.Hour, 0},
		"the plan's, of vehicles":        {limited(billing, "BILLING", "VEHICLE_LIMIT", 0), 24 * time.Hour, 0},
		"the plan's":                     {limited(billing, "BILLING", "ACCOUNT_SUSPENDED", 0), time.Hour, time.Hour},
		"unavailable for some time":      {limited(down, "", "", 5*time.Minute), 5 * time.Minute, 5 * time.Minute},
		"unavailable at the maker":       {limited(down, "UPSTREAM", "NO_RESPONSE", 5*time.Minute), 5 * time.Minute, 0},
		"unavailable":                    {limited(down, "SERVER", "INTERNAL", 0), 0, 0},
		"something of the vehicle":       {limited(smartcar.ErrVehicleState, "VEHICLE_STATE", "ASLEEP", 0), 0, 0},
		"something else":                 {errors.New("something else"), 0, 0},
		"nothing":                        {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			budget, now := newBudget(t, smartcar.BudgetLimits{VehicleInterval: 1}), noon()
			requireAllowed(t, budget, "a", 1, now)
			now = now.Add(time.Second)
			budget.Observe("a", 1, test.err, now)
			for vehicle, expected := range map[string]time.Duration{"a": test.vehicle, "b": test.rest} {
				if expected == 0 {
					requireAllowed(t, budget, vehicle, 1, now)
					continue
				}
				requireWait(t, budget, vehicle, 1, now, expected)
			}
		})
	}
}

func TestTheApplicationsBucketIsEmptyAfterItsLimit(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{}), noon()
	budget.Observe("a", 0, limited(smartcar.ErrRateLimited, "RATE_LIMIT", "SMARTCAR_API", 0), now)
	now = now.Add(2 * time.Minute)
	requireAllowed(t, budget, "a", 4, now)
	requireWait(t, budget, "b", 1, now, 30*time.Second)
}

func TestPausesDoubleUntilASuccess(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{RefillInterval: 1, VehicleInterval: 1}), noon()
	pauses := func(vehicle string, err error) (seen []time.Duration) {
		for range 7 {
			budget.Observe(vehicle, 0, err, now)
			wait, ok := budget.Allow(vehicle, 1, now)
			require.False(t, ok)
			seen = append(seen, wait)
			now = now.Add(wait)
		}
		return seen
	}
	application := limited(smartcar.ErrRateLimited, "RATE_LIMIT", "SMARTCAR_API", 0)
	minutes := []time.Duration{
		time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour,
	}
	require.Equal(t, minutes, pauses("a", application))
	budget.Observe("b", 0, nil, now)
	require.Equal(t, minutes, pauses("a", application), "a success of any vehicle ends the row")

	hours := []time.Duration{
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour,
	}
	maker := limited(smartcar.ErrUnavailable, "UPSTREAM", "RATE_LIMIT", 0)
	require.Equal(t, hours, pauses("a", maker))
	budget.Observe("b", 0, nil, now)
	wait, _ := budget.Allow("a", 1, now.Add(time.Nanosecond))
	require.Zero(t, wait)
	budget.Observe("a", 0, nil, now)
	require.Equal(t, hours, pauses("a", maker), "a success of the vehicle ends the row")
}

func TestAShorterPauseDoesNotEndALongerOne(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{}), noon()
	budget.Observe("a", 0, limited(smartcar.ErrRateLimited, "RATE_LIMIT", "VEHICLE", 3*time.Hour), now)
	budget.Observe("a", 0, limited(smartcar.ErrRateLimited, "RATE_LIMIT", "VEHICLE", time.Minute), now)
	budget.Observe("a", 0, nil, now)
	requireWait(t, budget, "a", 1, now, 3*time.Hour)
}

func TestWhatWasNeverSentIsGivenBack(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{Burst: 4, VehicleCalls: 8}), noon()
	notSent := &smartcar.CallError{Kind: smartcar.ErrUnavailable}
	for range 20 {
		requireAllowed(t, budget, "a", 4, now)
		budget.Observe("a", 0, notSent, now)
		budget.Observe("a", 0, notSent, now) // Once.
	}
	requireAllowed(t, budget, "a", 4, now)
	budget.Observe("a", 4, &smartcar.CallError{Kind: smartcar.ErrUnavailable, UnknownOutcome: true}, now)
	requireWait(t, budget, "a", 4, now, 30*time.Minute)
	requireWait(t, budget, "b", 4, now, 2*time.Minute)
	requireAllowed(t, budget, "a", 4, now.Add(30*time.Minute))
}

func TestWhatWasSentIsSpentAndNotWhatWasPlanned(t *testing.T) {
	t.Parallel()
	tokenRefused := &smartcar.CallError{Kind: smartcar.ErrUnavailable} // The token's request was not sent; the poll's was.
	budget, now := newBudget(t, smartcar.BudgetLimits{Burst: 10}), noon()
	requireAllowed(t, budget, "a", 2, now)
	budget.Observe("a", 4, tokenRefused, now)
	requireWait(t, budget, "a", 1, now, 30*time.Minute)
	requireWait(t, budget, "b", 7, now, 30*time.Second)
	requireAllowed(t, budget, "b", 3, now)
	budget.Observe("b", 1, nil, now)
	requireWait(t, budget, "b", 1, now, 30*time.Minute)
	requireWait(t, budget, "c", 6, now, 30*time.Second)

	now = now.Add(time.Hour)
	requireAllowed(t, budget, "a", 1, now)
	now = now.Add(10 * time.Minute) // The bucket has been full since.
	budget.Observe("a", 2, nil, now)
	requireWait(t, budget, "c", 10, now, 30*time.Second)
	require.Equal(t, 6, budget.Snapshot().Vehicles["a"].Calls)

	budget.Observe("", 1000, nil, now)
	requireWait(t, budget, "c", 1, now, 30*time.Second)
}

func TestAPollIsGivenBackOnce(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{Burst: 4}), noon()
	requireAllowed(t, budget, "b", 2, now)
	requireAllowed(t, budget, "a", 2, now)
	for range 2 {
		budget.Observe("a", 0, &smartcar.CallError{Kind: smartcar.ErrUnavailable}, now)
	}
	requireWait(t, budget, "c", 4, now, time.Minute)
}

func TestABudgetGoesOnFromItsState(t *testing.T) {
	t.Parallel()
	budget, now := newBudget(t, smartcar.BudgetLimits{}), noon()
	requireAllowed(t, budget, "a", 100, now)
	requireAllowed(t, budget, "b", 20, now)
	budget.Observe("b", 20, limited(smartcar.ErrRateLimited, "RATE_LIMIT", "VEHICLE", 3*time.Hour), now)
	kept, err := json.Marshal(budget.Snapshot())
	require.NoError(t, err)

	var state smartcar.BudgetState
	require.NoError(t, json.Unmarshal(kept, &state))
	restored := newBudget(t, smartcar.BudgetLimits{})
	restored.Restore(state)
	require.Equal(t, budget.Snapshot(), restored.Snapshot())
	requireWait(t, restored, "a", 1, now, 30*time.Minute)
	requireWait(t, restored, "b", 1, now, 3*time.Hour)
	requireWait(t, restored, "c", 2, now, time.Minute)

	requireAllowed(t, restored, "c", 2, now.Add(time.Minute))
	require.NotContains(t, state.Vehicles, "c", "a state is not shared")
	require.NotContains(t, budget.Snapshot().Vehicles, "c")
	restored.Restore(smartcar.BudgetState{})
	requireAllowed(t, restored, "a", 120, now)
}

func TestNegativeLimitsAreRefused(t *testing.T) {
	t.Parallel()
	for _, limits := range []smartcar.BudgetLimits{{Burst: -1}, {RefillInterval: -1}, {VehicleInterval: -1}, {VehicleCalls: -1}} {
		_, err := smartcar.NewBudget(limits)
		require.ErrorContains(t, err, "zero is the default")
	}
}

func TestManyGoroutinesNeverSpendMoreThanTheBucket(t *testing.T) {
	t.Parallel()
	budget := newBudget(t, smartcar.BudgetLimits{})
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		allowed int
	)
	for worker := range 8 {
		group.Go(func() {
			for i := range 50 {
				vehicle := fmt.Sprint(worker, "-", i)
				sent := 0
				if _, ok := budget.Allow(vehicle, 1, noon()); ok {
					sent = 1
					mu.Lock()
					allowed++
					mu.Unlock()
				}
				budget.Observe(vehicle, sent, nil, noon())
				_ = budget.Snapshot()
			}
		})
	}
	group.Wait()
	require.Equal(t, 120, allowed)
}
