package activities

import (
	"context"
	"log/slog"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	// pollsPerRun bounds a run's history. It is more than Smartcar allows at once.
	pollsPerRun = 150
	// outagesPerRun bounds a run's result; the log has them all.
	outagesPerRun = 100
)

// OdometerSignal is the signal that Reconcile is after.
func OdometerSignal() db.OdometerSignal {
	return db.OdometerSignal{Code: smartcar.CodeOdometer, Permission: smartcar.PermissionOdometer}
}

// PlanReconcile searches the ledger for outages, and the fleet for vehicles that
// should have been heard from.
//
// Idempotent: an outage is stored once, by its beginning, and so a try whose answer
// was lost leaves it out of the result of the next; it is in the log. The rest is
// reading. Tried again while the database is away.
func (a *Activities) PlanReconcile(
	ctx context.Context, _ contract.PlanReconcileInput,
) (contract.PlanReconcileResult, error) {
	now := a.deps.Clock()
	outages, err := a.deps.Store.DetectOutages(ctx, positiveOr(a.deps.ShortestOutage, db.DefaultShortestOutage), now)
	if err != nil {
		return contract.PlanReconcileResult{}, classify(err)
	}
	result := contract.PlanReconcileResult{Obstacles: map[contract.PollOutcome]int{}}
	for _, outage := range outages {
		a.logOutage(outage)
		if len(result.Outages) < outagesPerRun {
			result.Outages = append(result.Outages, contract.Outage{StartedAt: outage.StartedAt, EndedAt: outage.EndedAt})
		}
	}
	if a.deps.Vault == nil || len(a.deps.Platforms) == 0 {
		return result, nil // nobody can be asked
	}
	candidates, err := a.deps.Store.PollCandidates(ctx, OdometerSignal(), now)
	if err != nil {
		return contract.PlanReconcileResult{}, classify(err)
	}
	result.Silent = len(candidates)
	for _, candidate := range candidates {
		if candidate.Obstacle != "" {
			result.Obstacles[contract.PollOutcome(candidate.Obstacle)]++
			if len(result.NotRestored) < contract.MaxNotRestored {
				result.NotRestored = append(result.NotRestored, NotRestored(candidate))
			}
			continue
		}
		result.Ready++
		if len(result.SmartcarVehicleIDs) < pollsPerRun {
			result.SmartcarVehicleIDs = append(result.SmartcarVehicleIDs, candidate.SmartcarVehicleID)
		}
	}
	return result, nil
}

func (a *Activities) logOutage(outage db.Outage) {
	attributes := []any{
		slog.Time("startedAt", outage.StartedAt), slog.Float64("expectedDeliveries", outage.Expected),
	}
	if !outage.EndedAt.IsZero() {
		attributes = append(attributes, slog.Time("endedAt", outage.EndedAt))
	}
	a.deps.Logger.Warn("webhooks.outage", attributes...)
}

// NotRestored says why a vehicle that should have been heard from is not polled now; its reason is "" when it
// can be. A deferred one has the reason why its last poll was put off, if it was: that says more.
func NotRestored(candidate db.PollCandidate) contract.NotRestored {
	named := contract.NotRestored{
		SmartcarVehicleID: candidate.SmartcarVehicleID, Reason: contract.PollOutcome(candidate.Obstacle),
	}
	if named.Reason == contract.PollDeferred {
		named.TryAgainAt = candidate.NotBefore
		if last := contract.PollOutcome(candidate.Outcome); isPutOff(last) {
			named.Reason = last
		}
	}
	return named
}
