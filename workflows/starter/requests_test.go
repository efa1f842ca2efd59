package starter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
	"github.com/milepost/milepost/workflows/starter"
)

// manyConsents returns requests to connect "consent-0" to "consent-n-1".
func manyConsents(number int) []db.WorkflowRequest {
	requests := make([]db.WorkflowRequest, number)
	for i := range requests {
		requests[i] = connecting(fmt.Sprint("consent-", i))
	}
	return requests
}

func (b *requestsBundle) requireEachTriedOnce(t *testing.T, number int) {
	t.Helper()
	tries := b.temporal.triesByID()
	require.Len(t, tries, number)
	for workflowID, tried := range tries {
		require.Equal(t, 1, tried, workflowID)
	}
}

func TestEachKindOfRequestBecomesItsWorkflow(t *testing.T) {
	t.Parallel()
	for kind, test := range map[string]struct {
		request      db.WorkflowRequest
		id, workflow string
		input        any
		policy       enumspb.WorkflowIdReusePolicy
		signals      []string
		vehicle      string
	}{
		db.RequestConnectVehicles: {
			connecting(consent), "connect/" + consent, "ConnectVehicles",
			contract.ConnectVehiclesInput{ConsentID: consent}, failedOnly, nil, "",
		},
		db.RequestDeliverNotice: {
			delivering(notice), "notice/" + notice, "DeliverNotice",
			contract.DeliverNoticeInput{NoticeID: notice}, failedOnly, nil, "",
		},
		db.RequestTokenRefresh: {
			refreshing(vehicle, db.SignalRefreshNow), "token-refresh/" + vehicle, "TokenRefresh",
			contract.TokenRefreshInput{SmartcarVehicleID: vehicle}, duplicate, []string{contract.SignalRefreshNow}, vehicle,
		},
		db.RequestReconcile: {
			reconciling(), "reconcile", "Reconcile", contract.ReconcileInput{}, duplicate, nil, "",
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := setupRequests(t)
			b.request(t, test.request)
			working := runRequests(t, b.deps())
			b.awaitRemoved(t, 1)
			working.stop(t)

			tried := b.temporal.tried()
			require.Len(t, tried, 1)
			require.Equal(t, test.id, tried[0].ID)
			require.Equal(t, test.workflow, tried[0].workflow)
			require.Equal(t, []any{test.input}, tried[0].args)
			require.Equal(t, "milepost", tried[0].TaskQueue)
			require.Equal(t, test.policy, tried[0].WorkflowIDReusePolicy)
			signals, _ := b.temporal.signalled()
			require.Equal(t, test.signals, signals)
			key := temporal.NewSearchAttributeKeyKeyword("SmartcarVehicleId")
			found, _ := tried[0].TypedSearchAttributes.GetKeyword(key)
			require.Equal(t, test.vehicle, found)
			require.Zero(t, b.left(t))
			require.Empty(t, b.codes.consents(), "the workflow exchanges the code")
		})
	}
}

func TestTheSignalsOfTheDatabaseAreThoseOfTheWorkflow(t *testing.T) {
	t.Parallel()
	require.Equal(t, contract.SignalReconnected, db.SignalReconnected)
	require.Equal(t, contract.SignalRefreshNow, db.SignalRefreshNow)
	require.Equal(t, contract.SignalDisconnect, db.SignalDisconnect)
}

func TestARequestWhoseWorkflowIsThereAlreadyIsDone(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]enumspb.WorkflowExecutionStatus{
		"running":   enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
		"completed": enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRequests(t)
			b.temporal.is(contract.ConnectVehiclesID(consent), status)
			b.temporal.is(contract.DeliverNoticeID(notice), status)
			b.request(t, connecting(consent), delivering(notice))
			working := runRequests(t, b.deps())
			b.awaitRemoved(t, 2)
			working.stop(t)
			b.requireEachTriedOnce(t, 2)
			require.Zero(t, b.left(t))
			require.Empty(t, b.codes.consents())
		})
	}
}

func TestARequestToReconcileWaitsForTheOneThatIsRunning(t *testing.T) {
	t.Parallel()
	b := setupRequests(t)
	b.temporal.is(contract.ReconcileID, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)
	b.request(t, reconciling(), connecting(consent))
	b.store.lease = shortLease
	working := runRequests(t, b.deps())
	eventually(t, func() bool { return b.temporal.triesByID()[contract.ReconcileID] >= 3 })
	require.Equal(t, 1, b.left(t), "the others are not held up")

	b.temporal.is(contract.ReconcileID, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED)
	b.awaitRemoved(t, 2)
	working.stop(t)
	require.Zero(t, b.left(t))
	require.Contains(t, b.logs.String(), "requests.waiting")
	require.NotContains(t, b.logs.String(), "WARN", "to wait is no fault")
}

