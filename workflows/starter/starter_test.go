package starter_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
	"github.com/milepost/milepost/workflows/starter"
)

// many returns deliveries "<name> 0" to "<name> n-1".
func many(name string, number int) []db.Delivery {
	deliveries := make([]db.Delivery, number)
	for i := range deliveries {
		deliveries[i] = delivery(fmt.Sprintf("%s-%d", name, i))
	}
	return deliveries
}

func requireEachTriedOnce(t *testing.T, b *bundle, rows int) {
	t.Helper()
	tries := b.temporal.triesByID()
	require.Len(t, tries, rows)
	for eventID, number := range tries {
		require.Equal(t, 1, number, eventID)
	}
}

func TestEveryReceivedRowIsStartedOnceUnderItsEventID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	nameless := delivery("without-vehicle")
	nameless.SmartcarVehicleID, nameless.EventType = "", "VEHICLE_ERROR"
	b.receive(t, append(many("event", 100), nameless)...)
	deps := b.deps()
	deps.UnknownVehicleGrace = 3 * time.Minute
	working := run(t, deps)
	b.awaitAllStarted(t, 101)
	working.stop(t)

	requireEachTriedOnce(t, b, 101)
	eventType := temporal.NewSearchAttributeKeyKeyword("SmartcarEventType")
	vehicleID := temporal.NewSearchAttributeKeyKeyword("SmartcarVehicleId")
	for _, started := range b.temporal.tried() {
		require.Equal(t, "ProcessEvent", started.workflow)
		require.Equal(t, []any{
			contract.ProcessEventInput{EventID: started.ID, UnknownVehicleGrace: 3 * time.Minute},
		}, started.args)
		require.Equal(t, "milepost", started.TaskQueue)
		require.Equal(t, enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, started.WorkflowIDReusePolicy)
		require.Equal(t, enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL, started.WorkflowIDConflictPolicy)
		require.True(t, started.WorkflowExecutionErrorWhenAlreadyStarted)
		require.True(t, started.EnableEagerStart)
		require.Zero(t, started.WorkflowExecutionTimeout, "an outage may last")
		require.Zero(t, started.WorkflowRunTimeout, "an outage may last")
		kind, _ := started.TypedSearchAttributes.GetKeyword(eventType)
		if started.ID == nameless.EventID {
			require.Equal(t, "VEHICLE_ERROR", kind)
			require.Equal(t, 1, started.TypedSearchAttributes.Size())
			continue
		}
		require.Equal(t, "VEHICLE_STATE", kind)
		named, _ := started.TypedSearchAttributes.GetKeyword(vehicleID)
		require.Equal(t, vehicle, named)
		require.Equal(t, 2, started.TypedSearchAttributes.Size())
	}
}

func TestARowWhoseWorkflowIsThereAlreadyIsStarted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.is("one", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)
	b.temporal.is("two", enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED)
	b.receive(t, delivery("one"), delivery("two"))
	working := run(t, b.deps())
	b.awaitAllStarted(t, 2)
	working.stop(t)
	requireEachTriedOnce(t, b, 2)
}

func TestARowIsStartedAgainAfterItsStartFailed(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"because Temporal was unavailable":     serviceerror.NewUnavailable("away"),
		"because Temporal took too long":       serviceerror.NewDeadlineExceeded("slow"),
		"because the client gave up waiting":   context.DeadlineExceeded,
		"because Temporal limited the rate":    serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "busy"),
		"because Temporal refused the request": serviceerror.NewInvalidArgument("no such search attribute"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var failed atomic.Bool
			b.temporal.before = func(context.Context, string) error {
				if failed.CompareAndSwap(false, true) {
					return failure
				}
				return nil
			}
			b.receive(t, delivery("one"))
			run(t, b.deps())
			b.awaitStatus(t, "one", db.StatusStarted)

			attempts := b.temporal.tried()
			require.Len(t, attempts, 2)
			require.GreaterOrEqual(t, attempts[1].at.Sub(attempts[0].at), 250*time.Millisecond, "not at once")
		})
	}
}

func TestATemporalThatStartsNothingLosesNothingAndIsNotHammeredAgainst(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"because it is away":            serviceerror.NewUnavailable("away"),
		"because the key has expired":   serviceerror.NewPermissionDenied("the key has expired", ""),
		"because it lost the namespace": serviceerror.NewNamespaceNotFound("default"),
		"because it lost an attribute":  serviceerror.NewInvalidArgument("no such search attribute"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const rows, concurrency = 60, 4
			b := setup(t)
			var away atomic.Bool
			away.Store(true)
			b.temporal.before = func(context.Context, string) error {
				if away.Load() {
					return failure
				}
				return nil
			}
			b.receive(t, many("event", rows)...)
			deps := b.deps()
			deps.Concurrency = concurrency
			begun := time.Now()
			working := run(t, deps)

			// At most four claims go before each pause: one whose starts fail first, and those made before they
			// have, which fill the buffer and wait for room in it.
			const claims, pauses = 12, (250 + 500 + 1000) * time.Millisecond
			eventually(t, func() bool { return b.ledger.claims.Load() > claims })
			require.GreaterOrEqual(t, time.Since(begun), pauses)
			attempts := slices.DeleteFunc(b.temporal.tried(), func(each attempt) bool { return each.at.After(begun.Add(pauses)) })
			require.LessOrEqual(t, len(attempts), claims*concurrency)
			counts, err := b.store.CountEvents(t.Context())
			require.NoError(t, err)
			require.Equal(t, []db.StatusCount{{Status: db.StatusReceived, Events: rows, Deliveries: rows}}, counts)

			away.Store(false)
			b.awaitAllStarted(t, rows)
			working.stop(t)
			require.Len(t, b.temporal.triesByID(), rows)
		})
	}
}

