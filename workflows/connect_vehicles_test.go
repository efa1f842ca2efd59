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

const consentID = "6f0f7d3a-5a44-4f52-9b7e-3f5a1c0b2d11"

// connectBundle is ConnectVehicles with activities that are replaced one by one.
type connectBundle struct {
	*testsuite.TestWorkflowEnvironment

	t *testing.T
	// queues has the queue of every activity that was begun; local are those that ran within the workflow task.
	queues map[string]string
	local  []string
}

func setupConnect(t *testing.T) *connectBundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &connectBundle{
		TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t, queues: map[string]string{},
	}
	b.SetTestTimeout(time.Minute)
	workflows.Register(b)
	register(b.TestWorkflowEnvironment, contract.ExchangeCodeActivity, exchangeCode)
	register(b.TestWorkflowEnvironment, contract.ListConsentVehiclesActivity, listConsentVehicles)
	register(b.TestWorkflowEnvironment, contract.ConnectVehicleActivity, connectVehicle)
	register(b.TestWorkflowEnvironment, contract.SubscribeVehicleActivity, subscribeVehicle)
	register(b.TestWorkflowEnvironment, contract.ResumeVehicleActivity, resumeVehicle)
	register(b.TestWorkflowEnvironment, contract.CloseConsentActivity, closeConsent)
	b.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		b.queues[info.ActivityType.Name] = info.TaskQueue
	})
	b.SetOnLocalActivityStartedListener(func(info *activity.Info, _ context.Context, _ []any) {
		b.local = append(b.local, info.ActivityType.Name)
	})
	t.Cleanup(func() { b.AssertExpectations(t) })
	return b
}

// These stand in for activities that a test says nothing of.

func exchangeCode(context.Context, contract.ExchangeCodeInput) (contract.ExchangeCodeResult, error) {
	return contract.ExchangeCodeResult{}, unexpected()
}

func listConsentVehicles(context.Context, contract.ListConsentVehiclesInput) (contract.ListConsentVehiclesResult, error) {
	return contract.ListConsentVehiclesResult{}, unexpected()
}

func connectVehicle(context.Context, contract.ConnectVehicleInput) (contract.ConnectVehicleResult, error) {
	return contract.ConnectVehicleResult{}, unexpected()
}

func subscribeVehicle(context.Context, contract.SubscribeVehicleInput) (struct{}, error) {
	return struct{}{}, unexpected()
}

func resumeVehicle(context.Context, contract.ResumeVehicleInput) (contract.ResumeVehicleResult, error) {
	return contract.ResumeVehicleResult{}, unexpected()
}

func closeConsent(context.Context, contract.CloseConsentInput) (struct{}, error) {
	return struct{}{}, unexpected()
}

func (b *connectBundle) exchanges(result contract.ExchangeCodeResult) {
	b.OnActivity(contract.ExchangeCodeActivity, mock.Anything, contract.ExchangeCodeInput{ConsentID: consentID}).
		Return(result, nil).Once()
}

func (b *connectBundle) lists(result contract.ListConsentVehiclesResult) {
	b.OnActivity(contract.ListConsentVehiclesActivity, mock.Anything, contract.ListConsentVehiclesInput{ConsentID: consentID}).
		Return(result, nil).Once()
}

func (b *connectBundle) connects(vehicle string, refused contract.ConnectReason) {
	b.OnActivity(contract.ConnectVehicleActivity, mock.Anything, contract.ConnectVehicleInput{
		ConsentID: consentID, SmartcarVehicleID: vehicle,
	}).Return(contract.ConnectVehicleResult{Refused: refused}, nil).Once()
}

func (b *connectBundle) subscribes(vehicle string) {
	b.OnActivity(contract.SubscribeVehicleActivity, mock.Anything, contract.SubscribeVehicleInput{SmartcarVehicleID: vehicle}).
		Return(struct{}{}, nil).Once()
}

func (b *connectBundle) resumes(refused contract.ConnectReason) {
	b.OnActivity(contract.ResumeVehicleActivity, mock.Anything, contract.ResumeVehicleInput{SmartcarVehicleID: vehicle}).
		Return(contract.ResumeVehicleResult{Refused: refused}, nil).Once()
}

func (b *connectBundle) closes(reason contract.ConnectReason) {
	b.OnActivity(contract.CloseConsentActivity, mock.Anything, contract.CloseConsentInput{ConsentID: consentID, Reason: reason}).
		Return(struct{}{}, nil).Once()
}

func (b *connectBundle) run() (contract.ConnectVehiclesResult, error) {
	b.t.Helper()
	b.ExecuteWorkflow(contract.ConnectVehiclesWorkflow, contract.ConnectVehiclesInput{ConsentID: consentID})
	require.True(b.t, b.IsWorkflowCompleted())
	var result contract.ConnectVehiclesResult
	if err := b.GetWorkflowError(); err != nil {
		return result, err
	}
	require.NoError(b.t, b.GetWorkflowResult(&result))
	return result, nil
}

// requireResult runs the workflow, which must complete.
func (b *connectBundle) requireResult(connected int, reason contract.ConnectReason) {
	b.t.Helper()
	result, err := b.run()
	require.NoError(b.t, err)
	require.Equal(b.t, contract.ConnectVehiclesResult{Connected: connected, Reason: reason}, result)
}

