package smartcar

import (
	"errors"
	"maps"
	"sync"
	"time"
)

// BudgetLimits are what Smartcar allows, and what a vehicle is spared. A zero field stands for its default.
// Source: Smartcar, "rate limits".
type BudgetLimits struct {
	// Burst is how many calls the whole application may make at once; 120.
	Burst int
	// RefillInterval is the time in which one of them comes back; 30 s, for 2 a minute.
	RefillInterval time.Duration
	// VehicleInterval is the least time between two polls of a vehicle, each of which may wake it; 30 minutes.
	VehicleInterval time.Duration
	// VehicleCalls is how many calls the plan has for a vehicle in a month; 500, as the free one. Months are those of UTC.
	VehicleCalls int
}

// Validate reports negative limits.
func (l BudgetLimits) Validate() error {
	if l.Burst < 0 || l.RefillInterval < 0 || l.VehicleInterval < 0 || l.VehicleCalls < 0 {
		return errors.New("smartcar: limits of a budget must not be negative; zero is the default")
	}
	return nil
}

func (l BudgetLimits) withDefaults() BudgetLimits {
	usual := BudgetLimits{Burst: 120, RefillInterval: 30 * time.Second, VehicleInterval: 30 * time.Minute, VehicleCalls: 500}
	if l.Burst == 0 {
		l.Burst = usual.Burst
	}
	if l.RefillInterval == 0 {
		l.RefillInterval = usual.RefillInterval
	}
	if l.VehicleInterval == 0 {
		l.VehicleInterval = usual.VehicleInterval
	}
	if l.VehicleCalls == 0 {
		l.VehicleCalls = usual.VehicleCalls
	}
	return l
}

// Budget decides when a vehicle may be polled. It knows only the calls that it allowed, so that there must be one for the
// whole application, or one state that all share. It reads no clock and does no input or output, and is for use by many
// goroutines at once.
//
// A poll is Allow, the calls, and then Observe with what came of them. The caller adds jitter to the waits.
type Budget struct {
	limits BudgetLimits

	mu    sync.Mutex
	state BudgetState
}

// BudgetState is what a Budget remembers, for a database or a workflow to keep. It grows by about 200 bytes of JSON with
// each vehicle; see Budget.Forget.
type BudgetState struct {
	// FullAt is when the application may make its whole burst of calls again; the time until then measures those spent.
	FullAt time.Time `json:"fullAt,omitzero"`
	// PausedUntil holds for every vehicle.
	PausedUntil time.Time `json:"pausedUntil,omitzero"`
	// Refusals counts those of the application in a row.
	Refusals int                      `json:"refusals,omitzero"`
	Vehicles map[string]VehicleBudget `json:"vehicles,omitempty"`
}

// VehicleBudget is the part of a BudgetState that is one vehicle's.
type VehicleBudget struct {
	// PolledAt and PolledBefore are the times of the last poll that was allowed and of the one before.
	PolledAt     time.Time `json:"polledAt,omitzero"`
	PolledBefore time.Time `json:"polledBefore,omitzero"`
	PausedUntil  time.Time `json:"pausedUntil,omitzero"`
	// Pending are the calls that were allowed and not observed yet.
	Pending int `json:"pending,omitzero"`
	// Month is that of Calls, such as "2026-11".
	Month string `json:"month,omitzero"`
	Calls int    `json:"calls,omitzero"`
	// Refusals counts those of the vehicle in a row.
	Refusals int `json:"refusals,omitzero"`
}

// NewBudget makes a budget of which nothing is spent.
func NewBudget(limits BudgetLimits) (*Budget, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	return &Budget{limits: limits.withDefaults(), state: BudgetState{Vehicles: make(map[string]VehicleBudget)}}, nil
}

