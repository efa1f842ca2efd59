package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
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

// emptyWorkflows runs the emptiest possible workflow, started eagerly on the same
// server: no workflow that does anything can be faster.
func (b *bench) emptyWorkflows(ctx context.Context, pace *pace) error {
	return b.run(ctx, pace, emptyWorkflow, b.settings.events/rounds, true)
}

// naiveWorkflows runs what the obvious design would: a workflow with three ordinary
// activities, that do nothing here, started without eagerness.
func (b *bench) naiveWorkflows(ctx context.Context, pace *pace) error {
	return b.run(ctx, pace, naiveWorkflow, benchNaiveEvents/rounds, false)
}

func (b *bench) run(ctx context.Context, pace *pace, workflowType string, count int, eager bool) error {
	temporalClient, err := b.dial()
	if err != nil {
		return err
	}
	defer temporalClient.Close()
	taskQueue := "bench-" + workflowType
	var finished atomic.Int64
	benchWorker := worker.New(temporalClient, taskQueue, worker.Options{})
	benchWorker.RegisterWorkflowWithOptions(func(workflow.Context) error {
		finished.Add(1)
		return nil
	}, workflow.RegisterOptions{Name: emptyWorkflow})
	benchWorker.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		defer finished.Add(1)
		return naiveEvent(ctx)
	}, workflow.RegisterOptions{Name: naiveWorkflow})
	benchWorker.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: naiveActivity})
	if err := benchWorker.Start(); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	defer benchWorker.Stop()

	var last atomic.Pointer[client.WorkflowRun]
	started := time.Now()
	err = load.Concurrently(ctx, startsAtOnce, count, func(ctx context.Context, _ int) error {
		run, err := temporalClient.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: uuid.NewString(), TaskQueue: taskQueue, EnableEagerStart: eager,
		}, workflowType)
		if err != nil {
			return fmt.Errorf("start a workflow: %w", err)
		}
		last.Store(&run)
		return nil
	})
	if err != nil {
		return err
	}
	// Asking Temporal whether each is closed would slow down what is measured: the
	// worker knows when the functions have ended, and the last run tells of the rest.
	if err := until(ctx, func() (bool, error) { return finished.Load() >= int64(count), nil }); err != nil {
		return fmt.Errorf("%d of %d workflows have ended: %w", finished.Load(), count, err)
	}
	if err := (*last.Load()).Get(ctx, nil); err != nil {
		return fmt.Errorf("the last workflow: %w", err)
	}
	pace.add(count, started)
	return nil
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
		// As the product's own client has it.
		ConnectionOptions: client.ConnectionOptions{GrpcCompression: &client.GrpcCompressionNone{}},
	})
	if err != nil {
		return nil, fmt.Errorf("reach Temporal: %w", err)
	}
	return temporalClient, nil
}

// awaitCount waits until so many workflows match a query.
func awaitCount(ctx context.Context, temporalClient client.Client, query string, count int) error {
	return until(ctx, func() (bool, error) {
		answer, err := temporalClient.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		if err != nil {
			return false, fmt.Errorf("count workflows: %w", err)
		}
		return answer.GetCount() >= int64(count), nil
	})
}

// historyLength is the mean number of history events of the closed ProcessEvent
// workflows, once all of them show up as closed.
func (b *bench) historyLength(ctx context.Context, events int) (float64, error) {
	query := fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Completed'", contract.ProcessEventWorkflow)
	ctx, cancel := context.WithTimeout(ctx, visibilityTimeout)
	defer cancel()
	if err := awaitCount(ctx, b.temporal, query, events); err != nil {
		return 0, err
	}
	var total, found int64
	var page []byte
	for {
		answer, err := b.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
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
