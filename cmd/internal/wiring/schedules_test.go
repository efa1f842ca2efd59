package wiring_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/wiring"
	"github.com/milepost/milepost/deploy/devstack"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	// patience is how long a condition may take on a busy machine.
	patience = time.Minute
	often    = 20 * time.Millisecond
)

// schedules is a Temporal server that knows nothing of Milepost, and what a test does to it as an operator.
type schedules struct {
	client.Client

	t       *testing.T
	options wiring.Options
}

func setupSchedules(t *testing.T) *schedules {
	t.Helper()
	server, err := devstack.StartTemporal(t.Context(), devstack.TemporalOptions{UIPort: devstack.Headless})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })
	connection, err := client.DialContext(t.Context(), client.Options{
		HostPort: server.Address(), Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(connection.Close)
	options := wiring.Options{Roles: wiring.AllRoles(), Config: config.Serve{
		HealAfter: often, Reconcile: config.Reconcile{Interval: 24 * time.Hour},
		Retention: config.Retention{Payloads: time.Hour, SyncLogs: time.Hour},
	}}
	return &schedules{Client: connection, t: t, options: options}
}

// restoring has lost schedules and search attributes restored until the test ends.
func (s *schedules) restoring() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	var working sync.WaitGroup
	working.Go(func() { wiring.Restore(ctx, s.Client, s.options) })
	s.t.Cleanup(func() {
		cancel()
		working.Wait()
	})
}

func (s *schedules) handle(id string) client.ScheduleHandle {
	return s.ScheduleClient().GetHandle(s.t.Context(), id)
}

func (s *schedules) awaitSchedule(id string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, err := s.handle(id).Describe(s.t.Context())
		return err == nil
	}, patience, often, "there is no schedule %s", id)
}

// awaitRound waits until everything has been restored once more from its beginning to its end.
func (s *schedules) awaitRound() {
	s.t.Helper()
	for range 2 {
		require.NoError(s.t, s.handle(contract.CheckFleetSchedule).Delete(s.t.Context()))
		s.awaitSchedule(contract.CheckFleetSchedule)
	}
}

func (s *schedules) searchAttributes() []string {
	s.t.Helper()
	known, err := s.OperatorService().ListSearchAttributes(s.t.Context(),
		&operatorservice.ListSearchAttributesRequest{Namespace: client.DefaultNamespace})
	require.NoError(s.t, err)
	var names []string
	for name := range known.GetCustomAttributes() {
		names = append(names, name)
	}
	return names
}

func TestSchedulesAndSearchAttributesThatAreLostComeBack(t *testing.T) {
	t.Parallel()
	s := setupSchedules(t)
	s.restoring()
	for _, id := range []string{contract.CheckFleetSchedule, contract.RetentionSchedule, contract.ReconcileID} {
		s.awaitSchedule(id)
	}
	require.Subset(t, s.searchAttributes(), contract.SearchAttributes())
	require.Eventually(t, func() bool {
		fleet, err := s.handle(contract.CheckFleetSchedule).Describe(t.Context())
		return err == nil && fleet.Info.NumActions == 1
	}, patience, often, "the fleet is checked at once")
}

func TestWhatAnOperatorChangedStaysAsItIs(t *testing.T) {
	t.Parallel()
	s := setupSchedules(t)
	wiring.KeepSchedules(t.Context(), s.Client, s.options)
	ours := time.Minute
	require.NoError(t, s.handle(contract.RetentionSchedule).Pause(t.Context(), client.SchedulePauseOptions{}))
	require.NoError(t, s.handle(contract.ReconcileID).Update(t.Context(), client.ScheduleUpdateOptions{
		DoUpdate: func(found client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			found.Description.Schedule.Spec.Intervals[0].Every = ours
			return &client.ScheduleUpdate{Schedule: &found.Description.Schedule}, nil
		},
	}))
	s.restoring()
	s.awaitRound()

	retention, err := s.handle(contract.RetentionSchedule).Describe(t.Context())
	require.NoError(t, err)
	require.True(t, retention.Schedule.State.Paused)
	reconcile, err := s.handle(contract.ReconcileID).Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, ours, reconcile.Schedule.Spec.Intervals[0].Every)
}

func TestReconcileIsNotScheduledWhenItIsTurnedOff(t *testing.T) {
	t.Parallel()
	s := setupSchedules(t)
	s.options.Config.Interval = 0
	s.restoring()
	s.awaitSchedule(contract.CheckFleetSchedule)
	s.awaitRound()
	_, err := s.handle(contract.ReconcileID).Describe(t.Context())
	require.Error(t, err)
}
