package activities

import (
	"context"
	"errors"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// RecordFailure closes an event that a person must look at, with a class of the
// closed list. Where nothing is wrong but the odometer, the other signals are stored
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
	if keepsSignals(input.Class) && event.Status != db.StatusProcessed {
		// A body that cannot be decoded has none.
		if decoded, err := decode(event); err == nil && kindOf(decoded.delivery) == contract.KindVehicleState {
			closing.Signals, closing.ReportedAt = signalRecords(event, decoded), event.ReportedAt()
		}
	}
	err = a.deps.Store.CloseEvent(ctx, closing)
	if errors.Is(err, db.ErrRejected) && closing.Signals != nil {
		// It is the signals that the database refuses.
		closing.Signals = nil
		err = a.deps.Store.CloseEvent(ctx, closing)
	}
	if err != nil {
		return struct{}{}, classify(err)
	}
	a.failed(ctx, event, input.Class)
	return struct{}{}, nil
}

// keepsSignals: an event that failed with any other class is a stranger's, was closed
// with its signals before, or has none.
func keepsSignals(class contract.FailureClass) bool {
	return class == contract.FailureUnitUnknown || class == contract.FailureDataRejected ||
		class == contract.FailureMalformedPayload
}
