package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// The pace at which an event looks again for a vehicle that nobody has connected yet.
const (
	firstVehicleCheck   = 2 * time.Second
	slowestVehicleCheck = time.Minute
)

// ProcessEvent gives one Smartcar event its one effect. Its workflow ID is the
// eventId. It completes with an outcome when nobody is needed, fails with a class
// of the contract's list when a person is, and waits out everything else.
func ProcessEvent(ctx workflow.Context, input contract.ProcessEventInput) (contract.ProcessEventResult, error) {
	state := &processEvent{}
	state.setup(input)
	result, err := state.run(ctx)
	if publishErr := state.publish(ctx, result, err); publishErr != nil {
		return result, publishErr
	}
	return result, err
}

type processEvent struct {
	input contract.ProcessEventInput
	grace time.Duration
	event contract.LoadEventResult
}

func (p *processEvent) setup(input contract.ProcessEventInput) {
	p.input = input
	p.grace = input.UnknownVehicleGrace
	if p.grace == 0 {
		p.grace = contract.DefaultUnknownVehicleGrace
	}
}

func (p *processEvent) run(ctx workflow.Context) (contract.ProcessEventResult, error) {
	written, err := p.begin(ctx)
	switch {
	case err != nil:
		return p.fail(ctx, err)
	case written != nil:
		return finished(*written)
	case p.event.Recorded != nil:
		return *p.event.Recorded, nil
	}
	switch p.event.Kind {
	case contract.KindTest:
		return p.finish(ctx, contract.OutcomeTestDelivery)
	case contract.KindVehicleState, contract.KindVehicleError:
		return p.forVehicle(ctx)
	case contract.KindUnknown:
		return p.finish(ctx, contract.OutcomeUnknownEventType)
	default:
		return p.finish(ctx, contract.OutcomeUnknownEventType)
	}
}

// begin tries to do everything at once, and otherwise at least loads the event.
func (p *processEvent) begin(ctx workflow.Context) (*contract.WriteMeterEntryResult, error) {
	result, err := attempt[contract.ProcessAtOnceInput, contract.ProcessAtOnceResult](
		ctx, contract.ProcessAtOnceActivity, contract.ProcessAtOnceInput{EventID: p.input.EventID})
	switch {
	case err == nil:
		p.event = result.Loaded
		return result.Written, nil
	case isFinal(err):
		return nil, err
	default:
		return nil, p.load(ctx)
	}
}

func (p *processEvent) load(ctx workflow.Context) (err error) {
	p.event, err = execute[contract.LoadEventInput, contract.LoadEventResult](
		ctx, contract.LoadEventActivity, contract.LoadEventInput{EventID: p.input.EventID})
	return err
}

func (p *processEvent) forVehicle(ctx workflow.Context) (contract.ProcessEventResult, error) {
	if err := p.awaitVehicle(ctx); err != nil {
		return p.fail(ctx, err)
	}
	if p.event.Recorded != nil {
		return *p.event.Recorded, nil
	}
	if p.event.Kind == contract.KindVehicleError {
		return p.finish(ctx, contract.OutcomeVehicleError)
	}
	return p.writeState(ctx)
}

// awaitVehicle waits for an unknown vehicle to be connected, since a webhook may
// overtake the connect callback, and fails after the grace period.
func (p *processEvent) awaitVehicle(ctx workflow.Context) error {
	deadline := workflow.Now(ctx).Add(p.grace)
	pause := firstVehicleCheck
	for p.event.VehicleStatus == contract.VehicleUnknown {
		left := deadline.Sub(workflow.Now(ctx))
		if left <= 0 {
			return failure(contract.FailureUnknownVehicle, "nobody has connected this vehicle; connecting it retries the event")
		}
		workflow.SetCurrentDetails(ctx, "Waiting for the vehicle to be connected, until "+deadline.UTC().Format(time.RFC3339))
		if err := workflow.Sleep(ctx, min(pause, left)); err != nil {
			return err
		}
		pause = min(pause*2, slowestVehicleCheck)
		if err := p.load(ctx); err != nil {
			return err
		}
	}
	workflow.SetCurrentDetails(ctx, "")
	if p.event.VehicleStatus == contract.VehicleInactive {
		return failure(contract.FailureVehicleInactive, "the vehicle's connection is inactive; connecting it again retries the event")
	}
	return nil
}

