package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// ReconciledVehicle is how a vehicle stands since a moment.
type ReconciledVehicle struct {
	SmartcarVehicleID string
	// Active is false when it is not connected any more.
	Active bool
	// Heard: its odometer came since then, by webhook or as a poll's answer that has been processed.
	Heard bool
	// Outcome is what a poll that was answered since then came to; "" when there was none.
	Outcome string
	// EventOutcome or FailureClass is what became of the ledger's event of that answer; both are ""
	// while it is being processed, and when the answer made none.
	EventOutcome, FailureClass string
}

// ReconciledVehicles says how the given vehicles stand since a moment, in the order of their ids.
func (s *Store) ReconciledVehicles(
	ctx context.Context, smartcarVehicleIDs []string, odometer OdometerSignal, since time.Time,
) ([]ReconciledVehicle, error) {
	rows, err := s.queries.ReconciledVehicles(ctx, dbsqlc.ReconciledVehiclesParams{
		SmartcarVehicleIds: smartcarVehicleIDs, OdometerCode: odometer.Code, Since: since, PollEventType: EventTypePoll,
	})
	if err != nil {
		return nil, translate("see what was reconciled", err)
	}
	vehicles := make([]ReconciledVehicle, len(rows))
	for i, row := range rows {
		vehicles[i] = ReconciledVehicle(row)
	}
	return vehicles, nil
}

// IsReconcileRequested says that a workflow which RequestReconcile has asked for is still to be started.
func (s *Store) IsReconcileRequested(ctx context.Context) (bool, error) {
	requested, err := s.queries.IsWorkflowRequested(ctx, RequestReconcile)
	return requested, translate("look for a requested reconciliation", err)
}
