package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// room is whether Smartcar's limits allow a poll, and when they will.
type room struct {
	allowed bool
	// vehicleAt is when this vehicle can be polled next; applicationAt when any can, zero for now.
	vehicleAt, applicationAt time.Time
}

// spendBudget takes the calls of one poll out of the budget that all processes share, or says when to come back.
func (a *Activities) spendBudget(ctx context.Context, vehicle string, calls int) (room, error) {
	return a.changeBudget(ctx, vehicle, calls, func(budget *smartcar.Budget, now time.Time) bool {
		_, allowed := budget.Allow(vehicle, calls, now)
		return allowed
	})
}

// observeBudget lets the budget learn what a poll sent and came to; calls are those that the next one will take.
func (a *Activities) observeBudget(ctx context.Context, vehicle string, calls, sent int, outcome error) (room, error) {
	return a.changeBudget(ctx, vehicle, calls, func(budget *smartcar.Budget, now time.Time) bool {
		budget.Observe(vehicle, sent, outcome, now)
		return true
	})
}

// errOfTheCall stands for a failure that says nothing about polls.
var errOfTheCall = errors.New("the call failed, and not for Smartcar's limits")

// observeCalls tells the budget of calls that are made whatever it says: they empty the bucket that polls are taken
// from, and a 429 that they meet is the polls', too. What else they are refused for, such as the plan, may be theirs alone.
func (a *Activities) observeCalls(ctx context.Context, sent int, outcome error) error {
	if outcome != nil && !errors.Is(outcome, smartcar.ErrRateLimited) {
		outcome = errOfTheCall
	}
	return a.deps.Store.WithApplicationBudget(ctx, func(stored []byte) ([]byte, error) {
		budget, err := smartcar.NewBudget(a.deps.PollLimits)
		if err != nil {
			return nil, err
		}
		var state smartcar.BudgetState
		if err := json.Unmarshal(stored, &state); err != nil {
			return nil, fmt.Errorf("read the application's budget: %w", err)
		}
		budget.Restore(state)
		budget.Observe(anyVehicle, sent, outcome, a.deps.Clock())
		changed, err := encodeBudget(budget.Snapshot(), anyVehicle)
		return changed.Application, err
	})
}

// changeBudget lets a Budget of the application and this one vehicle decide: the database keeps the parts apart, so that a
// poll rewrites a few hundred bytes.
func (a *Activities) changeBudget(
	ctx context.Context, vehicle string, calls int, change func(*smartcar.Budget, time.Time) bool,
) (found room, err error) {
	err = a.deps.Store.WithPollBudget(ctx, vehicle, func(stored db.PollBudget) (db.PollBudget, error) {
		budget, err := smartcar.NewBudget(a.deps.PollLimits)
		if err != nil {
			return db.PollBudget{}, err
		}
		var state smartcar.BudgetState
		var own smartcar.VehicleBudget
		if err := json.Unmarshal(stored.Application, &state); err != nil {
			return db.PollBudget{}, fmt.Errorf("read the application's budget: %w", err)
		}
		if err := json.Unmarshal(stored.Vehicle, &own); err != nil {
			return db.PollBudget{}, fmt.Errorf("read the vehicle's budget: %w", err)
		}
		state.Vehicles = map[string]smartcar.VehicleBudget{vehicle: own}
		budget.Restore(state)
		now := a.deps.Clock()
		found.allowed = change(budget, now)
		changed := budget.Snapshot()
		// What comes next is asked of the budget itself, and thrown away.
		if wait, ok := budget.Allow(anyVehicle, calls, now); !ok {
			found.applicationAt = now.Add(wait)
		}
		budget.Restore(changed)
		if wait, ok := budget.Allow(vehicle, calls, now); !ok {
			found.vehicleAt = now.Add(wait)
		}
		return encodeBudget(changed, vehicle)
	})
	return found, err
}

// jitter only lengthens: a limit that is not over would put the poll off again. Source: Smartcar, "rate limits".
func jitter(wait time.Duration) time.Duration {
	const part = 10
	return wait + rand.N(max(wait/part, 1)) //nolint:gosec // nothing secret
}

// anyVehicle stands for one of which nothing is spent.
const anyVehicle = ""

func encodeBudget(state smartcar.BudgetState, vehicle string) (encoded db.PollBudget, err error) {
	own := state.Vehicles[vehicle]
	state.Vehicles = nil
	if encoded.Application, err = json.Marshal(state); err != nil {
		return encoded, fmt.Errorf("write the application's budget: %w", err)
	}
	if encoded.Vehicle, err = json.Marshal(own); err != nil {
		return encoded, fmt.Errorf("write the vehicle's budget: %w", err)
	}
	return encoded, nil
}
