package stack_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/workflows/contract"
)

// continueAfter is soon reached: one refresh fills the history.
const continueAfter = 16

// TestNothingIsDroppedWhenMilepostIsKilledDuringContinueAsNew gives every vehicle a
// history that one refresh fills, and kills milepost while it has the task in its
// hands that begins the next one. A kill that comes too late does not count, and
// another vehicle is taken.
//
//nolint:paralleltest // tests under load run one at a time
func TestNothingIsDroppedWhenMilepostIsKilledDuringContinueAsNew(t *testing.T) {
	c := setupCustody(t, 10*kills, stack.Options{Roles: "receiver,worker"}) // the test starts the workflows itself
	var asked []string
	hit := 0
	for _, car := range c.cars {
		if hit == kills {
			break
		}
		asked = append(asked, car.VehicleID)
		if c.killDuringContinueAsNew(car) {
			hit++
		}
	}
	t.Logf("%d of %d kills came while the next history was being begun", hit, len(asked))
	require.Equal(t, kills, hit)
	c.cars = c.cars[:len(asked)]
	for _, vehicle := range asked {
		c.awaitSleeping(vehicle)
		// The second signal came after the first refresh had begun: it, too, must have been answered.
		c.awaitGeneration(vehicle, 3)
	}
	c.requireNothingLost()
	for _, vehicle := range asked {
		require.NoError(t, c.signal(vehicle))
	}
	for _, vehicle := range asked {
		c.awaitGeneration(vehicle, 4)
		require.NotEqual(t, c.firstRun(vehicle), c.run(vehicle), "the history was not continued as new")
	}
	c.requireNothingLost()
	c.requireNoTokenAtRest()
}

// killDuringContinueAsNew says whether the worker was killed with the task in hand.
func (c *custody) killDuringContinueAsNew(car smartcartest.Car) bool {
	c.t.Helper()
	require.NoError(c.t, c.ConnectSimulated(c.t.Context(), c.platform, car))
	_, err := c.temporal.ExecuteWorkflow(c.t.Context(), client.StartWorkflowOptions{
		ID: contract.TokenRefreshID(car.VehicleID), TaskQueue: contract.TaskQueue,
	}, contract.TokenRefreshWorkflow, contract.TokenRefreshInput{SmartcarVehicleID: car.VehicleID, ContinueAfter: continueAfter})
	require.NoError(c.t, err)
	c.awaitSleeping(car.VehicleID)
	first := c.run(car.VehicleID)
	hold := make(chan struct{})
	fault := c.holdRefresh(car.VehicleID, smartcartest.Fault{HoldAfter: hold})
	require.NoError(c.t, c.signal(car.VehicleID))
	c.await(fault.Arrived())
	require.NoError(c.t, c.signal(car.VehicleID))
	close(hold)
	process := c.Milepost.Process()
	require.Eventually(c.t, func() bool {
		return c.isBeingContinued(car.VehicleID, first) || c.run(car.VehicleID) != first
	}, soon, 100*time.Microsecond)
	require.NoError(c.t, process.Kill())
	<-process.Exited()
	inHand := c.isBeingContinued(car.VehicleID, first)
	require.Eventually(c.t, func() bool { return c.Milepost.Process() != process }, soon, 10*time.Millisecond)
	return inHand
}

func (c *custody) signal(vehicle string) error {
	return c.temporal.SignalWorkflow(c.t.Context(), contract.TokenRefreshID(vehicle), "", contract.SignalRefreshNow, nil)
}

// isBeingContinued says that a worker has the task of this run that finds the history full.
func (c *custody) isBeingContinued(vehicle, run string) bool {
	c.t.Helper()
	described, err := c.temporal.DescribeWorkflowExecution(c.t.Context(), contract.TokenRefreshID(vehicle), run)
	require.NoError(c.t, err)
	return described.GetWorkflowExecutionInfo().GetHistoryLength() >= continueAfter &&
		described.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING &&
		described.GetPendingWorkflowTask().GetState() == enumspb.PENDING_WORKFLOW_TASK_STATE_STARTED
}

// run is the run of a vehicle's workflow that is the newest, firstRun the one that it began with.
func (c *custody) run(vehicle string) string {
	c.t.Helper()
	return c.describe(vehicle).GetExecution().GetRunId()
}

func (c *custody) firstRun(vehicle string) string {
	c.t.Helper()
	return c.describe(vehicle).GetFirstRunId()
}

func (c *custody) describe(vehicle string) *workflowpb.WorkflowExecutionInfo {
	c.t.Helper()
	described, err := c.temporal.DescribeWorkflowExecution(c.t.Context(), contract.TokenRefreshID(vehicle), "")
	require.NoError(c.t, err)
	return described.GetWorkflowExecutionInfo()
}
