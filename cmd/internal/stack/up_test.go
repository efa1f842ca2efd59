package stack_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/deploy/devstack"
)

// TestTheWorkbenchStartsTakesAnEventAndStops does what the README tells a person to do
// first, and again from a shell that has sourced dev.env.
func TestTheWorkbenchStartsTakesAnEventAndStops(t *testing.T) {
	t.Parallel()
	directory := dataDir(t)
	environment := os.Environ()
	for range 2 {
		log := filepath.Join(t.TempDir(), "up.log")
		up := startUp(t, directory, log, environment)
		awaitLine(t, up, log, "ready")

		require.Eventually(t, func() bool { // a busy machine may refuse one
			send := exec.CommandContext(t.Context(), workbench, "send", "--data-dir", directory, "--new-event", "--new-delivery",
				filepath.Join(payloads, "vehicle-state-odometer-v4.json"))
			sent, err := send.CombinedOutput()
			t.Logf("%s", sent)
			return err == nil && strings.Contains(string(sent), "accepted")
		}, soon, time.Second)
		awaitLine(t, up, log, " VEHICLE_STATE a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90: meter_entry")

		settings, err := stack.ReadEnvironmentFile(directory)
		require.NoError(t, err)
		require.NoError(t, up.Stop(t.Context()))
		require.NoError(t, up.Err(), "exit status 0")
		for _, name := range []string{"MILEPOST_URL", "MILEPOST_ADMIN_URL", "SMARTCARSIM_URL", "TEMPORAL_UI_URL"} {
			require.NotEmpty(t, settings[name], name)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, settings[name], nil)
			require.NoError(t, err)
			_, err = http.DefaultClient.Do(request) //nolint:bodyclose // there is no answer
			require.Error(t, err, "%s is still served", name)
		}
		for name, value := range settings {
			environment = append(environment, name+"="+value)
		}
	}
}

func startUp(t *testing.T, directory, log string, environment []string) *devstack.Process {
	t.Helper()
	up, err := devstack.StartProcess(devstack.ProcessOptions{
		Name: "milepost-dev up", Path: workbench, Args: []string{"up", "--ephemeral", "--data-dir", directory},
		Env: environment, LogFile: log, Grace: recovery,
	})
	require.NoError(t, err)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { require.NoError(t, up.Stop(ctx)) })
	return up
}

// awaitLine waits until a line that ends so is printed.
func awaitLine(t *testing.T, up *devstack.Process, log, end string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	err := up.WaitReady(ctx, func(context.Context) error {
		printed, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(printed), end+"\n") {
			err = errors.New("not printed yet: " + end)
		}
		return err
	})
	if err != nil {
		printed, _ := os.ReadFile(log)
		require.NoError(t, err, "%s", printed)
	}
}
