package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// kilometrePlaces keeps kilometres to the metre.
const kilometrePlaces = 3

const (
	sourceWebhook    = "webhook"
	sourcePoll       = "poll"
	syncTypeOdometer = "odometer"
	syncTypeSignals  = "signals"
)

// WriteMeterEntry stores what an event says of its vehicle: the signals, the
// odometer reading with its verdict, the meter entry if there is to be one, the
// sync log row and the ledger mark, in one transaction under the vehicle's row
// lock. The duplicate check is part of it: made anywhere else, a second event of
// the same vehicle could slip in between the check and the write.
//
// Idempotent: an event that is processed already gives its recorded result, and
// the same observation is stored once. Tried again while the database is away.
func (a *Activities) WriteMeterEntry(
	ctx context.Context, input contract.WriteMeterEntryInput,
) (contract.WriteMeterEntryResult, error) {
	event, err := a.deps.Store.EventForProcessing(ctx, input.EventID)
	if err != nil {
		return contract.WriteMeterEntryResult{}, classify(err)
	}
	if event.Status == db.StatusProcessed {
		return recorded(event), nil
	}
	if event.VehicleID != 0 {
		input.VehicleID = event.VehicleID // vehicles may have been merged since the event was loaded
	}
	decoded, err := decode(event)
	if err != nil {
		return contract.WriteMeterEntryResult{}, classify(err)
	}
	return a.write(ctx, &meterEntryWrite{input: input, event: event, decoded: decoded})
}

func recorded(event db.LedgerEvent) contract.WriteMeterEntryResult {
	return contract.WriteMeterEntryResult{Outcome: contract.Outcome(event.Outcome), MeterEntryID: event.MeterEntryID}
}

// errProcessedMeanwhile rolls a write back whose event another attempt has closed
// since it was loaded.
var errProcessedMeanwhile = errors.New("the event was processed meanwhile")

func (a *Activities) write(ctx context.Context, write *meterEntryWrite) (contract.WriteMeterEntryResult, error) {
	err := a.deps.Store.WithVehicle(ctx, write.input.VehicleID, func(transaction *db.VehicleTransaction) error {
		return write.run(ctx, transaction)
	})
	if errors.Is(err, errProcessedMeanwhile) {
		event, err := a.deps.Store.EventForProcessing(ctx, write.event.EventID)
		return recorded(event), classify(err)
	}
	if err != nil {
		return contract.WriteMeterEntryResult{}, classify(err)
	}
	if write.result.FailureClass != "" {
		a.failed(ctx, write.event, write.result.FailureClass)
	} else {
		a.finished(ctx, write.event, write.result.Outcome)
	}
	a.redecided(ctx, write.redecided)
	return write.result, nil
}

// redecided tells of events that a later one has closed anew: one that fails now needs a
// person as much as any other.
func (a *Activities) redecided(ctx context.Context, events []db.RedecidedEvent) {
	for _, closed := range events {
		event := db.LedgerEvent{
			EventID: closed.EventID, EventType: closed.EventType,
			SmartcarVehicleID: closed.SmartcarVehicleID, DeliveryID: closed.DeliveryID,
		}
		if closed.FailureClass != "" {
			a.failed(ctx, event, contract.FailureClass(closed.FailureClass))
		} else {
			a.finished(ctx, event, contract.Outcome(closed.Outcome))
		}
	}
}

type meterEntryWrite struct {
	input   contract.WriteMeterEntryInput
	event   db.LedgerEvent
	decoded decodedEvent
	result  contract.WriteMeterEntryResult
	// redecided are the other events that end differently for this one.
	redecided []db.RedecidedEvent
}

func (w *meterEntryWrite) run(ctx context.Context, transaction *db.VehicleTransaction) (err error) {
	closing := db.Closing{EventID: w.event.EventID, Outcome: string(contract.OutcomeNoOdometer), SyncType: syncTypeSignals}
	if w.input.Odometer != nil {
		closing, err = w.addReading(ctx, transaction)
		if err != nil {
			return err
		}
	}
	return w.close(ctx, transaction, closing)
}

func (w *meterEntryWrite) addReading(ctx context.Context, transaction *db.VehicleTransaction) (db.Closing, error) {
	reading, err := w.newReading()
	if err != nil {
		return db.Closing{}, err
	}
	stored, around, err := transaction.AddReading(ctx, reading, reading.ObservedAt.Add(-duplicateWindow))
	if err != nil {
		return db.Closing{}, err
	}
	decided, err := redecide(ctx, transaction, w.event.EventID, stored, around)
	if err != nil {
		return db.Closing{}, err
	}
	w.redecided = decided.events
	if stored.EventID != w.event.EventID {
		// Another event brought the very same observation, and owns the entry.
		decided.verdict, decided.entryID = verdictDuplicate, 0
	}
	closing := closingOf(w.event.EventID, decided.verdict)
	closing.SyncType = syncTypeOdometer
	w.result.MeterEntryID = decided.entryID
	return closing, nil
}

func (w *meterEntryWrite) newReading() (db.NewReading, error) {
	odometer := w.input.Odometer
	kilometres, err := decimal.NewFromString(odometer.Kilometres)
	if err != nil {
		return db.NewReading{}, fmt.Errorf("%w: kilometres are no number", smartcar.ErrMalformed)
	}
	reported, err := decimal.NewFromString(odometer.Reported.Value)
	if err != nil {
		return db.NewReading{}, fmt.Errorf("%w: the odometer value is no number", smartcar.ErrMalformed)
	}
	return db.NewReading{
		ObservedAt: odometer.Reported.ObservedAt, ObservedAtSource: odometer.Reported.ObservedAtSource,
		Kilometres: kilometres.Round(kilometrePlaces), ReportedValue: reported, ReportedUnit: odometer.Reported.Unit,
		UnitAssumed: odometer.UnitAssumed, SourceType: sourceOf(w.event),
		EventID: w.event.EventID, Confirmed: w.event.ReadingConfirmed,
	}, nil
}

// sourceOf says how an event came to us.
func sourceOf(event db.LedgerEvent) string {
	if event.EventType == db.EventTypePoll {
		return sourcePoll
	}
	return sourceWebhook
}

func (w *meterEntryWrite) close(ctx context.Context, transaction *db.VehicleTransaction, closing db.Closing) error {
	w.result.Outcome = contract.Outcome(closing.Outcome)
	w.result.FailureClass = contract.FailureClass(closing.FailureClass)
	data := map[string]any{"eventId": w.event.EventID}
	if closing.Outcome != "" {
		data["outcome"] = closing.Outcome
	} else {
		data["failureClass"] = closing.FailureClass
	}
	if w.input.Odometer != nil {
		data["odometerKm"] = json.Number(w.input.Odometer.Kilometres)
		data["observedAt"] = w.input.Odometer.Reported.ObservedAt
		data["observedAtSource"] = w.input.Odometer.Reported.ObservedAtSource
	}
	if w.result.MeterEntryID != 0 {
		data["meterEntryId"] = w.result.MeterEntryID
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write sync log: %w", err)
	}
	closing.SyncData = encoded
	closing.Signals = signalRecords(w.event, w.decoded)
	closing.ReportedAt = w.event.ReportedAt()
	closed, err := transaction.Close(ctx, closing)
	if err == nil && !closed {
		return errProcessedMeanwhile
	}
	return err
}
