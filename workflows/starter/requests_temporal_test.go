package starter_test

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// tokenRefresh keeps its signals, which a query tells, and completes with the signal to disconnect.
func tokenRefresh(ctx workflow.Context, _ contract.TokenRefreshInput) error {
	var received []string
	err := workflow.SetQueryHandler(ctx, contract.QueryTokenRefreshStatus, func() ([]string, error) { return received, nil })
	if err != nil {
		return err
	}
	selector := workflow.NewSelector(ctx)
	for _, name := range []string{contract.SignalReconnected, contract.SignalRefreshNow, contract.SignalDisconnect} {
		selector.AddReceive(workflow.GetSignalChannel(ctx, name), func(channel workflow.ReceiveChannel, _ bool) {
			channel.Receive(ctx, nil)
			received = append(received, name)
		})
	}
	for len(received) == 0 || received[len(received)-1] != contract.SignalDisconnect {
		selector.Select(ctx)
	}
	return nil
}

func connectVehicles(_ workflow.Context, input contract.ConnectVehiclesInput) error {
	if input.ConsentID == failing {
		return temporal.NewNonRetryableApplicationError("told to fail", string(contract.FailureDataRejected), nil)
	}
	return nil
}

func deliverNotice(workflow.Context, contract.DeliverNoticeInput) error { return nil }

func TestRequestsWithTemporal(t *testing.T) {
	t.Parallel()
	connection := connectTemporal(t, map[string]any{
		contract.TokenRefreshWorkflow:    tokenRefresh,
		contract.ConnectVehiclesWorkflow: connectVehicles,
		contract.DeliverNoticeWorkflow:   deliverNotice,
	})
	work := func(t *testing.T) *requestsBundle {
		t.Helper()
		b := setupRequests(t)
		deps := b.deps()
		deps.Temporal = connection
		runRequests(t, deps)
		return b
	}

	t.Run("a running TokenRefresh is signalled and not started twice", func(t *testing.T) {
		t.Parallel()
		b := work(t)
		const vehicle = "running"
		workflowID := contract.TokenRefreshID(vehicle)
		b.request(t, refreshing(vehicle, db.SignalReconnected))
		b.awaitRemoved(t, 1)
		first := describe(t, connection, workflowID)
		require.Equal(t, contract.TokenRefreshWorkflow, first.WorkflowType.Name)
		b.request(t, refreshing(vehicle, db.SignalRefreshNow))
		b.awaitRemoved(t, 2)
		require.Equal(t, []string{contract.SignalReconnected, contract.SignalRefreshNow}, received(t, connection, workflowID))
		require.Equal(t, first.WorkflowExecution.RunID, describe(t, connection, workflowID).WorkflowExecution.RunID)
		requireFindable(t, connection, vehicle, 1)

		b.request(t, refreshing(vehicle, db.SignalDisconnect))
		require.NoError(t, connection.GetWorkflow(t.Context(), workflowID, "").Get(t.Context(), nil))
		b.request(t, refreshing(vehicle, db.SignalReconnected))
		b.awaitRemoved(t, 4)
		again := describe(t, connection, workflowID)
		require.NotEqual(t, first.WorkflowExecution.RunID, again.WorkflowExecution.RunID, "one that has ended is started again")
		require.Equal(t, []string{contract.SignalReconnected}, received(t, connection, workflowID))
		requireFindable(t, connection, vehicle, 2)
	})

	t.Run("requests for one vehicle at the same time start one TokenRefresh", func(t *testing.T) {
		t.Parallel()
		b := work(t)
		const vehicle, number = "popular", 20
		for range number {
			b.request(t, refreshing(vehicle, db.SignalReconnected))
		}
		b.awaitRemoved(t, number)
		require.Len(t, received(t, connection, contract.TokenRefreshID(vehicle)), number)
		requireFindable(t, connection, vehicle, 1)
	})

	for name, test := range map[string]struct {
		request    db.WorkflowRequest
		workflowID string
		again      bool
	}{
		"a consent that has been seen to is left alone": {connecting("done"), contract.ConnectVehiclesID("done"), false},
		"a consent whose workflow failed has another":   {connecting(failing), contract.ConnectVehiclesID(failing), true},
		"a notice that was delivered is left alone":     {delivering("done"), contract.DeliverNoticeID("done"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := work(t)
			b.request(t, test.request)
			b.awaitRemoved(t, 1)
			_ = connection.GetWorkflow(t.Context(), test.workflowID, "").Get(t.Context(), nil) // Its error is the end that is wanted.
			first := describe(t, connection, test.workflowID)
			require.NotEqual(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, first.Status)

			b.request(t, test.request)
			b.awaitRemoved(t, 2)
			second := describe(t, connection, test.workflowID)
			require.Equal(t, test.again, first.WorkflowExecution.RunID != second.WorkflowExecution.RunID)
		})
	}
}

