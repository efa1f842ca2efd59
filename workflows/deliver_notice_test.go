package workflows_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	noticeID = "msg_4a1f0c52-76a6-4d9c-8f0b-5d3a52a7c7e1"
	// fiveDays is how long a notice is offered.
	fiveDays = 5 * 24 * time.Hour
)

// noticeBundle is DeliverNotice with activities that are replaced one by one.
type noticeBundle struct {
	*testsuite.TestWorkflowEnvironment

	t *testing.T
	// tried are the times of the tries to deliver.
	tried []time.Time
}

func setupNotice(t *testing.T) *noticeBundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &noticeBundle{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t}
	b.SetTestTimeout(time.Minute)
	workflows.Register(b)
	register(b.TestWorkflowEnvironment, contract.DeliverNoticeActivity, deliverNotice)
	register(b.TestWorkflowEnvironment, contract.GiveNoticeUpActivity, giveNoticeUp)
	b.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name == contract.DeliverNoticeActivity {
			b.tried = append(b.tried, b.Now())
		}
	})
	t.Cleanup(func() { b.AssertExpectations(t) })
	return b
}

func deliverNotice(context.Context, contract.DeliverNoticeInput) (struct{}, error) {
	return struct{}{}, unexpected()
}

func giveNoticeUp(context.Context, contract.DeliverNoticeInput) (struct{}, error) {
	return struct{}{}, unexpected()
}

// delivers has the application take the notice.
func (b *noticeBundle) delivers() {
	b.onNotice(contract.DeliverNoticeActivity).Return(struct{}{}, nil).Once()
}

func (b *noticeBundle) onNotice(activity string) *testsuite.MockCallWrapper {
	return b.OnActivity(activity, mock.Anything, contract.DeliverNoticeInput{NoticeID: noticeID})
}

func (b *noticeBundle) run() (contract.DeliverNoticeResult, error) {
	b.t.Helper()
	b.ExecuteWorkflow(contract.DeliverNoticeWorkflow, contract.DeliverNoticeInput{NoticeID: noticeID})
	require.True(b.t, b.IsWorkflowCompleted())
	var result contract.DeliverNoticeResult
	if err := b.GetWorkflowError(); err != nil {
		return result, err
	}
	require.NoError(b.t, b.GetWorkflowResult(&result))
	return result, nil
}

func (b *noticeBundle) requireDelivered() {
	b.t.Helper()
	result, err := b.run()
	require.NoError(b.t, err)
	require.True(b.t, result.Delivered)
}

func (b *noticeBundle) requireFailure(class contract.FailureClass) {
	b.t.Helper()
	_, err := b.run()
	var application *temporal.ApplicationError
	require.ErrorAs(b.t, err, &application)
	require.Equal(b.t, string(class), application.Type())
	require.True(b.t, application.NonRetryable())
}

func TestANoticeIsDelivered(t *testing.T) {
	t.Parallel()
	b := setupNotice(t)
	b.delivers()
	b.requireDelivered()
	require.Len(t, b.tried, 1)
}

func TestANoticeThatIsNotTakenIsOfferedAgainAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	b := setupNotice(t)
	b.onNotice(contract.DeliverNoticeActivity).Return(struct{}{}, temporarily()).Times(9)
	b.delivers()
	b.requireDelivered()
	require.Len(t, b.tried, 10)
	for i, pause := 1, 5*time.Second; i < len(b.tried); i, pause = i+1, pause*2 {
		require.Equal(t, pause, b.tried[i].Sub(b.tried[i-1]))
	}
}

func TestANoticeIsDeliveredToAnApplicationThatWasAwayForDays(t *testing.T) {
	t.Parallel()
	b := setupNotice(t)
	b.onNotice(contract.DeliverNoticeActivity).Return(struct{}{}, afterwards(13*time.Hour)).Times(9)
	b.delivers()
	started := b.Now()
	b.requireDelivered()
	require.Equal(t, 9*13*time.Hour, b.Now().Sub(started), "nearly five days")
}

func TestANoticeThatWasNotTakenForFiveDaysIsGivenUpAndNeedsAPerson(t *testing.T) {
	t.Parallel()
	b := setupNotice(t)
	b.onNotice(contract.DeliverNoticeActivity).Return(struct{}{}, afterwards(14*time.Hour))
	b.onNotice(contract.GiveNoticeUpActivity).Return(struct{}{}, nil).Once()
	started := b.Now()

	b.requireFailure(contract.FailureNoticeNotTaken)
	offered := b.tried[len(b.tried)-1].Sub(started)
	require.Less(t, offered, fiveDays)
	require.Greater(t, offered, fiveDays-14*time.Hour, "it is offered for as long as there is time for one more try")
	require.Less(t, len(b.tried), 10, "what ended it is the time, and not the environment's limit of tries")
}

func TestGivingANoticeUpIsTriedUntilItWorks(t *testing.T) {
	t.Parallel()
	b := setupNotice(t)
	b.onNotice(contract.DeliverNoticeActivity).Return(struct{}{}, afterwards(14*time.Hour))
	b.onNotice(contract.GiveNoticeUpActivity).Return(struct{}{}, temporarily()).Times(6)
	b.onNotice(contract.GiveNoticeUpActivity).Return(struct{}{}, nil).Once()

	b.requireFailure(contract.FailureNoticeNotTaken)
}

func TestANoticeThatCannotBeGivenUpFailsWithTheReason(t *testing.T) {
	t.Parallel()
	b := setupNotice(t)
	b.onNotice(contract.DeliverNoticeActivity).Return(struct{}{}, afterwards(14*time.Hour))
	b.onNotice(contract.GiveNoticeUpActivity).Return(struct{}{}, finally(contract.FailureDataRejected)).Once()

	b.requireFailure(contract.FailureDataRejected)
}

func TestACancelledDeliveryGivesNothingUp(t *testing.T) {
	t.Parallel()
	for name, offer := range map[string]func(*noticeBundle){
		"between two tries": func(b *noticeBundle) {
			b.onNotice(contract.DeliverNoticeActivity).Return(struct{}{}, afterwards(time.Hour)).Times(2)
		},
		"during a try": func(b *noticeBundle) {
			b.onNotice(contract.DeliverNoticeActivity).After(2*time.Hour).Return(struct{}{}, nil).Once()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupNotice(t)
			offer(b)
			b.RegisterDelayedCallback(b.CancelWorkflow, 90*time.Minute)

			_, err := b.run()
			require.True(t, temporal.IsCanceledError(err), "%v", err)
		})
	}
}
