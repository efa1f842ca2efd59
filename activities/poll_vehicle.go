package activities

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// PollVehicle asks Smartcar for a vehicle's readings, within the limits, and keeps
// the answer as an event of the ledger: from there it goes the way of every webhook,
// and by the same rules. So does what the answer says of errors that need the owner.
//
// Idempotent: the same readings are the same event, and one that a webhook brought is
// not kept again. A try that died leaves its calls spent, so that the next one is put
// off. Tried again only while the database is away: what Smartcar answers is an
// outcome, and a later run asks again.
func (a *Activities) PollVehicle(ctx context.Context, input contract.PollVehicleInput) (contract.PollVehicleResult, error) {
	defer heartbeat(ctx)()
	run := &vehiclePoll{activities: a, vehicle: input.SmartcarVehicleID, askedAt: a.deps.Clock()}
	result, err := run.run(ctx)
	if err != nil {
		return contract.PollVehicleResult{}, classify(err)
	}
	if a.deps.PollObserver != nil {
		a.deps.PollObserver.VehiclePolled(ctx, result.Outcome)
	}
	a.deps.Logger.Info("vehicle.polled", slog.String("vehicleId", run.vehicle), slog.String("outcome", string(result.Outcome)),
		slog.String("eventId", result.EventID))
	return result, nil
}

type vehiclePoll struct {
	activities *Activities
	vehicle    string
	askedAt    time.Time

	target db.PollTarget
	wanted []string
	// calls are those that one request takes, sent those that were made.
	calls, sent int
}

func (p *vehiclePoll) run(ctx context.Context) (contract.PollVehicleResult, error) {
	if p.activities.deps.Vault == nil {
		return contract.PollVehicleResult{}, errNotConfigured
	}
	status, err := p.activities.deps.Vault.TokenStatus(ctx, p.vehicle)
	if err == nil {
		p.target, err = p.activities.deps.Store.PollTarget(ctx, p.vehicle)
	}
	if errors.Is(err, db.ErrNotFound) {
		return contract.PollVehicleResult{Outcome: contract.PollDisconnected}, nil
	}
	if err != nil {
		return contract.PollVehicleResult{}, err
	}
	if status.API == db.APIv2 && status.TokenID == 0 {
		return contract.PollVehicleResult{Outcome: contract.PollNeedsOwner}, nil
	}
	platform, err := p.activities.platform(status.API)
	if err != nil {
		return contract.PollVehicleResult{}, err
	}
	p.wanted = p.signals(status.API)
	p.calls = platform.CallsFor(p.wanted)
	left, err := p.activities.spendBudget(ctx, p.vehicle, p.calls)
	if err != nil {
		return contract.PollVehicleResult{}, err
	}
	if !left.allowed {
		return p.deferred(ctx, left)
	}
	return p.ask(ctx, grantOf(status))
}

// signals are what is worth asking for: under v2 every signal costs a call and may
// wake the car, so that it is the odometer alone; v3 gives all that Smartcar has stored for one.
func (p *vehiclePoll) signals(api string) []string {
	wanted := []string{smartcar.CodeOdometer}
	if api == db.APIv3 {
		others := slices.DeleteFunc(p.target.Signals, func(code string) bool { return code == smartcar.CodeOdometer })
		wanted = append(wanted, others...)
	}
	return wanted
}

func (p *vehiclePoll) deferred(ctx context.Context, left room) (contract.PollVehicleResult, error) {
	result := contract.PollVehicleResult{Outcome: contract.PollDeferred, TryAgainAt: left.vehicleAt, StopUntil: left.applicationAt}
	if !left.applicationAt.IsZero() {
		return result, nil // it is not this vehicle that must wait
	}
	return result, p.activities.deps.Store.SettlePoll(ctx, db.SettledPoll{
		SmartcarVehicleID: p.vehicle, Outcome: string(contract.PollDeferred), NotBefore: left.vehicleAt,
	})
}

