package activities

import (
	"context"
	"errors"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// RecordFailure closes an event that a person must look at, with a class of the
// closed list. Where nothing is wrong but the odometer's unit, the signals are stored
// all the same, the odometer as it was sent: they do not wait for that person.
//
// Idempotent: it sets the same values again, and signals are stored once, whatever
// follows; an event that has had its effect meanwhile stays processed. Tried again
// while the database is away.
func (a *Activities) RecordFailure(ctx context.Context, input contract.RecordFailureInput) (struct{}, error) {
	event, err := a.deps.Store.EventForProcessing(ctx, input.EventID)
	if errors.Is(err, db.ErrNotFound) {
		// A workflow that somebody started by hand for an event that never arrived: there is no row to mark.
		a.failed(ctx, db.LedgerEvent{EventID: input.EventID}, input.Class)
		return struct{}{}, nil
	}
	if err != nil {
		return struct{}{}, classify(err)
	}
	closing := db.Closing{EventID: event.EventID, FailureClass: string(input.Class), FailureDetail: input.Detail}
	if input.Class == contract.FailureUnitUnknown && event.Status != db.StatusProcessed {
		decoded, err := decode(event)
		if err != nil {
			return struct{}{}, classify(err)
		}
		closing.Signals, closing.ReportedAt = signalRecords(event, decoded), event.ReportedAt()
	}
	if err := a.deps.Store.CloseEvent(ctx, closing); err != nil {
		return struct{}{}, classify(err)
	}
	a.failed(ctx, event, input.Class)
	return struct{}{}, nil
}
