package wiring

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/worker"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	// workerStopTimeout lets activities that are under way finish at shutdown.
	workerStopTimeout = 10 * time.Second
	// concurrentActivities keeps the activities under way near what the pool can carry.
	concurrentActivities = 64
	// concurrentCalls to Smartcar; refreshes are bounded further by the vault.
	concurrentCalls = 32
	// cachedWorkflows bounds the workflows that a worker keeps in memory, some 100 KiB each: a
	// vehicle's sleeps for hours, and is read again from its history when it wakes. Events' last
	// for milliseconds.
	cachedWorkflows = 1000
	// callStopTimeout is longer than a token call may take: its answer must be stored.
	callStopTimeout = 35 * time.Second
)

// poller is the part of a Temporal worker in use.
type poller interface {
	Start() error
	Stop()
}

// keepWorkers polls Milepost's task queues until ctx is done, then lets the activities that are under way finish.
func (p *process) keepWorkers(ctx context.Context) {
	worker.SetStickyWorkflowCacheSize(cachedWorkflows)
	keepAll(ctx, p.logger, p.mainWorker, p.smartcarWorker)
}

func (p *process) mainWorker(fatal func(error)) poller { //nolint:ireturn // what the SDK gives is an interface
	main := worker.New(p.temporal, contract.TaskQueue, worker.Options{
		MaxConcurrentLocalActivityExecutionSize: concurrentActivities,
		MaxConcurrentActivityExecutionSize:      concurrentActivities,
		WorkerStopTimeout:                       workerStopTimeout,
		OnFatalError:                            fatal,
	})
	workflows.Register(main)
	p.activities.Register(main)
	return main
}

func (p *process) smartcarWorker(fatal func(error)) poller { //nolint:ireturn // as above
	calls := worker.New(p.temporal, contract.SmartcarTaskQueue, worker.Options{
		MaxConcurrentActivityExecutionSize: concurrentCalls,
		// The server sees to it for all workers together.
		TaskQueueActivitiesPerSecond: p.options.Config.CallsPerSecond,
		DisableWorkflowWorker:        true,
		WorkerStopTimeout:            callStopTimeout,
		OnFatalError:                 fatal,
	})
	p.activities.RegisterSmartcar(calls)
	return calls
}

// keepAll keeps a worker of each kind running. They stop at once: one after the other
// would take longer than the program has, and what is taken late would be cut short.
func keepAll(ctx context.Context, logger *slog.Logger, kinds ...func(fatal func(error)) poller) {
	var running sync.WaitGroup
	for _, build := range kinds {
		running.Go(func() { keepWorker(ctx, logger, build) })
	}
	running.Wait()
}

// keepWorker builds another worker when one cannot be started, or fails: the SDK gives a
// worker up for good when a poll is refused and the last that succeeded is two minutes
// ago, as when Temporal comes back from an outage without its namespace.
func keepWorker(ctx context.Context, logger *slog.Logger, build func(fatal func(error)) poller) {
	for {
		err := runWorker(ctx, build)
		if err == nil {
			return
		}
		logger.Error("worker.failed", slog.String("error", err.Error()))
		select {
		case <-time.After(temporalRetryPause):
		case <-ctx.Done():
			return
		}
	}
}

// runWorker gives why the worker polls no more; nil when ctx is done.
func runWorker(ctx context.Context, build func(fatal func(error)) poller) error {
	failed := make(chan error, 1) // a worker says so once
	running := build(func(err error) { failed <- err })
	defer running.Stop()
	if err := running.Start(); err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("poll for tasks: %w", err)
	case <-ctx.Done():
		return nil
	}
}
