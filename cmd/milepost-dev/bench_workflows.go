package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/cmd/internal/load"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	benchNamespace    = "default"
	emptyWorkflow     = "BenchEmpty"
	naiveWorkflow     = "BenchNaive"
	naiveActivity     = "BenchActivity"
	naiveActivities   = 3
	naiveTimeout      = time.Minute
	startsAtOnce      = 32 // as many as the starter has under way
	visibilityPage    = 1000
	visibilityTimeout = time.Minute
)

// workflowFloor runs the emptiest possible workflow, started eagerly on the same
// server: no workflow that does anything can be faster.
func (b *bench) workflowFloor(ctx context.Context, measured *figures) (err error) {
	measured.WorkflowFloorPerSecond, err = b.run(ctx, emptyWorkflow, b.settings.events, true)
	return err
}

// naive runs what the obvious design would: a workflow with three ordinary
// activities, that do nothing here, started without eagerness.
func (b *bench) naive(ctx context.Context, measured *figures) (err error) {
	measured.NaiveEventsPerSecond, err = b.run(ctx, naiveWorkflow, benchNaiveEvents, false)
	return err
}

func (b *bench) run(ctx context.Context, workflowType string, count int, eager bool) (float64, error) {
	temporalClient, err := b.dial()
	if err != nil {
		return 0, err
	}
	defer temporalClient.Close()
	taskQueue := "bench-" + workflowType
	benchWorker := worker.New(temporalClient, taskQueue, worker.Options{})
	benchWorker.RegisterWorkflowWithOptions(func(workflow.Context) error { return nil }, workflow.RegisterOptions{Name: emptyWorkflow})
	benchWorker.RegisterWorkflowWithOptions(naiveEvent, workflow.RegisterOptions{Name: naiveWorkflow})
	benchWorker.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: naiveActivity})
	if err := benchWorker.Start(); err != nil {
		return 0, fmt.Errorf("start the worker: %w", err)
	}
	defer benchWorker.Stop()

	started := time.Now()
	err = load.Concurrently(ctx, startsAtOnce, count, func(ctx context.Context, _ int) error {
		_, err := temporalClient.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: uuid.NewString(), TaskQueue: taskQueue, EnableEagerStart: eager,
		}, workflowType)
		if err != nil {
			return fmt.Errorf("start a workflow: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	query := fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Completed'", workflowType)
	if err := awaitCount(ctx, temporalClient, query, count); err != nil {
		return 0, err
	}
	return perSecond(count, time.Since(started)), nil
}

func naiveEvent(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: naiveTimeout})
	for range naiveActivities {
		if err := workflow.ExecuteActivity(ctx, naiveActivity).Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) dial() (client.Client, error) {
	temporalClient, err := client.Dial(client.Options{
		HostPort: b.Temporal.Address(), Namespace: benchNamespace,
		Logger: temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return nil, fmt.Errorf("reach Temporal: %w", err)
	}
	return temporalClient, nil
}

// awaitCount waits until so many workflows match a query.
func awaitCount(ctx context.Context, temporalClient client.Client, query string, count int) error {
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		answer, err := temporalClient.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		if err != nil {
			return fmt.Errorf("count workflows: %w", err)
		}
		if answer.GetCount() >= int64(count) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d workflows are closed: %w", answer.GetCount(), count, ctx.Err())
		}
	}
}

// historyLength is the mean number of history events of the closed ProcessEvent
// workflows, once all of them show up as closed.
func (b *bench) historyLength(ctx context.Context, events int) (float64, error) {
	temporalClient, err := b.dial()
	if err != nil {
		return 0, err
	}
	defer temporalClient.Close()
	query := fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Completed'", contract.ProcessEventWorkflow)
	ctx, cancel := context.WithTimeout(ctx, visibilityTimeout)
	defer cancel()
	if err := awaitCount(ctx, temporalClient, query, events); err != nil {
		return 0, err
	}
	var total, found int64
	var page []byte
	for {
		answer, err := temporalClient.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: query, PageSize: visibilityPage, NextPageToken: page,
		})
		if err != nil {
			return 0, fmt.Errorf("list workflows: %w", err)
		}
		for _, execution := range answer.GetExecutions() {
			if execution.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
				return 0, errors.New("a workflow that was listed as completed is not")
			}
			found++
			total += execution.GetHistoryLength()
		}
		if page = answer.GetNextPageToken(); len(page) == 0 {
			return float64(total) / float64(found), nil
		}
	}
}
