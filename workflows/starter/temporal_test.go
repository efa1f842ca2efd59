package starter_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/deploy/devstack"
	"github.com/milepost/milepost/workflows/contract"
	"github.com/milepost/milepost/workflows/starter"
)

// Inputs that make the workflow of these tests end otherwise than at once and well.
const (
	failing = "failing"
	waiting = "waiting"
)

func processEvent(ctx workflow.Context, input contract.ProcessEventInput) error {
	switch input.EventID {
	case failing:
		return temporal.NewNonRetryableApplicationError("told to fail", string(contract.FailureUnitUnknown), nil)
	case waiting:
		return workflow.Sleep(ctx, time.Hour)
	default:
		return nil
	}
}

// connectTemporal starts a Temporal server with a worker in this process, which knows the given workflows.
func connectTemporal(t *testing.T, workflows map[string]any) client.Client {
	t.Helper()
	attributes := make(map[string]string)
	for _, name := range contract.SearchAttributes() {
		attributes[name] = "Keyword"
	}
	server, err := devstack.StartTemporal(t.Context(), devstack.TemporalOptions{
		UIPort: devstack.Headless, SearchAttributes: attributes,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })
	connection, err := client.DialContext(t.Context(), client.Options{
		HostPort: server.Address(), Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(connection.Close)
	processing := worker.New(connection, contract.TaskQueue, worker.Options{})
	for name, function := range workflows {
		processing.RegisterWorkflowWithOptions(function, workflow.RegisterOptions{Name: name})
	}
	require.NoError(t, processing.Start())
	t.Cleanup(processing.Stop)
	return connection
}

func TestWithTemporal(t *testing.T) {
	t.Parallel()
	connection := connectTemporal(t, map[string]any{contract.ProcessEventWorkflow: processEvent})

	t.Run("every row becomes one workflow, eagerly, and none when it is started again", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		nameless := delivery("without-vehicle")
		nameless.SmartcarVehicleID = ""
		b.receive(t, append(many("real", 20), nameless)...)
		deps := b.deps()
		deps.Temporal = connection
		run(t, deps)
		b.awaitAllStarted(t, 21)
		first := runIDs(t, b, connection)
		requireEagerAndFindable(t, connection, "real-7", vehicle)
		requireEagerAndFindable(t, connection, nameless.EventID, "")

		for eventID := range first {
			require.NoError(t, b.store.RequeueStartedEvent(t.Context(), eventID))
		}
		b.awaitAllStarted(t, 21)
		require.Equal(t, first, runIDs(t, b, connection))
	})

	for name, end := range map[string]func(t *testing.T, eventID string) client.WorkflowRun{
		"completed": func(t *testing.T, eventID string) client.WorkflowRun {
			t.Helper()
			return execute(t, connection, eventID, eventID, 0)
		},
		"failed": func(t *testing.T, eventID string) client.WorkflowRun {
			t.Helper()
			return execute(t, connection, eventID, failing, 0)
		},
	} {
		t.Run("a row whose workflow "+name+" without effect is started again", func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ended := end(t, name)
			_ = ended.Get(t.Context(), nil) // Its error is the end that is wanted.
			b.receiveStarted(t, name)
			run(t, healingWith(b, connection))
			eventually(t, func() bool { return describe(t, connection, name).WorkflowExecution.RunID != ended.GetRunID() })
		})
	}

	t.Run("a row that Temporal does not know is started again", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.receiveStarted(t, "lost")
		run(t, healingWith(b, connection))
		eventually(t, func() bool {
			_, err := connection.DescribeWorkflow(t.Context(), "lost", "")
			return err == nil
		})
	})

	for name, stop := range map[string]func(t *testing.T, eventID string){
		"terminated": func(t *testing.T, eventID string) {
			t.Helper()
			execute(t, connection, eventID, waiting, 0)
			require.NoError(t, connection.TerminateWorkflow(t.Context(), eventID, "", "a test"))
		},
		"canceled": func(t *testing.T, eventID string) {
			t.Helper()
			execute(t, connection, eventID, waiting, 0)
			require.NoError(t, connection.CancelWorkflow(t.Context(), eventID, ""))
		},
		"timedout": func(t *testing.T, eventID string) {
			t.Helper()
			execute(t, connection, eventID, waiting, time.Second)
		},
	} {
		t.Run("a row whose workflow was "+name+" is failed, and runs when it is retried", func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			stop(t, name)
			b.receiveStarted(t, name)
			run(t, healingWith(b, connection))
			b.awaitStatus(t, name, db.StatusFailed)
			failed := b.show(t, name)
			require.Equal(t, string(contract.FailureWorkflowStopped), *failed.FailureClass)
			require.Contains(t, strings.ToLower(*failed.FailureDetail), "ended as "+name)

			require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: name, Actor: "support"}))
			eventually(t, func() bool {
				return describe(t, connection, name).Status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
			})
		})
	}
}

func healingWith(b *bundle, connection client.Client) starter.Deps {
	deps := b.healing()
	deps.Temporal = connection
	return deps
}

// execute starts a workflow as an earlier starter would have; input decides how it ends.
func execute(t *testing.T, connection client.Client, workflowID, input string, limit time.Duration) client.WorkflowRun {
	t.Helper()
	started, err := connection.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: workflowID, TaskQueue: contract.TaskQueue, WorkflowRunTimeout: limit,
	}, contract.ProcessEventWorkflow, contract.ProcessEventInput{EventID: input})
	require.NoError(t, err)
	return started
}

func describe(t *testing.T, connection client.Client, workflowID string) *client.WorkflowExecutionDescription {
	t.Helper()
	description, err := connection.DescribeWorkflow(t.Context(), workflowID, "")
	require.NoError(t, err)
	return description
}

// runIDs waits until the workflow of every row has completed and gives the latest run of each.
func runIDs(t *testing.T, b *bundle, connection client.Client) map[string]string {
	t.Helper()
	events, err := b.store.ListEvents(t.Context(), db.EventFilter{Limit: 100})
	require.NoError(t, err)
	runs := make(map[string]string)
	for _, event := range events {
		require.NoError(t, connection.GetWorkflow(t.Context(), event.EventID, "").Get(t.Context(), nil))
		runs[event.EventID] = describe(t, connection, event.EventID).WorkflowExecution.RunID
	}
	return runs
}

func requireEagerAndFindable(t *testing.T, connection client.Client, eventID, smartcarVehicleID string) {
	t.Helper()
	first, err := connection.GetWorkflowHistory(t.Context(), eventID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT).Next()
	require.NoError(t, err)
	started := first.GetWorkflowExecutionStartedEventAttributes()
	require.True(t, started.GetEagerExecutionAccepted())
	require.Equal(t, contract.ProcessEventWorkflow, started.GetWorkflowType().GetName())
	require.Equal(t, contract.TaskQueue, started.GetTaskQueue().GetName())

	query := fmt.Sprintf("WorkflowId = '%s' AND SmartcarEventType = 'VEHICLE_STATE' AND SmartcarVehicleId ", eventID)
	if smartcarVehicleID == "" {
		query += "IS NULL"
	} else {
		query += fmt.Sprintf("= '%s'", smartcarVehicleID)
	}
	// Visibility follows a moment later.
	eventually(t, func() bool {
		found, err := connection.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		require.NoError(t, err)
		return found.GetCount() == 1
	})
}