func (p *processEvent) writeState(ctx workflow.Context) (contract.ProcessEventResult, error) {
	input := contract.WriteMeterEntryInput{EventID: p.input.EventID, VehicleID: p.event.VehicleID}
	if p.event.Odometer != nil {
		reading, err := p.convert(ctx, *p.event.Odometer)
		if err != nil {
			return p.fail(ctx, err)
		}
		input.Odometer = &reading
	}
	written, err := execute[contract.WriteMeterEntryInput, contract.WriteMeterEntryResult](
		ctx, contract.WriteMeterEntryActivity, input)
	if err != nil {
		return p.fail(ctx, err)
	}
	return finished(written)
}

// finished ends the workflow as the ledger row has been closed, in the transaction that kept the reading.
func finished(written contract.WriteMeterEntryResult) (contract.ProcessEventResult, error) {
	if written.FailureClass != "" {
		return contract.ProcessEventResult{}, failure(written.FailureClass, "retry with the reading confirmed if it is right")
	}
	return contract.ProcessEventResult{Outcome: written.Outcome, MeterEntryID: written.MeterEntryID}, nil
}

// convert brings a reading into kilometres.
func (p *processEvent) convert(ctx workflow.Context, reported contract.ReportedOdometer) (contract.OdometerReading, error) {
	converted, err := execute[contract.ConvertUnitsInput, contract.ConvertUnitsResult](
		ctx, contract.ConvertUnitsActivity, contract.ConvertUnitsInput{Value: reported.Value, Unit: reported.Unit})
	return contract.OdometerReading{
		Reported: reported, Kilometres: converted.Kilometres, UnitAssumed: converted.Assumed,
	}, err
}

func (p *processEvent) finish(ctx workflow.Context, outcome contract.Outcome) (contract.ProcessEventResult, error) {
	_, err := execute[contract.RecordOutcomeInput, struct{}](
		ctx, contract.RecordOutcomeActivity, contract.RecordOutcomeInput{EventID: p.input.EventID, Outcome: outcome})
	if err != nil {
		return p.fail(ctx, err)
	}
	return contract.ProcessEventResult{Outcome: outcome}, nil
}

// fail records the failure in the ledger before the workflow fails with it, so
// that support staff find it and can retry it. A cancelled workflow records
// nothing: the starter's comparison with Temporal finds it.
func (p *processEvent) fail(ctx workflow.Context, cause error) (contract.ProcessEventResult, error) {
	var application *temporal.ApplicationError
	if !errors.As(cause, &application) {
		return contract.ProcessEventResult{}, cause
	}
	class := contract.FailureClass(application.Type())
	_, err := execute[contract.RecordFailureInput, struct{}](ctx, contract.RecordFailureActivity, contract.RecordFailureInput{
		EventID: p.input.EventID, Class: class, Detail: application.Message(),
	})
	if err != nil {
		return contract.ProcessEventResult{}, err
	}
	return contract.ProcessEventResult{}, failure(class, application.Message())
}

// publish lets operators search for how the event ended.
func (p *processEvent) publish(ctx workflow.Context, result contract.ProcessEventResult, cause error) error {
	var application *temporal.ApplicationError
	switch {
	case cause == nil:
		key := temporal.NewSearchAttributeKeyKeyword(contract.SearchAttributeOutcome)
		return workflow.UpsertTypedSearchAttributes(ctx, key.ValueSet(string(result.Outcome)))
	case errors.As(cause, &application):
		key := temporal.NewSearchAttributeKeyKeyword(contract.SearchAttributeFailureClass)
		return workflow.UpsertTypedSearchAttributes(ctx, key.ValueSet(application.Type()))
	default:
		return nil
	}
}

func failure(class contract.FailureClass, message string) error {
	return temporal.NewNonRetryableApplicationError(message, string(class), nil)
}
