package activities

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// keepErrors puts what the answer says of the vehicle's errors into the ledger, as a
// VEHICLE_ERROR that goes the way of a webhook: the webhook itself may have been lost.
// What is known already is not said again. It gives the event's ID, or "".
func (p *vehiclePoll) keepErrors(ctx context.Context, poll smartcar.Poll, callErr error) (eventID string, err error) {
	failure, failed := ownersFailure(poll, callErr)
	odometer, isReading := readingOf(poll, callErr)
	if !failed && !isReading {
		return "", nil
	}
	known, err := p.activities.deps.Store.OwnerErrors(ctx, p.vehicle, OdometerSignal())
	if err != nil {
		return "", err
	}
	told := endedErrors(known, odometer)
	if failed {
		told = []smartcar.VehicleError{failure}
		if slices.ContainsFunc(known, func(one db.OwnerError) bool {
			return one.Type == failure.Type && one.Code == failure.Code && one.Marked
		}) {
			return "", nil
		}
	}
	if len(told) == 0 {
		return "", nil
	}
	id, body, err := smartcar.PolledErrors{VehicleID: p.vehicle, Mode: p.mode(), Errors: told, PolledAt: p.askedAt}.Event()
	if err != nil {
		return "", err
	}
	_, err = p.append(ctx, id, body, poll.RequestID)
	return id, err
}

// ownersFailure is the error that only the owner can end, of the whole answer or of the odometer in it.
func ownersFailure(poll smartcar.Poll, callErr error) (failure smartcar.VehicleError, found bool) {
	failure.State = smartcar.StateError
	if call, isCall := errors.AsType[*smartcar.CallError](callErr); isCall {
		failure.Type, failure.Code = errorTypeAccount, call.Code
		if !errors.Is(call, smartcar.ErrAccount) {
			failure.Type = errorTypeVehicleState
		}
		if failure.Code == failure.Type { // v3 has it there when there is nothing more exact to say
			failure.Code = ""
		}
		return failure, smartcar.ReactionTo(call) == smartcar.ReactionOwner
	}
	odometer, _ := odometerOf(poll)
	if odometer.Failure == nil {
		return failure, false
	}
	failure.Type, failure.Code = odometer.Failure.Type, odometer.Failure.Code
	failure.Signals = []smartcar.SignalRef{{Code: odometer.Code}}
	return failure, odometer.Failure.Reaction() == smartcar.ReactionOwner
}

// readingOf is the odometer of an answer that has a value of it.
func readingOf(poll smartcar.Poll, callErr error) (odometer smartcar.Signal, found bool) {
	odometer, sent := odometerOf(poll)
	_, isNumber := odometer.Number()
	return odometer, callErr == nil && sent && odometer.Failure == nil && isNumber
}

// endedErrors are those that a reading disproves which Smartcar got after they began. v3's may be older: it is
// what Smartcar has stored.
func endedErrors(known []db.OwnerError, odometer smartcar.Signal) (ended []smartcar.VehicleError) {
	gotAt := latest(odometer.RetrievedAt, odometer.OEMUpdatedAt)
	for _, one := range known {
		if !gotAt.After(one.OpenedAt) {
			continue
		}
		resolved := smartcar.VehicleError{Type: one.Type, Code: one.Code, State: smartcar.StateResolved}
		if one.Signal != "" {
			resolved.Signals = []smartcar.SignalRef{{Code: one.Signal}}
		}
		ended = append(ended, resolved)
	}
	return ended
}

// append puts the answer into the ledger; false when it is there already.
func (p *vehiclePoll) append(ctx context.Context, id string, body []byte, requestID string) (added bool, err error) {
	return p.activities.deps.Store.AppendPoll(ctx, db.Delivery{
		EventID: id, EventType: db.EventTypePoll, SmartcarVehicleID: p.vehicle, Mode: string(p.mode()),
		DeliveryID: requestID, DeliveredAt: p.askedAt, ReceivedAt: p.activities.deps.Clock(), Payload: body,
	})
}

func (p *vehiclePoll) mode() smartcar.Mode { return cmp.Or(p.activities.deps.Mode, smartcar.ModeLive) }
