package starter

import (
	"context"
	"log/slog"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// Marks are gathered, since a row whose workflow closes meanwhile needs none: on
// the happy path that is nearly every one, and each saves a row version.
const (
	markInterval = 250 * time.Millisecond
	markBatch    = 256
)

// start starts one workflow and reports the row as started. A row that cannot be
// started now is released, to be tried again after a pause.
func (s *Starter) start(ctx context.Context, event db.ClaimedEvent) {
	there, err := s.startWorkflow(ctx, event, enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY)
	if there && event.Retried {
		// Its workflow completed, and a late reading made it fail since: that was in the ledger alone. Should it
		// still run, it is not started. What an event has done already, it does not do again, however often it is started.
		_, err = s.startWorkflow(ctx, event, enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE)
	}
	if err == nil {
		s.outage.over()
		s.started <- event
		return
	}
	s.deps.Logger.Warn("starter.start_failed",
		slog.String("eventId", event.EventID), slog.String("error", err.Error()))
	// No error is the row's alone: its IDs are checked on receipt. What Temporal refuses now, an expired
	// key or a namespace that is not there, it refuses for all.
	pause := s.outage.noticed()
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := s.deps.Ledger.ReleaseEvent(ctx, event.EventID, pause); err != nil {
		// The lease runs out by itself.
		s.deps.Logger.Warn("starter.release_failed",
			slog.String("eventId", event.EventID), slog.String("error", err.Error()))
	}
}

// startWorkflow starts an event's workflow, unless it is there already and the policy leaves it so.
func (s *Starter) startWorkflow(
	ctx context.Context, event db.ClaimedEvent, policy enumspb.WorkflowIdReusePolicy,
) (there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err = s.deps.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       event.EventID,
		TaskQueue:                contract.TaskQueue,
		WorkflowIDReusePolicy:    policy,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		// Without it the SDK answers "already started" with the old run and no error.
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		EnableEagerStart:                         true,
		TypedSearchAttributes:                    searchAttributes(event),
	}, contract.ProcessEventWorkflow, contract.ProcessEventInput{
		EventID: event.EventID, UnknownVehicleGrace: s.deps.UnknownVehicleGrace,
	})
	if isStartedAlready(err) {
		return true, nil
	}
	return false, err
}

func searchAttributes(event db.ClaimedEvent) temporal.SearchAttributes {
	updates := []temporal.SearchAttributeUpdate{
		temporal.NewSearchAttributeKeyKeyword(contract.SearchAttributeEventType).ValueSet(event.EventType),
	}
	if event.SmartcarVehicleID != "" {
		key := temporal.NewSearchAttributeKeyKeyword(contract.SearchAttributeVehicleID)
		updates = append(updates, key.ValueSet(event.SmartcarVehicleID))
	}
	return temporal.NewSearchAttributes(updates...)
}

// markStarted gathers started rows and marks them together.
func (s *Starter) markStarted(ctx context.Context) {
	ticker := time.NewTicker(markInterval)
	defer ticker.Stop()
	var batch []db.ClaimedEvent
	for {
		select {
		case event, open := <-s.started:
			if !open {
				s.mark(ctx, batch)
				return
			}
			batch = append(batch, event)
			if len(batch) < markBatch {
				continue
			}
		case <-ticker.C:
		}
		s.mark(ctx, batch)
		batch = nil
	}
}

// mark records started rows. When that fails the rows are claimed again after
// their lease, and starting them again finds them already started.
func (s *Starter) mark(ctx context.Context, started []db.ClaimedEvent) {
	if len(started) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := s.deps.Ledger.MarkEventsStarted(ctx, started); err != nil {
		s.deps.Logger.Warn("starter.mark_failed", slog.Int("events", len(started)), slog.String("error", err.Error()))
	}
}

// outage paces the starter while Temporal is away, or refuses: claiming rows only to
// release them again would be work for nothing.
type outage struct {
	mutex sync.Mutex
	wait  time.Duration
	until time.Time
}

// noticed lengthens the pause, once for all starts that fail together, and returns it.
func (o *outage) noticed() time.Duration {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	now := time.Now()
	if now.After(o.until) {
		o.wait = min(max(o.wait*2, firstPause), longestPause)
		o.until = now.Add(o.wait)
	}
	return o.wait
}

func (o *outage) over() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.wait, o.until = 0, time.Time{}
}

// pause is what is left to wait before the next claim.
func (o *outage) pause() time.Duration {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return max(0, time.Until(o.until))
}