func TestNoticesAreKeptUntilTheApplicationTakesThem(t *testing.T) {
	t.Parallel()
	b := setupRequests(t)
	b.request(t, delivering(notice), connecting(consent))
	deps := b.deps()
	deps.Notices = false
	working := runRequests(t, deps)
	b.awaitRemoved(t, 1)
	claims := b.store.claims.Load()
	eventually(t, func() bool { return b.store.claims.Load() > claims+2 })
	working.stop(t)
	require.Equal(t, 1, b.left(t))
	require.NotContains(t, b.temporal.triesByID(), contract.DeliverNoticeID(notice))

	runRequests(t, b.deps())
	b.awaitRemoved(t, 2)
	require.Contains(t, b.temporal.triesByID(), contract.DeliverNoticeID(notice), "and it was not leased meanwhile")
}

func TestMoreRequestsThanOneClaimTakesDoNotWaitForTheNextPoll(t *testing.T) {
	t.Parallel()
	const number = 150
	b := setupRequests(t)
	b.request(t, manyConsents(number)...)
	deps := b.deps()
	deps.PollInterval = never
	working := runRequests(t, deps)
	b.awaitRemoved(t, number)
	working.stop(t)
	b.requireEachTriedOnce(t, number)
}

func TestTwoProcessesSeeToEachRequestOnce(t *testing.T) {
	t.Parallel()
	const number = 150
	b := setupRequests(t)
	first, second := runRequests(t, b.deps()), runRequests(t, b.deps())
	b.request(t, manyConsents(number)...)
	b.awaitRemoved(t, number)
	first.stop(t)
	second.stop(t)
	b.requireEachTriedOnce(t, number)
	require.Zero(t, b.left(t))
}

func TestARequestThatCouldNotBeRemovedIsSeenToAgainWithoutHarm(t *testing.T) {
	t.Parallel()
	for kind, request := range map[string]db.WorkflowRequest{
		db.RequestConnectVehicles: connecting(consent),
		db.RequestDeliverNotice:   delivering(notice),
		db.RequestTokenRefresh:    refreshing(vehicle, db.SignalReconnected),
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := setupRequests(t)
			b.store.refuseRemove.Store(true)
			b.request(t, request)
			b.store.lease = shortLease
			deps := b.deps()
			deps.Lease = patience
			working := runRequests(t, deps)
			b.awaitRemoved(t, 1)
			working.stop(t)

			tried := b.temporal.tried()
			require.Len(t, tried, 2)
			claimed, lease := b.store.firstClaimed()
			require.Equal(t, patience, lease)
			require.GreaterOrEqual(t, tried[1].at.Sub(claimed), shortLease, "after its lease")
			_, begun := b.temporal.signalled()
			require.LessOrEqual(t, len(begun), 1, "what runs is signalled, not begun again")
			require.Contains(t, b.logs.String(), "requests.not_closed")
		})
	}
}

func TestRequestsAreLookedForAgainAfterTheDatabaseWasAway(t *testing.T) {
	t.Parallel()
	b := setupRequests(t)
	b.store.refuseClaim.Store(true)
	b.request(t, connecting(consent))
	working := runRequests(t, b.deps())
	b.awaitRemoved(t, 1)
	working.stop(t)
	require.Contains(t, b.logs.String(), "requests.claim_failed")
}

func TestRunIsDoneOnlyWhenWhatIsUnderWayIsDone(t *testing.T) {
	t.Parallel()
	const number, underWay = 20, 8
	b := setupRequests(t)
	answer := make(chan struct{})
	b.temporal.before = func(ctx context.Context, _ string) error {
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.request(t, manyConsents(number)...)
	working := runRequests(t, b.deps())
	eventually(t, func() bool { return len(b.temporal.tried()) == underWay })
	working.cancel()
	select {
	case <-working.done:
		require.Fail(t, "it does not wait for the starts under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(answer)
	working.stop(t)
	require.Len(t, b.temporal.tried(), underWay, "what had not begun is left to others")
	require.Equal(t, number-underWay, b.left(t))
}

func TestRequestsWithoutTheirDependenciesAreRefusedWithAllFaults(t *testing.T) {
	t.Parallel()
	_, err := starter.NewRequests(starter.RequestsDeps{})
	for _, name := range []string{"Store", "Temporal", "Logger"} {
		require.ErrorContains(t, err, name+" is missing")
	}
}
