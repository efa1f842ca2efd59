package stack_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/deploy/devstack"
	"github.com/milepost/milepost/workflows/contract"
)

// TestAPollThatIsKilledAfterItsRefreshIsFinishedByAProcessThatLives: nobody asks for the
// poll again, and the vehicle's workflow sleeps.
//
//nolint:paralleltest // tests under load run one at a time
func TestAPollThatIsKilledAfterItsRefreshIsFinishedByAProcessThatLives(t *testing.T) {
	c := setupCustody(t, 1, stack.Options{Roles: "receiver,starter"})
	vehicle := c.cars[0].VehicleID
	workers := []*devstack.Process{c.another("worker", c.freeAddress()), c.another("worker", c.freeAddress())}
	c.connectAll() // by then both have looked for what others had left
	_, err := c.pool.Exec(t.Context(), `UPDATE smartcar_tokens SET expires_at = now()`)
	require.NoError(t, err)
	hold := make(chan struct{})
	defer close(hold)
	fault := c.holdRefresh(vehicle, smartcartest.Fault{HoldAfter: hold})
	polling := c.pollOnce(vehicle)
	c.await(fault.Arrived())
	dying := slices.IndexFunc(workers, func(one *devstack.Process) bool {
		return strings.HasPrefix(c.executor(polling), fmt.Sprintf("%d@", one.Pid()))
	})
	require.GreaterOrEqual(t, dying, 0, "neither worker polls")
	require.NoError(t, workers[dying].Kill())
	<-workers[dying].Exited()
	c.awaitGeneration(vehicle, 2)
	c.requireNothingLost()
	c.requireNoTokenAtRest()
}

// executor names the worker that has a workflow's activity in its hands.
func (c *custody) executor(workflowID string) string {
	c.t.Helper()
	described, err := c.temporal.DescribeWorkflowExecution(c.t.Context(), workflowID, "")
	require.NoError(c.t, err)
	require.Len(c.t, described.GetPendingActivities(), 1)
	return described.GetPendingActivities()[0].GetLastWorkerIdentity()
}

// pollOnce has a vehicle polled by one of Milepost's workers, which is not tried again.
func (c *custody) pollOnce(vehicle string) (workflowID string) {
	c.t.Helper()
	const name = "PollOnce"
	queue := uuid.NewString()
	polling := worker.New(c.temporal, queue, worker.Options{})
	polling.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		once := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue: contract.SmartcarTaskQueue, StartToCloseTimeout: time.Hour,
			RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
		})
		return workflow.ExecuteActivity(once, contract.PollVehicleActivity, contract.PollVehicleInput{SmartcarVehicleID: vehicle}).Get(once, nil)
	}, workflow.RegisterOptions{Name: name})
	require.NoError(c.t, polling.Start())
	c.t.Cleanup(polling.Stop)
	_, err := c.temporal.ExecuteWorkflow(c.t.Context(), client.StartWorkflowOptions{ID: queue, TaskQueue: queue}, name)
	require.NoError(c.t, err)
	return queue
}
