package activities

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// RecordOutcome closes an event that writes no readings: test deliveries, vehicle
// errors, unknown types.
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
	err = a.deps.Store.CloseEvent(ctx, db.Closing{
		EventID: event.EventID, Outcome: string(input.Outcome),
		SyncType: string(input.Outcome), SyncData: data,
	})
	if err != nil {
		return struct{}{}, classify(err)
	}
	a.finished(ctx, event, input.Outcome)
	return struct{}{}, nil
}
