package starter_test

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/workflows/starter"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m, db.Migrate)) }

const (
	vehicle = "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90"
	// patience is how long a condition may take on a busy machine.
	patience = 30 * time.Second
	often    = 5 * time.Millisecond
	// never outlasts every test: a row found in that time was not found by polling.
	never = time.Hour
)

// bundle is a database of a test's own and a Temporal that does what the test says.
type bundle struct {
	store    *db.Store
	ledger   *recordingLedger
	temporal *fakeTemporal
	append   *db.Ledger
}

func setup(t *testing.T) *bundle {
	t.Helper()
	store, err := db.Open(t.Context(), db.Config{URL: dbtest.New(t), MaxConnections: 8})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return &bundle{
		store:    store,
		ledger:   &recordingLedger{Ledger: store},
		temporal: &fakeTemporal{workflows: make(map[string]enumspb.WorkflowExecutionStatus)},
		append:   db.NewLedger(store),
	}
}

func (b *bundle) receive(t *testing.T, deliveries ...db.Delivery) {
	t.Helper()
	_, err := b.append.Append(t.Context(), deliveries)
	require.NoError(t, err)
}

func delivery(eventID string) db.Delivery {
	return db.Delivery{
		EventID: eventID, EventType: "VEHICLE_STATE", SmartcarVehicleID: vehicle, Mode: "LIVE",
		DeliveryID: "delivery of " + eventID, ReceivedAt: time.Now(), Payload: []byte(`{"eventId":"` + eventID + `"}`),
	}
}

// deps are those of a starter that finds rows and gives up leases quickly.
func (b *bundle) deps() starter.Deps {
	return starter.Deps{
		Ledger: b.ledger, Stale: b.store, Temporal: b.temporal, Logger: slog.New(slog.DiscardHandler),
		PollInterval: 10 * time.Millisecond, HealAfter: never,
	}
}

// running is a starter at work. stop tells it to end and returns when it has.
type running struct {
	*starter.Starter

	cancel context.CancelFunc
	done   chan error
}

func run(t *testing.T, deps starter.Deps) *running {
	t.Helper()
	created, err := starter.New(deps)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	started := &running{Starter: created, cancel: cancel, done: make(chan error, 1)}
	go func() {
		started.done <- created.Run(ctx)
		close(started.done)
	}()
	t.Cleanup(func() { started.stop(t) })
	return started
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "the starter does not end")
	}
}

func (b *bundle) show(t *testing.T, eventID string) db.EventDetail {
	t.Helper()
	event, err := b.store.ShowEvent(t.Context(), eventID)
	require.NoError(t, err)
	return event
}

func (b *bundle) awaitStatus(t *testing.T, eventID, status string) {
	t.Helper()
	eventually(t, func() bool { return b.show(t, eventID).Status == status })
}

// awaitAllStarted waits until so many rows are started and none is in any other state.
func (b *bundle) awaitAllStarted(t *testing.T, rows int) {
	t.Helper()
	eventually(t, func() bool {
		counts, err := b.store.CountEvents(t.Context())
		require.NoError(t, err)
		return len(counts) == 1 && counts[0].Status == db.StatusStarted && counts[0].Events == int64(rows)
	})
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, often)
}

// recordingLedger counts claims and can refuse marks.
type recordingLedger struct {
	starter.Ledger

	claims     atomic.Int64
	refuseMark atomic.Bool
}

func (l *recordingLedger) ClaimEvents(ctx context.Context, limit int32, lease time.Duration) ([]db.ClaimedEvent, error) {
	defer l.claims.Add(1)
	return l.Ledger.ClaimEvents(ctx, limit, lease)
}

func (l *recordingLedger) MarkEventsStarted(ctx context.Context, started []db.ClaimedEvent) error {
	if l.refuseMark.CompareAndSwap(true, false) {
		return db.ErrUnavailable
	}
	return l.Ledger.MarkEventsStarted(ctx, started)
}

// attempt is one call of ExecuteWorkflow.
type attempt struct {
	client.StartWorkflowOptions

	workflow any
	args     []any
	at       time.Time
}

// fakeTemporal keeps the last status of each workflow and applies the reuse policies to it.
type fakeTemporal struct {
	// before may answer a start in Temporal's place, or describing a description's.
	before     func(ctx context.Context, workflowID string) error
	describing func(workflowID string) error

	mutex        sync.Mutex
	workflows    map[string]enumspb.WorkflowExecutionStatus
	attempts     []attempt
	descriptions []string
}

func (f *fakeTemporal) ExecuteWorkflow(
	ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any,
) (client.WorkflowRun, error) {
	f.mutex.Lock()
	f.attempts = append(f.attempts, attempt{StartWorkflowOptions: options, workflow: workflow, args: args, at: time.Now()})
	f.mutex.Unlock()
	if f.before != nil {
		if err := f.before(ctx, options.ID); err != nil {
			return nil, err
		}
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if status, exists := f.workflows[options.ID]; exists && !mayReplace(status, options.WorkflowIDReusePolicy) {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("already started", "", "")
	}
	f.workflows[options.ID] = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	return nil, nil //nolint:nilnil // The starter has no use for the run.
}

func mayReplace(status enumspb.WorkflowExecutionStatus, policy enumspb.WorkflowIdReusePolicy) bool {
	switch status {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return false
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return policy == enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	default:
		return true
	}
}

func (f *fakeTemporal) DescribeWorkflowExecution(
	_ context.Context, workflowID, _ string,
) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.descriptions = append(f.descriptions, workflowID)
	if f.describing != nil {
		if err := f.describing(workflowID); err != nil {
			return nil, err
		}
	}
	status, exists := f.workflows[workflowID]
	if !exists {
		return nil, serviceerror.NewNotFound("no such workflow")
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: status},
	}, nil
}

func (f *fakeTemporal) is(workflowID string, status enumspb.WorkflowExecutionStatus) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.workflows[workflowID] = status
}

func (f *fakeTemporal) tried() []attempt {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]attempt(nil), f.attempts...)
}

func (f *fakeTemporal) described() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return len(f.descriptions)
}

// triesByID counts starts by workflow ID.
func (f *fakeTemporal) triesByID() map[string]int {
	tries := make(map[string]int)
	for _, each := range f.tried() {
		tries[each.ID]++
	}
	return tries
}
