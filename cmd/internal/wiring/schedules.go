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
		err := errors.Join(scheduleFleetCheck(ctx, p.temporal), keepSchedule(ctx, p.temporal, p.retentionSchedule()),
			p.scheduleReconcile(ctx))
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

// restore tells Temporal again what it must know, for as long as ctx is not done: it may lose its data while
// Milepost runs. Without the search attributes nothing can be started; the schedules are what brings
// the other workflows back. What is there stays as it is, for an operator may have changed it.
func (p *process) restore(ctx context.Context) {
	ticker := time.NewTicker(p.options.Config.HealAfter)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		err := RegisterSearchAttributes(ctx, p.temporal, p.namespace)
		if isDenied(err) {
			err = nil // was said at the start
		}
		if p.options.Roles.Has(RoleWorker) {
			for _, schedule := range p.schedules() {
				err = errors.Join(err, makeSchedule(ctx, p.temporal, schedule))
			}
		}
		if err != nil && ctx.Err() == nil {
			p.logger.Warn("temporal.not_restored", slog.String("error", err.Error()))
		}
	}
}

// schedules are all that there ought to be.
func (p *process) schedules() []client.ScheduleOptions {
	wanted := []client.ScheduleOptions{fleetCheckSchedule(), p.retentionSchedule()}
	if p.options.Config.Interval > 0 {
		wanted = append(wanted, p.reconcileSchedule())
	}
	return wanted
}

func fleetCheckSchedule() client.ScheduleOptions {
	return client.ScheduleOptions{
		ID:   contract.CheckFleetSchedule,
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: fleetCheckInterval}}},
		Action: &client.ScheduleWorkflowAction{
			ID: contract.CheckFleetSchedule, Workflow: contract.CheckFleetWorkflow, TaskQueue: contract.TaskQueue,
		},
		Overlap:            enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
		TriggerImmediately: true,
	}
}

func (p *process) reconcileSchedule() client.ScheduleOptions {
	interval := p.options.Config.Interval
	return client.ScheduleOptions{
		ID: contract.ReconcileID,
		// With others who poll at the full hour it would meet at Smartcar.
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: interval}}, Jitter: interval / 10},
		Action: &client.ScheduleWorkflowAction{
			ID: contract.ReconcileID, Workflow: contract.ReconcileWorkflow, TaskQueue: contract.TaskQueue,
			Args: []any{contract.ReconcileInput{}},
		},
		Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
	}
}

// retentionSchedule has what is kept for long enough removed daily.
func (p *process) retentionSchedule() client.ScheduleOptions {
	return client.ScheduleOptions{
		ID:   contract.RetentionSchedule,
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: retentionInterval}}},
		Action: &client.ScheduleWorkflowAction{
			ID: contract.RetentionSchedule, Workflow: contract.RetentionWorkflow, TaskQueue: contract.TaskQueue,
			Args: []any{contract.RetentionInput{Payloads: p.options.Config.Payloads, SyncLogs: p.options.Config.SyncLogs}},
		},
		Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
	}
}

// scheduleFleetCheck makes the schedule, unless it is there, and has the fleet
// checked at once: whoever boots cannot know what was missed.
func scheduleFleetCheck(ctx context.Context, temporalClient client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, temporalTimeout)
	defer cancel()
	schedules := temporalClient.ScheduleClient()
	_, err := schedules.Create(ctx, fleetCheckSchedule())
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
	if p.options.Config.Interval > 0 {
		return keepSchedule(ctx, p.temporal, p.reconcileSchedule())
	}
	ctx, cancel := context.WithTimeout(ctx, temporalTimeout)
	defer cancel()
	err := p.temporal.ScheduleClient().GetHandle(ctx, contract.ReconcileID).Delete(ctx)
	if _, missing := errors.AsType[*serviceerror.NotFound](err); err != nil && !missing {
		return fmt.Errorf("remove the schedule of Reconcile: %w", err)
	}
	return nil
}

// makeSchedule makes a schedule, unless it is there.
func makeSchedule(ctx context.Context, temporalClient client.Client, wanted client.ScheduleOptions) error {
	ctx, cancel := context.WithTimeout(ctx, temporalTimeout)
	defer cancel()
	_, err := temporalClient.ScheduleClient().Create(ctx, wanted)
	if err != nil && !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return fmt.Errorf("make the schedule %s: %w", wanted.ID, err)
	}
	return nil
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
