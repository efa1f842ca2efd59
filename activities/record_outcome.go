package activities

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// RecordOutcome closes an event that writes no readings: test deliveries, vehicle
// errors, unknown types. What a vehicle error calls for is done in the transaction
// that closes its event.
//
// Idempotent: an event that is processed already stays as it is, and the sync log
// row is written in the transaction that closes it. Tried again while the
// database is away.
func (a *Activities) RecordOutcome(ctx context.Context, input contract.RecordOutcomeInput) (struct{}, error) {
	event, err := a.deps.Store.EventForProcessing(ctx, input.EventID)
	if err != nil {
		return struct{}{}, classify(err)
	}
	data, err := json.Marshal(map[string]any{"eventId": event.EventID, "outcome": input.Outcome})
	if err != nil {
		return struct{}{}, classify(fmt.Errorf("write sync log: %w", err))
	}
	err = a.recordOutcome(ctx, event, db.Closing{
		EventID: event.EventID, Outcome: string(input.Outcome),
		SyncType: string(input.Outcome), SyncData: data, ReportedAt: event.ReportedAt(),
	})
	if err != nil {
		return struct{}{}, classify(err)
	}
	a.finished(ctx, event, input.Outcome)
	return struct{}{}, nil
}

func (a *Activities) recordOutcome(ctx context.Context, event db.LedgerEvent, closing db.Closing) error {
	if closing.Outcome != string(contract.OutcomeVehicleError) || event.Status == db.StatusProcessed {
		return a.deps.Store.CloseEvent(ctx, closing)
	}
	decoded, err := decode(event)
	if err != nil {
		return err
	}
	return a.deps.Store.CloseVehicleErrors(ctx, db.VehicleErrors{
		Closing: closing, SmartcarVehicleID: event.SmartcarVehicleID, Reports: vehicleErrorReports(decoded.Errors),
	})
}
