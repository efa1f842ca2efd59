package workflows_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

const vehicle = "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90"

// tokenBundle is TokenRefresh with a vehicle whose tokens live for two hours.
type tokenBundle struct {
	*testsuite.TestWorkflowEnvironment

	t      *testing.T
	stored contract.TokenStatus
	// refreshes and refreshedAt are what the activity was asked for.
	refreshes []contract.RefreshTokensInput
	// vain is what so many refreshes fail with.
	vain      error
	vainTimes int
	ended     int
}

func setupTokens(t *testing.T) *tokenBundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &tokenBundle{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t}
	b.SetStartTime(observedAt())
	b.SetTestTimeout(time.Minute)
	workflows.Register(b)
	b.stored = b.issued(1)
	register(b.TestWorkflowEnvironment, contract.LoadTokenStatusActivity,
		func(context.Context, contract.LoadTokenStatusInput) (contract.TokenStatus, error) {
			return b.stored, nil
		})
	register(b.TestWorkflowEnvironment, contract.RefreshTokensActivity,
		func(_ context.Context, input contract.RefreshTokensInput) (contract.TokenStatus, error) {
			b.refreshes = append(b.refreshes, input)
			if b.vainTimes--; b.vainTimes >= 0 {
				b.stored.LastError = lastError
				return contract.TokenStatus{}, b.vain
			}
			if b.stored.Generation == input.Generation {
				b.stored = b.issued(input.Generation + 1)
			}
			return b.stored, nil
		})
	register(b.TestWorkflowEnvironment, contract.EndConnectionActivity,
		func(context.Context, contract.EndConnectionInput) (struct{}, error) {
			b.ended++
			b.stored = contract.TokenStatus{State: contract.ConnectionEnded}
			return struct{}{}, nil
		})
	return b
}

func (b *tokenBundle) issued(generation int64) contract.TokenStatus {
	now := b.Now()
	return contract.TokenStatus{
		State: contract.ConnectionActive, Generation: generation, IssuedAt: now,
		ExpiresAt: now.Add(2 * time.Hour), RefreshAt: now.Add(90 * time.Minute),
	}
}

// after changes the database and tells the workflow, as the rest of Milepost does.
func (b *tokenBundle) after(delay time.Duration, signal string, change func()) {
	b.RegisterDelayedCallback(func() {
		change()
		b.SignalWorkflow(signal, nil)
	}, delay)
}

func (b *tokenBundle) endAfter(delay time.Duration) {
	b.after(delay, contract.SignalDisconnect, func() { b.stored.State = contract.ConnectionDisconnecting })
}

func (b *tokenBundle) start(input contract.TokenRefreshInput) {
	b.t.Helper()
	input.SmartcarVehicleID = vehicle
	b.ExecuteWorkflow(contract.TokenRefreshWorkflow, input)
	require.True(b.t, b.IsWorkflowCompleted())
}

func (b *tokenBundle) status() contract.TokenRefreshStatus {
	b.t.Helper()
	answer, err := b.QueryWorkflow(contract.QueryTokenRefreshStatus)
	require.NoError(b.t, err)
	var status contract.TokenRefreshStatus
	require.NoError(b.t, answer.Get(&status))
	return status
}

func TestTokensAreRefreshedWhenTheyAreDueAndNotBefore(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.RegisterDelayedCallback(func() { require.Empty(t, b.refreshes) }, 89*time.Minute)
	b.RegisterDelayedCallback(func() {
		require.Len(t, b.refreshes, 1)
		status := b.status()
		require.Equal(t, contract.PhaseSleeping, status.State)
		require.Equal(t, 1, status.Refreshes)
		require.WithinDuration(t, b.Now().Add(89*time.Minute), status.NextRefreshAt, time.Minute)
	}, 91*time.Minute)
	b.endAfter(10 * time.Hour)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
	require.Len(t, b.refreshes, 6)
	require.Equal(t, 1, b.ended)
}

