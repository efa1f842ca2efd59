package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/workflows/contract"
)

// connectStep is one activity of ConnectVehicles: what goes before it, itself with an error, and what follows it.
type connectStep struct {
	before, after func(*connectBundle)
	fails         func(*connectBundle, error, int)
	connected     int
	// closed is true for what comes after the owner has been told.
	closed bool
}

func connectSteps() map[string]connectStep {
	return map[string]connectStep{
		contract.ExchangeCodeActivity: {
			before: func(*connectBundle) {},
			fails: func(b *connectBundle, err error, times int) {
				b.OnActivity(contract.ExchangeCodeActivity, mock.Anything, mock.Anything).
					Return(contract.ExchangeCodeResult{}, err).Times(times)
			},
			after: func(b *connectBundle) {
				b.exchanges(contract.ExchangeCodeResult{})
				b.listsTwo()
				b.connectsTwo()
			},
			connected: 2,
		},
		contract.ListConsentVehiclesActivity: {
			before: func(b *connectBundle) { b.exchanges(contract.ExchangeCodeResult{}) },
			fails: func(b *connectBundle, err error, times int) {
				b.OnActivity(contract.ListConsentVehiclesActivity, mock.Anything, mock.Anything).
					Return(contract.ListConsentVehiclesResult{}, err).Times(times)
			},
			after: func(b *connectBundle) {
				b.listsTwo()
				b.connectsTwo()
			},
			connected: 2,
		},
		contract.ConnectVehicleActivity: {
			before: func(b *connectBundle) {
				b.exchanges(contract.ExchangeCodeResult{})
				b.listsTwo()
			},
			fails: func(b *connectBundle, err error, times int) {
				b.OnActivity(contract.ConnectVehicleActivity, mock.Anything, mock.Anything).
					Return(contract.ConnectVehicleResult{}, err).Times(times)
			},
			after:     (*connectBundle).connectsTwo,
			connected: 2,
		},
		contract.SubscribeVehicleActivity: {
			before: func(b *connectBundle) {
				b.exchanges(contract.ExchangeCodeResult{})
				b.listsTwo()
				b.connects("first", "")
				b.connects("second", "")
				b.closes("")
				// It is under way beside the first; a workflow that fails does not wait for it.
				b.OnActivity(contract.SubscribeVehicleActivity, mock.Anything, contract.SubscribeVehicleInput{SmartcarVehicleID: "second"}).
					Return(struct{}{}, nil).Maybe()
			},
			fails: func(b *connectBundle, err error, times int) {
				b.OnActivity(contract.SubscribeVehicleActivity, mock.Anything, contract.SubscribeVehicleInput{SmartcarVehicleID: "first"}).
					Return(struct{}{}, err).Times(times)
			},
			after:     func(b *connectBundle) { b.subscribes("first") },
			connected: 2,
			closed:    true,
		},
		contract.ResumeVehicleActivity: {
			before: func(b *connectBundle) { b.exchanges(contract.ExchangeCodeResult{ReauthenticatedVehicleID: vehicle}) },
			fails: func(b *connectBundle, err error, times int) {
				b.OnActivity(contract.ResumeVehicleActivity, mock.Anything, mock.Anything).
					Return(contract.ResumeVehicleResult{}, err).Times(times)
			},
			after:     func(b *connectBundle) { b.resumes("") },
			connected: 1,
		},
	}
}

func (b *connectBundle) listsTwo() {
	b.lists(contract.ListConsentVehiclesResult{SmartcarVehicleIDs: []string{"first", "second"}})
}

func (b *connectBundle) connectsTwo() {
	for _, each := range []string{"first", "second"} {
		b.connects(each, "")
		b.subscribes(each)
	}
}

func TestATransientErrorOfEachStepOfConnectingIsWaitedOutAndRepeatsNothingElse(t *testing.T) {
	t.Parallel()
	for name, step := range connectSteps() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupConnect(t)
			step.before(b)
			step.fails(b, temporarily(), 5)
			step.after(b)
			if !step.closed {
				b.closes("")
			}
			started := b.Now()

			b.requireResult(step.connected, "")
			require.Equal(t, (1+2+4+8+16)*time.Second, b.Now().Sub(started))
		})
	}
}

func TestClosingAConsentIsHandedOverAndWaitedOut(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{Refused: contract.ReasonCodeExpired})
	// Once locally and five times as an ordinary activity.
	b.OnActivity(contract.CloseConsentActivity, mock.Anything, mock.Anything).Return(struct{}{}, temporarily()).Times(6)
	b.closes(contract.ReasonCodeExpired)
	started := b.Now()

	b.requireResult(0, contract.ReasonCodeExpired)
	require.Equal(t, (1+2+4+8+16)*time.Second, b.Now().Sub(started))
	require.Len(t, b.local, 1)
	require.NotEqual(t, contract.SmartcarTaskQueue, b.queues[contract.CloseConsentActivity])
}

func TestAFinalErrorOfEachStepOfConnectingFailsTheWorkflowWithItsClass(t *testing.T) {
	t.Parallel()
	for name, step := range connectSteps() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupConnect(t)
			step.before(b)
			step.fails(b, finally(contract.FailureDataRejected), 1)
			if !step.closed {
				b.closes(contract.ReasonInternal) // the owner is told
			}

			_, err := b.run()
			var application *temporal.ApplicationError
			require.ErrorAs(t, err, &application)
			require.Equal(t, string(contract.FailureDataRejected), application.Type())
		})
	}
}

func TestAFinalErrorOfClosingAConsentFailsTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.exchanges(contract.ExchangeCodeResult{Refused: contract.ReasonCodeExpired})
	b.OnActivity(contract.CloseConsentActivity, mock.Anything, mock.Anything).
		Return(struct{}{}, finally(contract.FailureDataRejected)).Once()

	_, err := b.run()
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.Equal(t, string(contract.FailureDataRejected), application.Type())
}

func TestADelayThatSmartcarAskedForIsKeptToForDays(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.OnActivity(contract.ExchangeCodeActivity, mock.Anything, mock.Anything).
		Return(contract.ExchangeCodeResult{}, afterwards(24*time.Hour)).Times(9)
	b.exchanges(contract.ExchangeCodeResult{Refused: contract.ReasonCodeExpired})
	b.closes(contract.ReasonCodeExpired)
	started := b.Now()

	b.requireResult(0, contract.ReasonCodeExpired)
	require.Equal(t, 9*24*time.Hour, b.Now().Sub(started))
}

// afterwards is an error that says itself when to try again. The environment tries ten times at most, Temporal
// without end; this makes ten tries last for days.
func afterwards(delay time.Duration) error {
	return temporal.NewApplicationErrorWithOptions("later", "later", temporal.ApplicationErrorOptions{NextRetryDelay: delay})
}

func TestAConsentWhoseWorkflowIsCancelledIsNotClosed(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.OnActivity(contract.ExchangeCodeActivity, mock.Anything, mock.Anything).
		Return(contract.ExchangeCodeResult{}, temporarily())
	b.RegisterDelayedCallback(b.CancelWorkflow, 2*time.Minute)

	_, err := b.run()
	require.True(t, temporal.IsCanceledError(err), "%v", err)
}