// reconcile runs until it is told to go on.
func reconcile(ctx workflow.Context, _ contract.ReconcileInput) error {
	workflow.GetSignalChannel(ctx, goOn).Receive(ctx, nil)
	return nil
}

const goOn = "go-on"

// countedTemporal counts the starts that were tried and answered.
type countedTemporal struct {
	client.Client

	tried atomic.Int64
}

func (c *countedTemporal) ExecuteWorkflow(
	ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any,
) (client.WorkflowRun, error) {
	defer c.tried.Add(1)
	return c.Client.ExecuteWorkflow(ctx, options, workflow, args...)
}

func TestARequestToReconcileIsDoneAfterTheOneThatIsRunning(t *testing.T) {
	t.Parallel()
	connection := connectTemporal(t, map[string]any{contract.ReconcileWorkflow: reconcile})
	b := setupRequests(t)
	deps := b.deps()
	temporal := &countedTemporal{Client: connection}
	deps.Temporal, b.store.lease = temporal, shortLease
	runRequests(t, deps)
	end := func() (runID string) {
		t.Helper()
		runID = describe(t, connection, contract.ReconcileID).WorkflowExecution.RunID
		require.NoError(t, connection.SignalWorkflow(t.Context(), contract.ReconcileID, runID, goOn, nil))
		require.NoError(t, connection.GetWorkflow(t.Context(), contract.ReconcileID, runID).Get(t.Context(), nil))
		return runID
	}

	b.request(t, reconciling())
	b.awaitRemoved(t, 1)
	running := describe(t, connection, contract.ReconcileID)
	require.Equal(t, contract.ReconcileWorkflow, running.WorkflowType.Name)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, running.Status)

	b.request(t, reconciling())
	eventually(t, func() bool { return temporal.tried.Load() >= 3 })
	require.Equal(t, 1, b.left(t))
	first := end()
	b.awaitRemoved(t, 2)
	require.Zero(t, b.left(t))
	require.NotEqual(t, first, end(), "another one has looked since")
}

// received gives the signals that the last run has had.
func received(t *testing.T, connection client.Client, workflowID string) (signals []string) {
	t.Helper()
	answer, err := connection.QueryWorkflow(t.Context(), workflowID, "", contract.QueryTokenRefreshStatus)
	require.NoError(t, err)
	require.NoError(t, answer.Get(&signals))
	return signals
}

// requireFindable waits until so many runs are found by the vehicle. Visibility follows a moment later.
func requireFindable(t *testing.T, connection client.Client, smartcarVehicleID string, runs int64) {
	t.Helper()
	query := "WorkflowType = 'TokenRefresh' AND SmartcarVehicleId = '" + smartcarVehicleID + "'"
	eventually(t, func() bool {
		found, err := connection.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		require.NoError(t, err)
		return found.GetCount() == runs
	})
}

func TestACodeIsSavedWhileNoTemporalListens(t *testing.T) {
	t.Parallel()
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	connection, err := client.NewLazyClient(client.Options{
		HostPort: closed.Addr().String(), Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(connection.Close)
	b := setupRequests(t)
	b.request(t, refreshing(vehicle, db.SignalReconnected), connecting(consent))
	deps := b.deps()
	deps.Temporal, deps.Lease = connection, 3*time.Second
	working := runRequests(t, deps)
	eventually(t, func() bool { return len(b.codes.consents()) == 1 })
	working.stop(t)
	require.Equal(t, []string{consent}, b.codes.consents())
	require.Equal(t, 2, b.left(t))
}
