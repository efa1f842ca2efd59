package wiring_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"

	"github.com/milepost/milepost/cmd/internal/wiring"
)

// fakeWorker stands for one of the SDK's.
type fakeWorker struct {
	start func() error
	stop  func()
}

func (w fakeWorker) Start() error { return w.start() }
func (w fakeWorker) Stop()        { w.stop() }

func TestAWorkerThatFailsIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	gone := serviceerror.NewNamespaceNotFound("default")
	for name, failing := range map[string]func(fatal func(error)) error{
		"because it cannot be started": func(func(error)) error { return gone },
		"because its polls are refused": func(fatal func(error)) error {
			go fatal(gone)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const failures = 3
				var built, stopped atomic.Int64
				ctx, cancel := context.WithCancel(t.Context())
				var keeping sync.WaitGroup
				keeping.Go(func() {
					wiring.KeepAll(ctx, slog.New(slog.DiscardHandler), func(fatal func(error)) wiring.Poller {
						start := func() error { return nil }
						if built.Add(1) <= failures {
							start = func() error { return failing(fatal) }
						}
						return fakeWorker{start: start, stop: func() { stopped.Add(1) }}
					})
				})
				time.Sleep(time.Hour) // on the test's own clock
				require.EqualValues(t, failures+1, built.Load(), "one that works is left alone")
				require.EqualValues(t, failures, stopped.Load())
				cancel()
				keeping.Wait()
				require.EqualValues(t, failures+1, stopped.Load())
			})
		})
	}
}

func TestAllWorkersAreStoppedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stopping sync.WaitGroup
		stopping.Add(2)
		build := func(func(error)) wiring.Poller {
			return fakeWorker{start: func() error { return nil }, stop: func() {
				stopping.Done()
				stopping.Wait() // for the other, as for the slowest activity
			}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wiring.KeepAll(ctx, slog.New(slog.DiscardHandler), build, build)
	})
}
