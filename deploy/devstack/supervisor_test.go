package devstack_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/deploy/devstack"
)

type supervisorBundle struct {
	supervisor *devstack.Supervisor
	failures   *atomic.Int64 // How many of the next launches fail.
	exits      chan error
	restarts   chan int
}

func setupSupervisor(t *testing.T, restart bool) *supervisorBundle {
	t.Helper()

	const enough = 100
	bundle := &supervisorBundle{failures: &atomic.Int64{}, exits: make(chan error, enough), restarts: make(chan int, enough)}
	supervisor, err := devstack.Supervise(t.Context(), devstack.SupervisorOptions{
		Launch: func(context.Context) (*devstack.Process, error) {
			if bundle.failures.Add(-1) >= 0 {
				return nil, errors.New("launch failed")
			}

			return devstack.StartProcess(shell(t, "exec sleep 600"))
		},
		Restart:   restart,
		OnExit:    func(_ string, err error) { bundle.exits <- err },
		OnRestart: func(_ string, pid int) { bundle.restarts <- pid },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, supervisor.Stop(context.WithoutCancel(t.Context()))) })
	bundle.supervisor = supervisor

	return bundle
}

func TestSupervisor(t *testing.T) {
	t.Parallel()

	t.Run("starts a killed child again and says so", func(t *testing.T) {
		t.Parallel()
		bundle := setupSupervisor(t, true)
		first := bundle.supervisor.Process().Pid()

		require.NoError(t, bundle.supervisor.Kill())
		require.ErrorContains(t, <-bundle.exits, "killed")
		second := <-bundle.restarts
		require.NotEqual(t, first, second)
		require.Equal(t, second, bundle.supervisor.Process().Pid())
		require.ErrorIs(t, bundle.supervisor.Start(t.Context()), devstack.ErrRunning)
	})

	t.Run("tries again after a failed restart", func(t *testing.T) {
		t.Parallel()
		bundle := setupSupervisor(t, true)
		bundle.failures.Store(2)

		require.NoError(t, bundle.supervisor.Kill())
		require.ErrorContains(t, <-bundle.exits, "killed")
		require.ErrorContains(t, <-bundle.exits, "launch failed")
		require.ErrorContains(t, <-bundle.exits, "launch failed")
		require.Equal(t, <-bundle.restarts, bundle.supervisor.Process().Pid())
	})

	t.Run("does not take a stop for a death", func(t *testing.T) {
		t.Parallel()
		bundle := setupSupervisor(t, true)
		require.NoError(t, bundle.supervisor.Stop(t.Context()))

		require.Eventually(t, isGone(t, bundle.supervisor.Process().Pid()), eventually, often)
		require.Empty(t, bundle.exits)
		require.NoError(t, bundle.supervisor.Start(t.Context()), "it can be started again")
	})

	t.Run("leaves a dead child dead when it is not to restart it", func(t *testing.T) {
		t.Parallel()
		bundle := setupSupervisor(t, false)
		require.ErrorIs(t, bundle.supervisor.Start(t.Context()), devstack.ErrRunning)

		require.NoError(t, bundle.supervisor.Kill())
		require.ErrorContains(t, <-bundle.exits, "killed")
		require.NoError(t, bundle.supervisor.Start(t.Context()))
		require.Empty(t, bundle.restarts)
	})
}
