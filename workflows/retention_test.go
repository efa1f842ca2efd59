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
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

// retentionBundle is Retention with an activity that is replaced.
type retentionBundle struct {
	*testsuite.TestWorkflowEnvironment

	t *testing.T
}

func setupRetention(t *testing.T) *retentionBundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &retentionBundle{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t}
	b.SetTestTimeout(time.Minute)
	b.RegisterWorkflowWithOptions(workflows.Retention, workflow.RegisterOptions{Name: contract.RetentionWorkflow})
	register(b.TestWorkflowEnvironment, contract.TrimRetainedActivity, trimRetained)
	t.Cleanup(func() { b.AssertExpectations(t) })
	return b
}

func trimRetained(context.Context, contract.RetentionInput) (contract.RetentionResult, error) {
	return contract.RetentionResult{}, unexpected()
}

func (b *retentionBundle) run(input contract.RetentionInput) (contract.RetentionResult, error) {
	b.t.Helper()
	b.ExecuteWorkflow(contract.RetentionWorkflow, input)
	require.True(b.t, b.IsWorkflowCompleted())
	var result contract.RetentionResult
	if err := b.GetWorkflowError(); err != nil {
		return result, err
	}
	require.NoError(b.t, b.GetWorkflowResult(&result))
	return result, nil
}

func TestWhatWasKeptLongEnoughIsTrimmedOnceWithTheGivenRetention(t *testing.T) {
	t.Parallel()
	b := setupRetention(t)
	input := contract.RetentionInput{Payloads: 24 * time.Hour, SyncLogs: 48 * time.Hour}
	done := contract.RetentionResult{Rows: map[string]int64{"payloads": 2500, "syncLogs": 0}}
	b.OnActivity(contract.TrimRetainedActivity, mock.Anything, input).Return(done, nil).Once()

	result, err := b.run(input)
	require.NoError(t, err)
	require.Equal(t, done, result)
}

func TestTrimmingThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setupRetention(t)
	b.OnActivity(contract.TrimRetainedActivity, mock.Anything, mock.Anything).
		Return(contract.RetentionResult{}, temporarily()).Times(8)
	done := contract.RetentionResult{Rows: map[string]int64{"payloads": 7}}
	b.OnActivity(contract.TrimRetainedActivity, mock.Anything, mock.Anything).Return(done, nil).Once()
	started := b.Now()

	result, err := b.run(contract.RetentionInput{})
	require.NoError(t, err)
	require.Equal(t, done, result)
	require.Equal(t, (1+2+4+8+16+32+60+60)*time.Second, b.Now().Sub(started), "within a minute of the database being back")
}

func TestTrimmingThatCannotSucceedFailsTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setupRetention(t)
	b.OnActivity(contract.TrimRetainedActivity, mock.Anything, mock.Anything).
		Return(contract.RetentionResult{}, finally(contract.FailureDataRejected)).Once()

	_, err := b.run(contract.RetentionInput{})
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.Equal(t, string(contract.FailureDataRejected), application.Type())
}
