package starter

import (
	"context"
	"errors"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// healBatch bounds how many rows one round compares with Temporal.
const healBatch = 100

// healPeriodically compares started rows that have not closed with Temporal, twice per HealAfter.
func (s *Starter) healPeriodically(ctx context.Context) {
	ticker := time.NewTicker(s.deps.HealAfter / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := s.heal(ctx); err != nil && ctx.Err() == nil {
				s.deps.Logger.Warn("starter.heal_failed", slog.String("error", err.Error()))
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Starter) heal(ctx context.Context) error {
	stale, err := s.deps.Stale.StaleStartedEvents(ctx, healBatch, s.deps.HealAfter)
	if err != nil {
		return err
	}
	var faults []error
	for _, event := range stale {
		faults = append(faults, s.healEvent(ctx, event))
	}
	return errors.Join(faults...)
}

// healEvent does what a row needs that says "started" for long: nothing while its
// workflow runs; a new start when Temporal has lost it, or when it completed without
// the effect being there (a database restored from a backup); a failure mark when
// somebody stopped it, since starting it again is then a person's decision.
func (s *Starter) healEvent(ctx context.Context, event db.ClaimedEvent) error {
	status, found, err := s.describe(ctx, event.EventID)
	switch {
	case err != nil:
		return err
	case !found:
		s.deps.Logger.Warn("starter.healed", slog.String("eventId", event.EventID), slog.String("found", "no workflow"))
		return s.deps.Stale.RequeueStartedEvent(ctx, event.EventID)
	case status == enumspb.WORKFLOW_EXECUTION_STATUS_FAILED:
		// A retry overtook the end of the failed run, so its start found the old run still there.
		s.deps.Logger.Warn("starter.healed", slog.String("eventId", event.EventID), slog.String("found", "failed"))
		return s.deps.Stale.RequeueStartedEvent(ctx, event.EventID)
	case status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		s.deps.Logger.Warn("starter.healed", slog.String("eventId", event.EventID), slog.String("found", "completed"))
		_, err := s.startWorkflow(ctx, event, enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE)
		return err
	case stopped(status):
		s.deps.Logger.Warn("starter.healed", slog.String("eventId", event.EventID), slog.String("found", status.String()))
		return s.deps.Stale.CloseEvent(ctx, db.Closing{
			EventID: event.EventID, FailureClass: string(contract.FailureWorkflowStopped),
			FailureDetail: "its workflow ended as " + status.String() + " before the event was closed; retry it to run it again",
		})
	default:
		return nil
	}
}

func (s *Starter) describe(
	ctx context.Context, workflowID string,
) (status enumspb.WorkflowExecutionStatus, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	description, err := s.deps.Temporal.DescribeWorkflowExecution(ctx, workflowID, "")
	if _, notFound := errors.AsType[*serviceerror.NotFound](err); notFound {
		return status, false, nil
	}
	return description.GetWorkflowExecutionInfo().GetStatus(), err == nil, err
}

// stopped are the ways in which somebody, or a timeout, ends a workflow before it has closed its event.
func stopped(status enumspb.WorkflowExecutionStatus) bool {
	return status == enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED ||
		status == enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED ||
		status == enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT
}
