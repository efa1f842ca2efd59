package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// LoadEvent reads an event from the ledger and says what the workflow needs to
// know of it. The payload itself stays in the database.
//
// Idempotent: it only reads, but for a trimmed event whose reading is confirmed. Tried again while the database is away; final for a
// body that cannot be understood (malformed_payload) unless it is a TEST, for one that is not kept any
// more (payload_trimmed), and for an eventId that the ledger does not have
// (event_not_found).
func (a *Activities) LoadEvent(ctx context.Context, input contract.LoadEventInput) (contract.LoadEventResult, error) {
	event, decoded, err := a.load(ctx, input.EventID)
	if err != nil {
		return contract.LoadEventResult{}, classify(err)
	}
	return describe(event, decoded), nil
}

// load reads and decodes an event; one that is processed already is not decoded.
func (a *Activities) load(ctx context.Context, eventID string) (db.LedgerEvent, decodedEvent, error) {
	event, err := a.deps.Store.EventForProcessing(ctx, eventID)
	if err != nil || event.Status == db.StatusProcessed {
		return event, decodedEvent{}, err
	}
	a.deps.Logger.Info(logProcessingStarted, eventAttributes(event)...)
	if len(event.Payload) == 0 {
		err := a.deps.Store.ExplainEmptyPayload(ctx, eventID)
		if errors.Is(err, db.ErrPayloadTrimmed) && event.ReadingConfirmed && event.VehicleID != 0 {
			event, err = a.confirmStored(ctx, event, err)
			return event, decodedEvent{}, err
		}
		if err != nil {
			return event, decodedEvent{}, err
		}
	}
	decoded, err := decode(event)
	return event, decoded, err
}

// decodedEvent is the part of a delivery that one ledger row stands for.
type decodedEvent struct {
	smartcar.Event

	delivery smartcar.Delivery
}

func decode(event db.LedgerEvent) (decodedEvent, error) {
	delivery, err := smartcar.Decode(event.Payload)
	// What is invented is stored in no case, so that nobody need look at how it is written.
	if err != nil && delivery.Mode.IsLive() {
		return decodedEvent{}, fmt.Errorf("decode payload: %w", err)
	}
	for _, candidate := range delivery.Events {
		if candidate.ID == event.EventID {
			return decodedEvent{delivery: delivery, Event: candidate}, nil
		}
	}
	return decodedEvent{}, fmt.Errorf("%w: the payload does not hold the event that it is kept under", smartcar.ErrMalformed)
}

func describe(event db.LedgerEvent, decoded decodedEvent) contract.LoadEventResult {
	if event.Status == db.StatusProcessed {
		return contract.LoadEventResult{Recorded: &contract.ProcessEventResult{
			Outcome: contract.Outcome(event.Outcome), MeterEntryID: event.MeterEntryID,
		}}
	}
	result := contract.LoadEventResult{
		Kind:          kindOf(decoded.delivery),
		VehicleStatus: vehicleStatus(event),
		VehicleID:     event.VehicleID,
	}
	if result.Kind != contract.KindVehicleState {
		return result
	}
	if signal, found := decoded.Odometer(); found {
		observedAt, source := signal.ObservedAt(decoded.delivery.DeliveredAt, event.ReceivedAt)
		result.Odometer = &contract.ReportedOdometer{
			Value: string(signal.Value), Unit: signal.Unit,
			ObservedAt: observedAt.UTC().Truncate(time.Microsecond), ObservedAtSource: string(source),
		}
	}
	return result
}

// kindOf tells TEST and simulated deliveries apart first: their values are
// invented, whatever type they have. Source: Smartcar, "VEHICLE_STATE", TEST mode.
func kindOf(delivery smartcar.Delivery) contract.EventKind {
	switch {
	case !delivery.Mode.IsLive():
		return contract.KindTest
	case delivery.Type == smartcar.TypeVehicleState:
		return contract.KindVehicleState
	case delivery.Type == smartcar.TypeVehicleError:
		return contract.KindVehicleError
	default:
		return contract.KindUnknown
	}
}

func vehicleStatus(event db.LedgerEvent) contract.VehicleStatus {
	switch {
	case event.VehicleID == 0:
		return contract.VehicleUnknown
	case event.VehicleActive:
		return contract.VehicleActive
	default:
		return contract.VehicleInactive
	}
}
