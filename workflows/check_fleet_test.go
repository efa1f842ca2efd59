package workflows_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

// fleetBundle is CheckFleet with an activity that is replaced.
type fleetBundle struct {
	*testsuite.TestWorkflowEnvironment

	t *testing.T
}

func setupFleet(t *testing.T) *fleetBundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &fleetBundle{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t}
	b.SetTestTimeout(time.Minute)
	workflows.Register(b)
	register(b.TestWorkflowEnvironment, contract.CheckFleetActivity, checkFleet)
	t.Cleanup(func() { b.AssertExpectations(t) })
	return b
}

func checkFleet(context.Context) (contract.CheckFleetResult, error) {
	return contract.CheckFleetResult{}, unexpected()
}

func (b *fleetBundle) run() (contract.CheckFleetResult, error) {
	b.t.Helper()
	b.ExecuteWorkflow(contract.CheckFleetWorkflow)
	require.True(b.t, b.IsWorkflowCompleted())
	var result contract.CheckFleetResult
	if err := b.GetWorkflowError(); err != nil {
		return result, err
	}
	require.NoError(b.t, b.GetWorkflowResult(&result))
	return result, nil
}

func TestTheFleetIsComparedOnceAndWhatWasFoundIsTheResult(t *testing.T) {
	t.Parallel()
	b := setupFleet(t)
	found := contract.CheckFleetResult{Vehicles: 1200, Started: 3, Nudged: 1}
	b.OnActivity(contract.CheckFleetActivity, mock.Anything).Return(found, nil).Once()

	result, err := b.run()
	require.NoError(t, err)
	require.Equal(t, found, result)
}

func TestAComparisonOfTheFleetThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setupFleet(t)
	b.OnActivity(contract.CheckFleetActivity, mock.Anything).
		Return(contract.CheckFleetResult{Started: 99}, temporarily()).Times(8)
	b.OnActivity(contract.CheckFleetActivity, mock.Anything).Return(contract.CheckFleetResult{Vehicles: 7}, nil).Once()
	started := b.Now()

	result, err := b.run()
	require.NoError(t, err)
	require.Equal(t, contract.CheckFleetResult{Vehicles: 7}, result)
	require.Equal(t, (1+2+4+8+16+32+60+60)*time.Second, b.Now().Sub(started), "within a minute of the database being back")
}

func TestAComparisonOfTheFleetThatCannotSucceedFailsTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setupFleet(t)
	b.OnActivity(contract.CheckFleetActivity, mock.Anything).
		Return(contract.CheckFleetResult{}, finally(contract.FailureDataRejected)).Once()

	_, err := b.run()
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.Equal(t, string(contract.FailureDataRejected), application.Type())
}
