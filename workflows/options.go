// Package workflows holds Milepost's Temporal workflows, one per file. A workflow
// is a function with a private state struct (setup, run); nothing is injected, and
// all I/O happens in activities, under a policy named in this file.
package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// fastPath is for the happy path: one try as a local activity within the workflow
// task that is under way. Its limit stays well below the task's timeout (10 s by
// default), so that a slow database costs a hand-over and not a lost task.
func fastPath() workflow.LocalActivityOptions {
	return workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: 4 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
	}
}

// untilDone is for trouble: an ordinary activity that is tried for as long as it
// takes. Operators see it as a pending activity with its attempt count and last
// failure; no outage, however long, fails a workflow.
func untilDone() workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    time.Second,
			BackoffCoefficient: 2,
			MaximumInterval:    time.Minute,
		},
	}
}

// smartcarCall is for what asks Smartcar, on the queue whose rate the server limits.
// A try lasts for as long as it must, since an answer that has arrived may have to
// wait for the database; a worker that died is noticed by its silence, soon enough
// to use a rotated token again while Smartcar still takes it (one minute). Source:
// Smartcar, "Lifetimes and rotation".
func smartcarCall() workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:           contract.SmartcarTaskQueue,
		StartToCloseTimeout: 24 * time.Hour,
		HeartbeatTimeout:    10 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    time.Second,
			BackoffCoefficient: 2,
			MaximumInterval:    5 * time.Minute,
		},
	}
}

// fewTries is smartcarCall for a workflow that listens between the tries: it gets
// trouble back soon, and at once what only an operator can put right.
func fewTries() workflow.ActivityOptions {
	options := smartcarCall()
	options.RetryPolicy.MaximumAttempts = 3
	options.RetryPolicy.NonRetryableErrorTypes = contract.OperatorsErrors()
	return options
}

// overDays is for what another program must take. Source: Standard Webhooks, which
// asks for retries over several days.
func overDays() workflow.ActivityOptions {
	return workflow.ActivityOptions{
		ScheduleToCloseTimeout: 5 * 24 * time.Hour,
		StartToCloseTimeout:    30 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    5 * time.Second,
			BackoffCoefficient: 2,
			MaximumInterval:    6 * time.Hour,
		},
	}
}

// wholeFleet is for what goes through all vehicles, or all rows, and says so on the way.
func wholeFleet() workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout: time.Hour,
		HeartbeatTimeout:    time.Minute,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    time.Second,
			BackoffCoefficient: 2,
			MaximumInterval:    time.Minute,
		},
	}
}
