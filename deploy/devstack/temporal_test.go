package devstack_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/deploy/devstack"
)

func colour() temporal.SearchAttributeKeyKeyword {
	return temporal.NewSearchAttributeKeyKeyword("Colour")
}

func startTemporal(t *testing.T, options devstack.TemporalOptions) *devstack.Temporal {
	t.Helper()
	options.LogFile = filepath.Join(t.TempDir(), "temporal.log")
	server, err := devstack.StartTemporal(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })

	return server
}

func dial(t *testing.T, server *devstack.Temporal) client.Client {
	t.Helper()
	connection, err := client.DialContext(t.Context(), client.Options{
		HostPort: server.Address(), Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(connection.Close)

	return connection
}

// startWorkflow starts a workflow nobody works on: it runs until it is asked about.
func startWorkflow(t *testing.T, server *devstack.Temporal, id string) {
	t.Helper()
	connection := dial(t, server)
	// A search attribute that is new to old data is known once the server's caches are read again.
	require.Eventually(t, func() bool {
		_, err := connection.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: id, TaskQueue: "nobody", TypedSearchAttributes: temporal.NewSearchAttributes(colour().ValueSet("green")),
		}, "Waiting")
		return err == nil
	}, time.Minute, 100*time.Millisecond)
}

func requireRunning(t *testing.T, server *devstack.Temporal, id string) {
	t.Helper()
	described, err := dial(t, server).DescribeWorkflowExecution(t.Context(), id, "")
	require.NoError(t, err)
	require.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, described.GetWorkflowExecutionInfo().GetStatus())
}

func TestTemporalComesBackAfterAKillWithItsWorkflows(t *testing.T) {
	t.Parallel()
	restarts := make(chan int, 1)
	file := filepath.Join(t.TempDir(), "temporal.db")
	server := startTemporal(t, devstack.TemporalOptions{
		DatabaseFile: file, UIPort: devstack.Headless, Supervise: true,
		SearchAttributes: map[string]string{colour().GetName(): "Keyword"},
		OnRestart:        func(_ string, pid int) { restarts <- pid },
	})
	startWorkflow(t, server, "kept")
	address, first := server.Address(), server.Process().Pid()

	require.NoError(t, server.Kill())
	require.NotEqual(t, first, <-restarts)
	require.Equal(t, address, server.Address())
	requireRunning(t, server, "kept")

	require.NoError(t, server.Stop(t.Context()))
	require.True(t, isGone(t, server.Process().Pid())())
	require.NoFileExists(t, file+".pid")
	require.Empty(t, restarts, "a stopped server does not come back")
}

func TestTemporalTakesANewSearchAttributeOnOldData(t *testing.T) {
	t.Parallel()
	options := devstack.TemporalOptions{DatabaseFile: filepath.Join(t.TempDir(), "temporal.db"), UIPort: devstack.Headless}
	first := startTemporal(t, options)
	_, err := devstack.StartTemporal(t.Context(), options)
	require.ErrorIs(t, err, devstack.ErrInUse)
	require.NoError(t, first.Stop(t.Context()))

	options.SearchAttributes = map[string]string{colour().GetName(): "Keyword"}
	second := startTemporal(t, options)
	startWorkflow(t, second, "coloured")
	requireRunning(t, second, "coloured")
}

func TestTemporalStopsAServerWhoseParentIsGone(t *testing.T) {
	t.Parallel()
	options := devstack.TemporalOptions{DatabaseFile: filepath.Join(t.TempDir(), "temporal.db"), UIPort: devstack.Headless}
	first, err := devstack.StartTemporal(t.Context(), options)
	require.NoError(t, err)
	// Without its lock file the running server counts as left behind.
	require.NoError(t, os.Remove(options.DatabaseFile+".lock"))

	progress := &messages{}
	options.Progress = progress.add
	startTemporal(t, options)
	require.Contains(t, progress.String(), "left behind")
	<-first.Process().Exited()
}

func TestTemporalInMemoryServesItsUI(t *testing.T) {
	t.Parallel()
	server := startTemporal(t, devstack.TemporalOptions{})

	require.Eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.UIURL(), nil)
		if err != nil {
			return false
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}

		return response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, eventually, often)
}

func TestTemporalOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := devstack.StartTemporal(t.Context(), devstack.TemporalOptions{
		Port: -1, SearchAttributes: map[string]string{"Colour": "Paint"},
	})
	require.ErrorContains(t, err, "negative")
	require.ErrorContains(t, err, "Colour")
}
