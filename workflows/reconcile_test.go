package workflows_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

// reconcileBundle is Reconcile with a fleet of the test's own.
type reconcileBundle struct {
	*testsuite.TestWorkflowEnvironment

	t    *testing.T
	plan contract.PlanReconcileResult
	// answers are what polls come to; a vehicle without one has received a reading.
	answers map[string]contract.PollVehicleResult
	errs    map[string]error

	polls, underWay atomic.Int64
	queue           atomic.Value
	mutex           sync.Mutex
	mostAtOnce      int64
}

func setupReconcile(t *testing.T, vehicles int) *reconcileBundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &reconcileBundle{
		TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t,
		answers: map[string]contract.PollVehicleResult{}, errs: map[string]error{},
	}
	b.SetTestTimeout(time.Minute)
	workflows.Register(b)
	b.plan.Silent, b.plan.Ready = vehicles, vehicles
	for n := range vehicles {
		b.plan.SmartcarVehicleIDs = append(b.plan.SmartcarVehicleIDs, fmt.Sprint("car-", n))
	}
	register(b.TestWorkflowEnvironment, contract.PlanReconcileActivity,
		func(context.Context, contract.PlanReconcileInput) (contract.PlanReconcileResult, error) {
			return b.plan, nil
		})
	register(b.TestWorkflowEnvironment, contract.PollVehicleActivity, b.poll)
	return b
}

func (b *reconcileBundle) poll(ctx context.Context, input contract.PollVehicleInput) (contract.PollVehicleResult, error) {
	now := b.underWay.Add(1)
	defer b.underWay.Add(-1)
	b.mutex.Lock()
	b.mostAtOnce = max(b.mostAtOnce, now)
	b.mutex.Unlock()
	b.polls.Add(1)
	b.queue.Store(activity.GetInfo(ctx).TaskQueue)
	if err := b.errs[input.SmartcarVehicleID]; err != nil {
		return contract.PollVehicleResult{}, err
	}
	if answer, found := b.answers[input.SmartcarVehicleID]; found {
		return answer, nil
	}
	return contract.PollVehicleResult{Outcome: contract.PollReceived, EventID: "poll:" + input.SmartcarVehicleID}, nil
}

func (b *reconcileBundle) run() contract.ReconcileResult {
	b.t.Helper()
	b.ExecuteWorkflow(contract.ReconcileWorkflow, contract.ReconcileInput{})
	require.True(b.t, b.IsWorkflowCompleted())
	require.NoError(b.t, b.GetWorkflowError())
	var result contract.ReconcileResult
	require.NoError(b.t, b.GetWorkflowResult(&result))
	return result
}

func TestEverySilentVehicleIsPolledOnceOnTheQueueWhoseRateIsLimited(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t, 30)
	b.plan.Outages = []contract.Outage{{StartedAt: observedAt(), EndedAt: observedAt().Add(time.Hour)}}
	result := b.run()
	require.Equal(t, int64(30), b.polls.Load())
	require.LessOrEqual(t, b.mostAtOnce, int64(4))
	require.Equal(t, contract.SmartcarTaskQueue, b.queue.Load())
	require.Equal(t, contract.ReconcileResult{
		Outages: b.plan.Outages, Silent: 30, Outcomes: map[contract.PollOutcome]int{contract.PollReceived: 30},
	}, result)
}

func TestNothingIsAskedWhenNobodyIsSilent(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t, 0)
	require.Equal(t, contract.ReconcileResult{}, b.run())
	require.Zero(t, b.polls.Load())
}

func TestARunStopsWhenSmartcarsLimitsLeaveNoRoomAndSaysWhoIsLeft(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t, 30)
	for n := 5; n < 30; n++ {
		b.answers[fmt.Sprint("car-", n)] = contract.PollVehicleResult{
			Outcome: contract.PollDeferred, StopUntil: observedAt().Add(time.Hour), TryAgainAt: observedAt().Add(time.Hour),
		}
	}
	result := b.run()
	require.LessOrEqual(t, b.polls.Load(), int64(9), "five answers, and at most four that were under way")
	require.Equal(t, 5, result.Outcomes[contract.PollReceived])
	deferred := result.Outcomes[contract.PollDeferred]
	require.Positive(t, deferred)
	require.Equal(t, 25-deferred, result.Left)
	require.Len(t, result.NotRestored, deferred)
}

func TestOneVehiclesTroubleIsNamedAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t, 4)
	again := observedAt().Add(time.Hour)
	b.answers["car-0"] = contract.PollVehicleResult{Outcome: contract.PollVehicleUnreachable, TryAgainAt: again}
	b.answers["car-1"] = contract.PollVehicleResult{Outcome: contract.PollNothingNew}
	b.errs["car-2"] = temporal.NewNonRetryableApplicationError("the database refused it", "data_rejected", nil)
	b.plan.Silent = 6
	b.plan.Obstacles = map[contract.PollOutcome]int{contract.PollNeedsOwner: 1, contract.PollVehicleUnreachable: 1}
	b.plan.NotRestored = []contract.NotRestored{{SmartcarVehicleID: "car-8", Reason: contract.PollNeedsOwner}}
	result := b.run()
	require.Equal(t, map[contract.PollOutcome]int{
		contract.PollReceived: 1, contract.PollNothingNew: 1, contract.PollVehicleUnreachable: 2,
		contract.PollFailed: 1, contract.PollNeedsOwner: 1,
	}, result.Outcomes)
	require.Zero(t, result.Left)
	require.ElementsMatch(t, []contract.NotRestored{
		{SmartcarVehicleID: "car-8", Reason: contract.PollNeedsOwner},
		{SmartcarVehicleID: "car-0", Reason: contract.PollVehicleUnreachable, TryAgainAt: again},
		{SmartcarVehicleID: "car-2", Reason: contract.PollFailed},
	}, result.NotRestored)
}

func TestAPollThatMeetsTroubleOfOursIsTriedUntilItWorks(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t, 0)
	b.plan.Silent, b.plan.Ready, b.plan.SmartcarVehicleIDs = 1, 1, []string{"slow"}
	tries := 0
	b.OnActivity(contract.PollVehicleActivity, mock.Anything, mock.Anything).Return(
		func(context.Context, contract.PollVehicleInput) (contract.PollVehicleResult, error) {
			if tries++; tries < 8 {
				return contract.PollVehicleResult{}, temporal.NewApplicationError("the database did not answer", "database_unavailable")
			}
			return contract.PollVehicleResult{Outcome: contract.PollReceived}, nil
		})
	require.Equal(t, 1, b.run().Outcomes[contract.PollReceived])
	require.Equal(t, 8, tries)
}