func TestTheVehiclesOfAConsentAreConnectedAndSubscribed(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{})
	b.lists(contract.ListConsentVehiclesResult{SmartcarVehicleIDs: []string{"first", "second"}})
	for _, each := range []string{"first", "second"} {
		b.connects(each, "")
		b.subscribes(each)
	}
	b.closes("")

	b.requireResult(2, "")
	require.Equal(t, map[string]string{
		contract.ExchangeCodeActivity:        contract.SmartcarTaskQueue,
		contract.ListConsentVehiclesActivity: contract.SmartcarTaskQueue,
		contract.ConnectVehicleActivity:      contract.SmartcarTaskQueue,
		contract.SubscribeVehicleActivity:    contract.SmartcarTaskQueue,
	}, b.queues, "what asks Smartcar runs on the queue whose rate is limited")
	require.Equal(t, []string{contract.CloseConsentActivity}, b.local)
}

func TestACodeThatIsRefusedClosesTheConsentWithTheReason(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{Refused: contract.ReasonCodeExpired})
	b.closes(contract.ReasonCodeExpired)
	b.requireResult(0, contract.ReasonCodeExpired)
}

func TestAReauthenticationResumesItsVehicleAndListsNone(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{ReauthenticatedVehicleID: vehicle})
	b.resumes("")
	b.closes("")
	b.requireResult(1, "")
}

func TestAReauthenticationThatIsRefusedClosesTheConsentWithTheReason(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{ReauthenticatedVehicleID: vehicle})
	b.resumes(contract.ReasonReauthenticationFailed)
	b.closes(contract.ReasonReauthenticationFailed)
	b.requireResult(0, contract.ReasonReauthenticationFailed)
}

func TestAConsentForNoVehicleClosesWithTheReason(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{})
	b.lists(contract.ListConsentVehiclesResult{Refused: contract.ReasonNoVehicles})
	b.closes(contract.ReasonNoVehicles)
	b.requireResult(0, contract.ReasonNoVehicles)
}

func TestARefusedVehicleDoesNotSpoilTheOthers(t *testing.T) {
	t.Parallel()
	vehicles := []string{"first", "second", "third"}
	for _, refused := range vehicles {
		t.Run(refused+" of three", func(t *testing.T) {
			t.Parallel()
			b := setupConnect(t)
			b.exchanges(contract.ExchangeCodeResult{})
			b.lists(contract.ListConsentVehiclesResult{SmartcarVehicleIDs: vehicles})
			for _, each := range vehicles {
				if each == refused {
					b.connects(each, contract.ReasonOtherOwner)
					continue
				}
				b.connects(each, "")
				b.subscribes(each)
			}
			b.closes("")
			b.requireResult(2, "")
		})
	}
}

func TestAVehicleThatCannotBeSubscribedLeavesTheOthersTheirTurn(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	vehicles := []string{"first", "second"}
	b.exchanges(contract.ExchangeCodeResult{})
	b.lists(contract.ListConsentVehiclesResult{SmartcarVehicleIDs: vehicles})
	for _, each := range vehicles {
		b.connects(each, "")
	}
	b.closes("")
	b.OnActivity(contract.SubscribeVehicleActivity, mock.Anything, contract.SubscribeVehicleInput{SmartcarVehicleID: "first"}).
		Return(struct{}{}, unexpected()).Once()
	attempts := 0
	b.OnActivity(contract.SubscribeVehicleActivity, mock.Anything, contract.SubscribeVehicleInput{SmartcarVehicleID: "second"}).
		Return(func(context.Context, contract.SubscribeVehicleInput) (struct{}, error) {
			if attempts++; attempts < 3 {
				return struct{}{}, temporal.NewApplicationError("Smartcar is away", "unavailable")
			}
			return struct{}{}, nil
		})

	_, err := b.run()
	require.ErrorContains(t, err, "not expected to run")
	require.Equal(t, 3, attempts, "the second is subscribed all the same")
}

func TestAConsentWhoseVehiclesAreAllRefusedClosesWithTheReasonOfTheLast(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{})
	b.lists(contract.ListConsentVehiclesResult{SmartcarVehicleIDs: []string{"first", "second"}})
	b.connects("first", contract.ReasonOtherOwner)
	b.connects("second", contract.ReasonVehicleRefused)
	b.closes(contract.ReasonVehicleRefused)
	b.requireResult(0, contract.ReasonVehicleRefused)
}

func TestVehiclesThatWereLeftOutOfTheListCountOnlyWhenNoneIsConnected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refused, closed contract.ConnectReason
		connected       int
	}{
		"one was connected": {"", "", 1},
		"none was":          {contract.ReasonOtherOwner, contract.ReasonOtherOwner, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupConnect(t)
			b.exchanges(contract.ExchangeCodeResult{})
			b.lists(contract.ListConsentVehiclesResult{
				SmartcarVehicleIDs: []string{"proven"}, Refused: contract.ReasonUserUnproven,
			})
			b.connects("proven", test.refused)
			if test.connected > 0 {
				b.subscribes("proven")
			}
			b.closes(test.closed)
			b.requireResult(test.connected, test.closed)
		})
	}
}
