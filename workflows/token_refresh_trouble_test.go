package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

const lastError = "invalid_client"

// inVain lets so many refreshes fail.
func (b *tokenBundle) inVain(err error, times int) { b.vain, b.vainTimes = err, times }

func credentialsRefused() error {
	return temporal.NewApplicationErrorWithOptions("check the settings", contract.ErrorCredentialsRefused,
		temporal.ApplicationErrorOptions{NextRetryDelay: 15 * time.Minute})
}

func TestWhatAnOperatorMustPutRightIsShownAndADisconnectIsHeardMeanwhile(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.inVain(credentialsRefused(), 100)
	b.RegisterDelayedCallback(func() {
		require.Len(t, b.refreshes, 1, "trying again would not help")
		status := b.status()
		require.Equal(t, contract.PhaseRefreshing, status.State)
		require.Equal(t, lastError, status.LastError)
		require.WithinDuration(t, b.Now().Add(14*time.Minute), status.NextRefreshAt, time.Second)
	}, 91*time.Minute)
	b.endAfter(92 * time.Minute)
	b.RegisterDelayedCallback(func() { require.Equal(t, 1, b.ended) }, 93*time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
	require.Len(t, b.refreshes, 1)
}

func TestARefreshInVainIsTriedAgainAtGrowingPausesUntilItWorks(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.inVain(temporal.NewApplicationError("no answer", "smartcar_unavailable"), 30)
	b.RegisterDelayedCallback(func() {
		require.GreaterOrEqual(t, len(b.refreshes), 9, "the first minute is the one that counts")
		require.Equal(t, lastError, b.status().LastError)
	}, 91*time.Minute)
	b.RegisterDelayedCallback(func() {
		require.Len(t, b.refreshes, 31)
		status := b.status()
		require.Equal(t, contract.PhaseSleeping, status.State)
		require.Empty(t, status.LastError)
		require.Equal(t, 1, status.Refreshes)
	}, 2*time.Hour)
	b.endAfter(2*time.Hour + time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestARefreshThatWasAskedForInVainIsNotForgotten(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.inVain(credentialsRefused(), 2)
	b.after(time.Minute, contract.SignalRefreshNow, func() {})
	b.after(2*time.Minute, contract.SignalRefreshNow, func() { require.Len(t, b.refreshes, 1) })
	b.RegisterDelayedCallback(func() { require.Len(t, b.refreshes, 2, "asked again, it does not wait") }, 3*time.Minute)
	b.RegisterDelayedCallback(func() { require.Len(t, b.refreshes, 3) }, 20*time.Minute)
	b.endAfter(21 * time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestARefreshInVainIsOverWhenTheVehicleHasANewFamily(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.stored.TokenID = 1
	b.inVain(credentialsRefused(), 1)
	b.after(time.Minute, contract.SignalRefreshNow, func() {})
	b.after(2*time.Minute, contract.SignalReconnected, func() {
		b.stored = b.issued(1)
		b.stored.TokenID = 2
	})
	b.RegisterDelayedCallback(func() {
		require.Len(t, b.refreshes, 1, "the pair that was issued a moment ago is good")
		require.EqualValues(t, 1, b.refreshes[0].TokenID)
		require.Equal(t, contract.PhaseSleeping, b.status().State)
	}, time.Hour)
	b.endAfter(time.Hour + time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestARefreshThatWasAskedForInVainIsCarriedOver(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.SetCurrentHistoryLength(10)
	b.inVain(credentialsRefused(), 100)
	b.after(time.Minute, contract.SignalRefreshNow, func() {})
	b.RegisterDelayedCallback(func() {
		b.SetCurrentHistoryLength(200)
		b.SignalWorkflow(contract.SignalReconnected, nil)
	}, 2*time.Minute)
	b.start(contract.TokenRefreshInput{ContinueAfter: 100})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, b.GetWorkflowError(), &again)
	var next contract.TokenRefreshInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &next))
	require.True(t, next.RefreshNow)
}

// TestAVehicleThatIsConnectedAgainAsItEndsGoesOn: the signal comes while the last activity says that all is over.
func TestAVehicleThatIsConnectedAgainAsItEndsGoesOn(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.OnActivity(contract.RefreshTokensActivity, mock.Anything, mock.Anything).Return(
		func(context.Context, contract.RefreshTokensInput) (contract.TokenStatus, error) {
			b.SignalWorkflow(contract.SignalReconnected, nil)
			b.stored = b.issued(1) // as the activity found nothing, the owner came back
			return contract.TokenStatus{State: contract.ConnectionEnded}, nil
		}).Once()
	b.RegisterDelayedCallback(func() { require.Equal(t, contract.PhaseSleeping, b.status().State) }, 91*time.Minute)
	b.endAfter(92 * time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
	require.Equal(t, 1, b.ended)
}
