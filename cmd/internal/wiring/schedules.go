package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/workflows/contract"
)

const (
	scheduleRetryPause = 10 * time.Second
	// fleetCheckInterval is how long a vehicle may be without its workflow when all else failed.
	fleetCheckInterval = 10 * time.Minute
	retentionInterval  = 24 * time.Hour
)

// keepSchedules tries until the schedules are there, and the fleet's check has been triggered.
func (p *process) keepSchedules(ctx context.Context) {
	for {
		err := errors.Join(scheduleFleetCheck(ctx, p.temporal), scheduleRetention(ctx, p.temporal, contract.RetentionInput{
			Payloads: p.options.Config.Payloads, SyncLogs: p.options.Config.SyncLogs,
		}), p.scheduleReconcile(ctx))
		if err == nil || ctx.Err() != nil {
			return
		}
		p.logger.Warn("schedules.not_made", slog.String("error", err.Error()))
		select {
		case <-time.After(scheduleRetryPause):
		case <-ctx.Done():
			return
		}
	}
}

// scheduleFleetCheck makes the schedule, unless it is there, and has the fleet
// checked at once: whoever boots cannot know what was missed.
func scheduleFleetCheck(ctx context.Context, temporalClient client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, temporalTimeout)
	defer cancel()
	schedules := temporalClient.ScheduleClient()
	_, err := schedules.Create(ctx, client.ScheduleOptions{
		ID:   contract.CheckFleetSchedule,
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: fleetCheckInterval}}},
		Action: &client.ScheduleWorkflowAction{
			ID: contract.CheckFleetSchedule, Workflow: contract.CheckFleetWorkflow, TaskQueue: contract.TaskQueue,
		},
		Overlap:            enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
		TriggerImmediately: true,
	})
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		err = schedules.GetHandle(ctx, contract.CheckFleetSchedule).Trigger(ctx, client.ScheduleTriggerOptions{})
	}
	if err != nil {
		return fmt.Errorf("schedule the check of the fleet: %w", err)
	}
	return nil
}

// scheduleReconcile makes the schedule, gives the one that is there the interval that is set now, or removes it.
func (p *process) scheduleReconcile(ctx context.Context) error {
	interval := p.options.Config.Interval
	schedule := client.ScheduleOptions{
		ID:   contract.ReconcileID,
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: interval}}},
		Action: &client.ScheduleWorkflowAction{
			ID: contract.ReconcileID, Workflow: contract.ReconcileWorkflow, TaskQueue: contract.TaskQueue,
			Args: []any{contract.ReconcileInput{}},
		},
		Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
	}
	if interval > 0 {
		return keepSchedule(ctx, p.temporal, schedule)
	}
	ctx, cancel := context.WithTimeout(ctx, temporalTimeout)
	defer cancel()
	err := p.temporal.ScheduleClient().GetHandle(ctx, contract.ReconcileID).Delete(ctx)
	if _, missing := errors.AsType[*serviceerror.NotFound](err); err != nil && !missing {
		return fmt.Errorf("remove the schedule of Reconcile: %w", err)
	}
	return nil
}

// scheduleRetention has what is kept for long enough removed daily.
func scheduleRetention(ctx context.Context, temporalClient client.Client, retention contract.RetentionInput) error {
	return keepSchedule(ctx, temporalClient, client.ScheduleOptions{
		ID:   contract.RetentionSchedule,
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: retentionInterval}}},
		Action: &client.ScheduleWorkflowAction{
			ID: contract.RetentionSchedule, Workflow: contract.RetentionWorkflow, TaskQueue: contract.TaskQueue,
			Args: []any{retention},
		},
		Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
	})
}

// keepSchedule makes a schedule, or gives the one that is there the times and the action that are set now.
func keepSchedule(ctx context.Context, temporalClient client.Client, wanted client.ScheduleOptions) error {
	ctx, cancel := context.WithTimeout(ctx, temporalTimeout)
	defer cancel()
	schedules := temporalClient.ScheduleClient()
	_, err := schedules.Create(ctx, wanted)
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		err = schedules.GetHandle(ctx, wanted.ID).Update(ctx, client.ScheduleUpdateOptions{
			DoUpdate: func(found client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
				found.Description.Schedule.Action = wanted.Action
				found.Description.Schedule.Spec = &wanted.Spec
				return &client.ScheduleUpdate{Schedule: &found.Description.Schedule}, nil
			},
		})
	}
	if err != nil {
		return fmt.Errorf("keep the schedule %s: %w", wanted.ID, err)
	}
	return nil
}