func (p *vehiclePoll) ask(ctx context.Context, grant grant) (contract.PollVehicleResult, error) {
	poll, callErr := p.readings(ctx, grant)
	if callErr != nil && !isAnswer(callErr) {
		return contract.PollVehicleResult{}, callErr
	}
	left, err := p.activities.observeBudget(ctx, p.vehicle, p.calls, p.sent, cmp.Or(callErr, poll.Limited))
	if err != nil {
		return contract.PollVehicleResult{}, err
	}
	result := contract.PollVehicleResult{StopUntil: left.applicationAt}
	if callErr != nil {
		result.Outcome = outcomeOfError(callErr)
		p.activities.deps.Logger.Warn("vehicle.poll_refused", slog.String("vehicleId", p.vehicle), slog.String("error", callErr.Error()))
	} else if result, err = p.keep(ctx, poll, result); err != nil {
		return contract.PollVehicleResult{}, err
	}
	errorsID, err := p.keepErrors(ctx, poll, callErr)
	if err != nil {
		return contract.PollVehicleResult{}, err
	}
	result.EventID = cmp.Or(result.EventID, errorsID)
	if callErr != nil && isOperatorsFault(callErr) && !errors.Is(callErr, smartcar.ErrBilling) {
		// It would be the same for every vehicle. The limits of a plan are the budget's to judge.
		result.StopUntil = latest(result.StopUntil, p.askedAt.Add(operatorPause))
	}
	settled := db.SettledPoll{SmartcarVehicleID: p.vehicle, Outcome: string(result.Outcome), NotBefore: left.vehicleAt}
	if isPutOff(result.Outcome) {
		settled.Unanswered = result.Outcome != contract.PollNeedsOperator
		wait := max(left.vehicleAt.Sub(p.askedAt), pauseBeforePoll(p.target.Unanswered))
		settled.NotBefore = p.askedAt.Add(p.activities.deps.Jitter(wait))
		result.TryAgainAt = settled.NotBefore
	} else {
		settled.AskedAt, settled.Unchanged = p.askedAt, result.Outcome != contract.PollReceived
	}
	return result, p.activities.deps.Store.SettlePoll(ctx, settled)
}

// readings asks Smartcar. A token that is refused for the odometer alone is refused.
func (p *vehiclePoll) readings(ctx context.Context, grant grant) (poll smartcar.Poll, err error) {
	err = p.activities.withCredential(ctx, grant, func(platform Platform, credential smartcar.Credential) (err error) {
		poll, err = platform.Readings(ctx, credential, p.vehicle, p.wanted)
		p.sent += poll.Calls
		if odometer, sent := odometerOf(poll); err == nil && grant.api == db.APIv2 && sent &&
			odometer.Failure.Reaction() == smartcar.ReactionRefreshOnce {
			err = &smartcar.CallError{
				Operation: "read signals: odometer", Kind: smartcar.ErrUnauthorized, HTTPStatus: http.StatusUnauthorized,
				Type: odometer.Failure.Type, Code: odometer.Failure.Code, RequestID: poll.RequestID,
			}
		}
		return err
	})
	return poll, err
}

func odometerOf(poll smartcar.Poll) (odometer smartcar.Signal, sent bool) {
	place := slices.IndexFunc(poll.Signals, func(signal smartcar.Signal) bool { return signal.Code == smartcar.CodeOdometer })
	if place < 0 {
		return smartcar.Signal{}, false
	}
	return poll.Signals[place], true
}

// keep puts the answer into the ledger, unless all that it says is an odometer reading that is there already.
func (p *vehiclePoll) keep(
	ctx context.Context, poll smartcar.Poll, result contract.PollVehicleResult,
) (contract.PollVehicleResult, error) {
	result.Outcome = contract.PollNotGiven
	if len(poll.Signals) == 0 {
		return result, nil
	}
	if odometer, sent := odometerOf(poll); sent {
		var err error
		if result.Outcome, err = p.judge(ctx, odometer); err != nil {
			return result, err
		}
	}
	if result.Outcome == contract.PollNothingNew && len(poll.Signals) == 1 {
		return result, nil // v3's others may be newer
	}
	id, body, err := smartcar.PolledState{VehicleID: p.vehicle, Mode: p.mode(), Signals: poll.Signals, PolledAt: p.askedAt}.Event()
	if err != nil {
		return result, err
	}
	added, err := p.append(ctx, id, body, poll.RequestID)
	if err != nil {
		return result, err
	}
	if !added && result.Outcome == contract.PollReceived {
		result.Outcome = contract.PollNothingNew
	}
	result.EventID = id
	return result, nil
}

// judge says what the odometer comes to.
func (p *vehiclePoll) judge(ctx context.Context, odometer smartcar.Signal) (contract.PollOutcome, error) {
	if odometer.Failure != nil {
		return outcomeOfFailure(odometer.Failure), nil
	}
	if _, isReading := odometer.Number(); !isReading {
		return contract.PollNotGiven, nil
	}
	observedAt, _ := odometer.ObservedAt(p.askedAt, p.askedAt)
	known, err := p.activities.deps.Store.IsObserved(ctx, p.target.VehicleID, observedAt.UTC().Truncate(time.Microsecond))
	if known {
		return contract.PollNothingNew, err
	}
	return contract.PollReceived, err
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
