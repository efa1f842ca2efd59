package starter_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/workflows/contract"
	"github.com/milepost/milepost/workflows/starter"
)

const (
	consent = "6f0f7d3a-5a44-4f52-9b7e-3f5a1c0b2d11"
	notice  = "msg_4a1f0c52-76a6-4d9c-8f0b-5d3a52a7c7e1"
	// shortLease lets a test see a request claimed again.
	shortLease = 300 * time.Millisecond
	// briefLease is over before the shortest pause that an outage brings.
	briefLease = 100 * time.Millisecond
)

// requestsBundle is a database of a test's own, a Temporal that does what the test says, and a keeper of codes.
type requestsBundle struct {
	url      string
	store    *recordingRequests
	temporal *signallingTemporal
	codes    *recordingCodes
	logs     *bytes.Buffer
}

func setupRequests(t *testing.T) *requestsBundle {
	t.Helper()
	b := &requestsBundle{
		url: dbtest.New(t), codes: &recordingCodes{}, logs: &bytes.Buffer{},
		temporal: &signallingTemporal{
			fakeTemporal: &fakeTemporal{workflows: make(map[string]enumspb.WorkflowExecutionStatus)},
		},
	}
	store, err := db.Open(t.Context(), db.Config{URL: b.url, MaxConnections: 12})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	b.store = &recordingRequests{Store: store}
	return b
}

// deps are those of a process that looks for requests often and delivers notices.
func (b *requestsBundle) deps() starter.RequestsDeps {
	return starter.RequestsDeps{
		Store: b.store, Temporal: b.temporal, Codes: b.codes, Logger: slog.New(slog.NewJSONHandler(b.logs, nil)),
		Notices: true, PollInterval: 10 * time.Millisecond,
	}
}

func connecting(subject string) db.WorkflowRequest {
	return db.WorkflowRequest{Kind: db.RequestConnectVehicles, Subject: subject}
}

func refreshing(subject, signal string) db.WorkflowRequest {
	return db.WorkflowRequest{Kind: db.RequestTokenRefresh, Subject: subject, Signal: signal}
}

func delivering(subject string) db.WorkflowRequest {
	return db.WorkflowRequest{Kind: db.RequestDeliverNotice, Subject: subject}
}

func reconciling() db.WorkflowRequest {
	return db.WorkflowRequest{Kind: db.RequestReconcile, Subject: "requested"}
}

func (b *requestsBundle) request(t *testing.T, requests ...db.WorkflowRequest) {
	t.Helper()
	for _, each := range requests {
		require.NoError(t, b.store.RequestWorkflow(t.Context(), each))
	}
}

// left counts the requests that have not been removed.
func (b *requestsBundle) left(t *testing.T) (number int) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(context.WithoutCancel(t.Context()))) }()
	require.NoError(t, connection.QueryRow(t.Context(), "SELECT count(*) FROM workflow_requests").Scan(&number))
	return number
}

// awaitRemoved waits until so many requests have been removed.
func (b *requestsBundle) awaitRemoved(t *testing.T, number int64) {
	t.Helper()
	eventually(t, func() bool { return b.store.removed.Load() >= number })
}

// runningRequests are requests being seen to. stop tells that to end and returns when it has.
type runningRequests struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func runRequests(t *testing.T, deps starter.RequestsDeps) *runningRequests {
	t.Helper()
	requests, err := starter.NewRequests(deps)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	working := &runningRequests{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(working.done)
		requests.Run(ctx)
	}()
	t.Cleanup(func() { working.stop(t) })
	return working
}

func (r *runningRequests) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(patience):
		require.Fail(t, "seeing to requests does not end")
	}
}

// recordingRequests counts claims and removals, and can refuse one of each.
type recordingRequests struct {
	*db.Store

	// lease replaces that of every claim, unless it is zero. The one that is asked for
	// is the time that a start may take, too: a busy machine needs all of it.
	lease                     time.Duration
	claims, removed           atomic.Int64
	refuseClaim, refuseRemove atomic.Bool

	mutex   sync.Mutex
	claimed time.Time     // no later than when the first request was
	asked   time.Duration // the lease of that claim
}

func (r *recordingRequests) ClaimWorkflowRequests(
	ctx context.Context, kinds []string, limit int32, lease time.Duration,
) ([]db.WorkflowRequest, error) {
	defer r.claims.Add(1)
	if r.refuseClaim.CompareAndSwap(true, false) {
		return nil, db.ErrUnavailable
	}
	asked := lease
	if r.lease != 0 {
		lease = r.lease
	}
	began := time.Now()
	claimed, err := r.Store.ClaimWorkflowRequests(ctx, kinds, limit, lease)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.claimed.IsZero() && len(claimed) > 0 {
		r.claimed, r.asked = began, asked
	}
	return claimed, err
}

func (r *recordingRequests) WorkflowRequestDone(ctx context.Context, id int64) error {
	if r.refuseRemove.CompareAndSwap(true, false) {
		return db.ErrUnavailable
	}
	if err := r.Store.WorkflowRequestDone(ctx, id); err != nil {
		return err
	}
	r.removed.Add(1)
	return nil
}

func (r *recordingRequests) firstClaimed() (at time.Time, lease time.Duration) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.claimed, r.asked
}

// signallingTemporal is a fakeTemporal whose workflows can be signalled.
type signallingTemporal struct {
	*fakeTemporal

	signals []string
	begun   []string
}

func (s *signallingTemporal) SignalWithStartWorkflow(
	ctx context.Context, workflowID, signal string, signalArg any,
	options client.StartWorkflowOptions, workflow any, workflowArgs ...any,
) (client.WorkflowRun, error) {
	if signalArg != nil || options.ID != workflowID {
		return nil, errors.New("a signal of TokenRefresh brings nothing, and its workflow ID is one")
	}
	s.mutex.Lock()
	s.attempts = append(s.attempts, attempt{StartWorkflowOptions: options, workflow: workflow, args: workflowArgs, at: time.Now()})
	s.mutex.Unlock()
	if s.before != nil {
		if err := s.before(ctx, workflowID); err != nil {
			return nil, err
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.signals = append(s.signals, signal)
	if s.workflows[workflowID] != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		s.begun = append(s.begun, workflowID)
	}
	s.workflows[workflowID] = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	return nil, nil //nolint:nilnil // Requests have no use for the run.
}

// signalled gives the signals that arrived, and the workflows that were begun for them.
func (s *signallingTemporal) signalled() (signals, begun []string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.signals), slices.Clone(s.begun)
}

// recordingCodes stands in for the activity that exchanges a code.
type recordingCodes struct {
	mutex  sync.Mutex
	saved  []string
	refuse error
}

func (r *recordingCodes) ExchangeCode(ctx context.Context, input contract.ExchangeCodeInput) (contract.ExchangeCodeResult, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if ctx.Err() != nil {
		return contract.ExchangeCodeResult{}, ctx.Err()
	}
	r.saved = append(r.saved, input.ConsentID)
	return contract.ExchangeCodeResult{}, r.refuse
}

// consents are those whose codes were to be saved, each once.
func (r *recordingCodes) consents() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(r.saved)))
}
