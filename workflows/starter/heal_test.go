package starter_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
	"github.com/milepost/milepost/workflows/starter"
)

const (
	failedOnly = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
	duplicate  = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
)

// receiveStarted makes rows that say "started" and are not closed.
func (b *bundle) receiveStarted(t *testing.T, eventIDs ...string) {
	t.Helper()
	for _, eventID := range eventIDs {
		b.receive(t, delivery(eventID))
	}
	claimed, err := b.store.ClaimEvents(t.Context(), int32(len(eventIDs)), time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, len(eventIDs))
	require.NoError(t, b.store.MarkEventsStarted(t.Context(), claimed))
}

// healing are the dependencies of a starter that compares rows with Temporal soon.
func (b *bundle) healing() starter.Deps {
	deps := b.deps()
	deps.HealAfter = 100 * time.Millisecond
	return deps
}

func TestAStartedRowIsLeftAloneWhileItsWorkflowRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.is("one", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)
	b.receiveStarted(t, "one")
	working := run(t, b.healing())
	// When it is described again, the first description has had its consequences.
	eventually(t, func() bool { return b.temporal.described() >= 2 })
	working.stop(t)
	require.Equal(t, db.StatusStarted, b.show(t, "one").Status)
	require.Empty(t, b.temporal.tried())
}

func TestARowIsNotComparedWithTemporalBeforeItsTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.is("one", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)
	b.receive(t, delivery("one"))
	deps := b.healing()
	deps.HealAfter = time.Second
	working := run(t, deps)
	eventually(t, func() bool { return b.temporal.described() > 0 })
	working.stop(t)
	require.GreaterOrEqual(t, time.Since(b.temporal.tried()[0].at), time.Second)
}

func TestAStartedRowWhoseWorkflowHadNoEffectIsStartedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status enumspb.WorkflowExecutionStatus
		policy enumspb.WorkflowIdReusePolicy
	}{
		"because Temporal does not know it":      {enumspb.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED, failedOnly},
		"because it failed":                      {enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, failedOnly},
		"because it completed without an effect": {enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, duplicate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if c.status != enumspb.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED {
				b.temporal.is("one", c.status)
			}
			b.receiveStarted(t, "one")
			working := run(t, b.healing())
			eventually(t, func() bool { return len(b.temporal.tried()) > 0 })
			b.awaitStatus(t, "one", db.StatusStarted)
			working.stop(t)

			attempts := b.temporal.tried()
			require.Len(t, attempts, 1, "the new workflow runs")
			require.Equal(t, c.policy, attempts[0].WorkflowIDReusePolicy)
			require.Equal(t, "one", attempts[0].ID)
		})
	}
}

func TestAStartedRowWhoseWorkflowWasStoppedIsFailedUntilAPersonRetriesIt(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]enumspb.WorkflowExecutionStatus{
		"by a termination":  enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED,
		"by a cancellation": enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED,
		"by a timeout":      enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.temporal.is("one", status)
			b.receiveStarted(t, "one")
			run(t, b.healing())
			b.awaitStatus(t, "one", db.StatusFailed)
			failed := b.show(t, "one")
			require.Equal(t, string(contract.FailureWorkflowStopped), *failed.FailureClass)
			require.Contains(t, *failed.FailureDetail, "ended as "+status.String())
			require.Empty(t, b.temporal.tried())

			require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "one", Actor: "support"}))
			b.awaitStatus(t, "one", db.StatusStarted)
			require.Equal(t, failedOnly, b.temporal.tried()[0].WorkflowIDReusePolicy)
		})
	}
}

func TestARowIsHealedAfterTemporalWasAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var asked atomic.Int64
	b.temporal.describing = func(string) error {
		if asked.Add(1) <= 2 {
			return serviceerror.NewUnavailable("away")
		}
		return nil
	}
	b.receiveStarted(t, "lost", "lost too")
	run(t, b.healing())
	eventually(t, func() bool { return len(b.temporal.triesByID()) == 2 })
	b.awaitAllStarted(t, 2)
}

func TestARowThatClosesWhileItIsHealedStaysClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.describing = func(eventID string) error {
		closing := db.Closing{EventID: eventID, Outcome: string(contract.OutcomeNoOdometer)}
		if err := b.store.CloseEvent(t.Context(), closing); err != nil {
			return err
		}
		if eventID == "stopped" {
			b.temporal.workflows[eventID] = enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED
		}
		return nil
	}
	b.receiveStarted(t, "lost", "stopped")
	working := run(t, b.healing())
	eventually(t, func() bool { return b.temporal.described() == 2 })
	working.stop(t)
	for _, eventID := range []string{"lost", "stopped"} {
		require.Equal(t, db.StatusProcessed, b.show(t, eventID).Status)
	}
	require.Empty(t, b.temporal.tried())
}
