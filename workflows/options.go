// Package workflows holds Milepost's Temporal workflows, one per file. A workflow
// is a function with a private state struct (setup, run); nothing is injected, and
// all I/O happens in activities, under a policy named in this file.
package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
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
