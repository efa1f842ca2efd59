package workflows_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

// TestRecordedHistoriesReplay proves that runs which an older version began go on
// under this one. The histories were recorded from a real server (`make record`);
// a new one is added when behaviour is added, and an old one is never recorded over.
func TestRecordedHistoriesReplay(t *testing.T) {
	t.Parallel()
	recordings, err := filepath.Glob("testdata/replay/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, recordings)
	for _, recording := range recordings {
		t.Run(filepath.Base(recording), func(t *testing.T) {
			t.Parallel()
			replayer := worker.NewWorkflowReplayer()
			workflows.Register(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(quiet(), recording))
		})
	}
}

// TestReplayingNoticesAChange shows that the test above can fail.
func TestReplayingNoticesAChange(t *testing.T) {
	t.Parallel()
	replayer := worker.NewWorkflowReplayer()
	changed := func(ctx workflow.Context, _ contract.ProcessEventInput) (contract.ProcessEventResult, error) {
		return contract.ProcessEventResult{}, workflow.Sleep(ctx, 1)
	}
	replayer.RegisterWorkflowWithOptions(changed, workflow.RegisterOptions{Name: contract.ProcessEventWorkflow})
	require.Error(t, replayer.ReplayWorkflowHistoryFromJSONFile(quiet(), "testdata/replay/meter_entry.json"))
}

func quiet() temporallog.Logger {
	return temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler))
}