func TestTwoStartersOnOneDatabaseStartEachRowOnce(t *testing.T) {
	t.Parallel()
	const rows = 300
	b := setup(t)
	deps := b.deps()
	deps.Concurrency = 4
	first, second := run(t, deps), run(t, deps)
	for _, each := range many("event", rows) {
		b.receive(t, each)
	}
	b.awaitAllStarted(t, rows)
	first.stop(t)
	second.stop(t)
	requireEachTriedOnce(t, b, rows)
}

func TestARowIsStartedAtOnceWhenTheStarterIsWoken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	deps := b.deps()
	deps.PollInterval = never
	working := run(t, deps)
	for i := range 3 {
		eventually(t, func() bool { return b.ledger.claims.Load() >= int64(i+1) })
		eventID := fmt.Sprint("event-", i)
		b.receive(t, delivery(eventID))
		working.Wake()
		b.awaitStatus(t, eventID, db.StatusStarted)
	}
}

func TestARowIsFoundWithoutAWake(t *testing.T) {
	t.Parallel()
	b := setup(t)
	run(t, b.deps())
	eventually(t, func() bool { return b.ledger.claims.Load() > 0 })
	b.receive(t, delivery("one"))
	b.awaitStatus(t, "one", db.StatusStarted)
}

func TestWakeNeverBlocks(t *testing.T) {
	t.Parallel()
	idle, err := starter.New(setup(t).deps())
	require.NoError(t, err)
	for range 100 {
		idle.Wake()
	}
}

func TestARowOfAStarterThatDiedIsStartedByAnotherAfterTheLease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, delivery("one"))
	const lease = 400 * time.Millisecond
	claimedAt := time.Now()
	claimed, err := b.store.ClaimEvents(t.Context(), 1, lease)
	require.NoError(t, err)
	require.Len(t, claimed, 1)

	run(t, b.deps())
	b.awaitStatus(t, "one", db.StatusStarted)
	require.GreaterOrEqual(t, b.temporal.tried()[0].at.Sub(claimedAt), lease)
}

func TestARowThatCouldNotBeMarkedIsFoundStartedAfterTheLease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ledger.refuseMark.Store(true)
	b.receive(t, delivery("one"))
	deps := b.deps()
	deps.Lease = time.Second
	run(t, deps)
	b.awaitStatus(t, "one", db.StatusStarted)
	require.Greater(t, b.temporal.triesByID()["one"], 1)
}

func TestAStarterThatIsStoppedFinishesAndMarksWhatItBegan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answer := make(chan struct{})
	b.temporal.before = func(ctx context.Context, _ string) error {
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.receive(t, many("event", 3)...)
	working := run(t, b.deps())
	eventually(t, func() bool { return len(b.temporal.tried()) == 3 })
	working.cancel()
	require.Empty(t, working.done, "it waits for the starts under way")
	close(answer)
	require.NoError(t, <-working.done)

	counts, err := b.store.CountEvents(t.Context())
	require.NoError(t, err)
	require.Equal(t, []db.StatusCount{{Status: db.StatusStarted, Events: 3, Deliveries: 3}}, counts)
}

func TestARowThatItsWorkflowHasClosedMeanwhileStaysClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.before = func(ctx context.Context, eventID string) error {
		closing := db.Closing{EventID: eventID, Outcome: string(contract.OutcomeMeterEntry)}
		if eventID == "failing" {
			closing = db.Closing{EventID: eventID, FailureClass: string(contract.FailureUnitUnknown)}
		}
		return b.store.CloseEvent(ctx, closing)
	}
	b.receive(t, delivery("passing"), delivery("failing"))
	working := run(t, b.deps())
	eventually(t, func() bool { return len(b.temporal.tried()) == 2 })
	working.stop(t)

	require.Equal(t, db.StatusProcessed, b.show(t, "passing").Status)
	require.Equal(t, db.StatusFailed, b.show(t, "failing").Status)
	requireEachTriedOnce(t, b, 2)
}

func TestARowThatIsRetriedBeforeItsMarkIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var starts atomic.Int64
	b.temporal.before = func(ctx context.Context, eventID string) error {
		if starts.Add(1) > 1 {
			b.temporal.is(eventID, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED)
			return nil
		}
		return errors.Join(
			b.store.CloseEvent(ctx, db.Closing{EventID: eventID, FailureClass: string(contract.FailureUnknownVehicle)}),
			b.store.RetryEvent(ctx, db.Retry{EventID: eventID, Actor: "support"}),
		)
	}
	b.receive(t, delivery("one"))
	working := run(t, b.deps())
	eventually(t, func() bool { return len(b.temporal.tried()) == 2 })
	b.awaitStatus(t, "one", db.StatusStarted)
	working.stop(t)
	require.Len(t, b.temporal.tried(), 2)
}

func TestAStarterWithoutItsDependenciesIsRefusedWithAllFaults(t *testing.T) {
	t.Parallel()
	_, err := starter.New(starter.Deps{})
	for _, name := range []string{"Ledger", "Stale", "Temporal", "Logger"} {
		require.ErrorContains(t, err, name+" is missing")
	}
}