func TestAFamilyThatAnotherVehicleHasRefreshedIsNotCountedAsOnesOwn(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.RegisterDelayedCallback(func() { b.stored = b.issued(2) }, 80*time.Minute)
	b.RegisterDelayedCallback(func() {
		require.Len(t, b.refreshes, 1)
		require.Equal(t, int64(1), b.refreshes[0].Generation, "what was due is named, so that the other's is left alone")
		require.Equal(t, int64(2), b.stored.Generation)
	}, 100*time.Minute)
	b.endAfter(110 * time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestRefreshNowDoesNotWait(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.after(time.Minute, contract.SignalRefreshNow, func() {})
	b.RegisterDelayedCallback(func() { require.Len(t, b.refreshes, 1) }, 2*time.Minute)
	b.endAfter(3 * time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
	require.Len(t, b.refreshes, 1)
}

func TestARefusedFamilyWaitsForItsOwner(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.stored.State = contract.ConnectionReauthRequired
	b.RegisterDelayedCallback(func() {
		require.Empty(t, b.refreshes, "a refused token is not tried again and again")
		require.Equal(t, contract.PhaseReauthRequired, b.status().State)
	}, 30*24*time.Hour)
	b.after(31*24*time.Hour, contract.SignalReconnected, func() { b.stored = b.issued(5) })
	b.RegisterDelayedCallback(func() { require.Equal(t, contract.PhaseSleeping, b.status().State) }, 31*24*time.Hour+time.Minute)
	b.endAfter(31*24*time.Hour + 2*time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestAReconnectedVehicleIsFoundEvenWithoutItsSignal(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.stored.State = contract.ConnectionReauthRequired
	b.RegisterDelayedCallback(func() { b.stored = b.issued(2) }, time.Hour)
	b.RegisterDelayedCallback(func() { require.NotEmpty(t, b.refreshes) }, 26*time.Hour)
	b.endAfter(26*time.Hour + time.Minute)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestAVehicleWithoutTokensEndsTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.stored = contract.TokenStatus{State: contract.ConnectionEnded}
	b.start(contract.TokenRefreshInput{Refreshes: 7})
	var result contract.TokenRefreshResult
	require.NoError(t, b.GetWorkflowResult(&result))
	require.Equal(t, contract.TokenRefreshResult{State: contract.ConnectionEnded, Refreshes: 7}, result)
	require.Zero(t, b.ended)
}

func TestAVehicleThatIsConnectedAgainWhileItDisconnectsGoesOn(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.OnActivity(contract.EndConnectionActivity, mock.Anything, mock.Anything).Return(
		func(context.Context, contract.EndConnectionInput) (struct{}, error) {
			b.stored = b.issued(2)
			return struct{}{}, nil
		}).Once()
	b.endAfter(time.Minute)
	b.RegisterDelayedCallback(func() { require.Equal(t, contract.PhaseSleeping, b.status().State) }, 2*time.Minute)
	b.after(3*time.Minute, contract.SignalReconnected, func() { b.stored = contract.TokenStatus{State: contract.ConnectionEnded} })
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestAStorageOutageDoesNotFailTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	b.OnActivity(contract.LoadTokenStatusActivity, mock.Anything, mock.Anything).Return(
		contract.TokenStatus{}, temporarily()).Times(5)
	b.OnActivity(contract.LoadTokenStatusActivity, mock.Anything, mock.Anything).Return(
		contract.TokenStatus{State: contract.ConnectionEnded}, nil)
	b.start(contract.TokenRefreshInput{})
	require.NoError(t, b.GetWorkflowError())
}

func TestTheHistoryIsContinuedAndNothingIsDropped(t *testing.T) {
	t.Parallel()
	b := setupTokens(t)
	// The environment keeps no history; what it says of its length is what counts.
	b.SetCurrentHistoryLength(10)
	b.RegisterDelayedCallback(func() {
		b.SetCurrentHistoryLength(200)
		b.SignalWorkflow(contract.SignalRefreshNow, nil)
	}, time.Minute)
	b.start(contract.TokenRefreshInput{Refreshes: 3, ContinueAfter: 100})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, b.GetWorkflowError(), &again)
	var next contract.TokenRefreshInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &next))
	require.Equal(t, contract.TokenRefreshInput{SmartcarVehicleID: vehicle, RefreshNow: true, Refreshes: 3, ContinueAfter: 100}, next)
}