// Allow spends that many calls (at least one) for a poll of the vehicle and returns true, or spends nothing and returns how
// long to wait before asking again. More calls than the burst are allowed when nothing is spent, and then leave a debt;
// more than a month has are never allowed.
func (b *Budget) Allow(vehicleID string, calls int, now time.Time) (wait time.Duration, ok bool) {
	calls = max(calls, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	vehicle := b.vehicleIn(vehicleID, now)
	full := latest(b.state.FullAt, now)
	empty := now.Add(b.worth(b.limits.Burst)) // With nothing left, the burst is whole again at this time.
	wait = max(
		b.state.PausedUntil.Sub(now),
		vehicle.PausedUntil.Sub(now),
		full.Add(b.worth(min(calls, b.limits.Burst))).Sub(empty),
	)
	if !vehicle.PolledAt.IsZero() {
		wait = max(wait, vehicle.PolledAt.Add(b.limits.VehicleInterval).Sub(now))
	}
	if calls > b.limits.VehicleCalls-vehicle.Calls {
		wait = max(wait, nextMonth(now).Sub(now))
	}
	if wait > 0 {
		return wait, false
	}
	b.state.FullAt = full.Add(b.worth(calls))
	vehicle.PolledBefore, vehicle.PolledAt = vehicle.PolledAt, now
	vehicle.Pending = calls
	vehicle.Calls += calls
	b.state.Vehicles[vehicleID] = vehicle
	return 0, true
}

// Observe learns how many calls a poll sent, and from the error of Readings, or else from Poll.Limited; nil is a success.
// What was sent beyond what Allow spent is spent too, as by a repetition, a further page, or a call that is no poll; what was
// not sent is given back, and the vehicle need not wait for a poll of which nothing was sent. A limit pauses the vehicle or
// the whole application, as its code says, for Retry-After or for a time that doubles with each refusal in a row. Errors that
// are not about limits change nothing.
func (b *Budget) Observe(vehicleID string, sent int, err error, now time.Time) {
	var failure *CallError
	isCall := errors.As(err, &failure)
	b.mu.Lock()
	defer b.mu.Unlock()
	vehicle := b.vehicleIn(vehicleID, now)
	defer func() { b.state.Vehicles[vehicleID] = vehicle }()
	extra := sent - vehicle.Pending
	if extra > 0 { // Smartcar's bucket is not emptier than empty.
		full := latest(b.state.FullAt, now)
		b.state.FullAt = latest(full, earliest(full.Add(b.worth(extra)), now.Add(b.worth(b.limits.Burst))))
	} else {
		b.state.FullAt = b.state.FullAt.Add(b.worth(extra))
	}
	vehicle.Calls = max(vehicle.Calls+extra, 0)
	if sent == 0 && vehicle.Pending > 0 {
		vehicle.PolledAt = vehicle.PolledBefore
	}
	vehicle.Pending = 0
	if err == nil {
		vehicle.Refusals, b.state.Refusals = 0, 0
	}
	if !isCall {
		return
	}
	pause := pauseAfter(failure)
	switch pause.reach {
	case reachNothing:
	case reachVehicle:
		vehicle.Refusals++
		vehicle.PausedUntil = latest(vehicle.PausedUntil, now.Add(pause.length(vehicle.Refusals)))
	case reachApplication:
		b.state.Refusals++
		b.state.PausedUntil = latest(b.state.PausedUntil, now.Add(pause.length(b.state.Refusals)))
		if errors.Is(failure, ErrRateLimited) { // Smartcar's bucket is empty, whatever this one says.
			b.state.FullAt = latest(b.state.FullAt, now.Add(b.worth(b.limits.Burst)))
		}
	}
}

// Forget drops what is known of a vehicle, as when it was disconnected.
func (b *Budget) Forget(vehicleID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.state.Vehicles, vehicleID)
}

// Snapshot returns a copy of the state.
func (b *Budget) Snapshot() BudgetState {
	b.mu.Lock()
	defer b.mu.Unlock()
	copied := b.state
	copied.Vehicles = maps.Clone(copied.Vehicles)
	return copied
}

// Restore replaces the state by a copy of one that Snapshot returned.
func (b *Budget) Restore(state BudgetState) {
	state.Vehicles = maps.Clone(state.Vehicles)
	if state.Vehicles == nil {
		state.Vehicles = make(map[string]VehicleBudget)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = state
}

// vehicleIn gives a vehicle's state, with the calls of the month that it is now.
func (b *Budget) vehicleIn(id string, now time.Time) VehicleBudget {
	vehicle := b.state.Vehicles[id]
	if month := now.UTC().Format("2006-01"); vehicle.Month != month {
		vehicle.Month, vehicle.Calls = month, 0
	}
	return vehicle
}

// worth is the time in which so many calls come back.
func (b *Budget) worth(calls int) time.Duration {
	return time.Duration(calls) * b.limits.RefillInterval
}

func nextMonth(now time.Time) time.Time {
	year, month, _ := now.UTC().Date()
	return time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
