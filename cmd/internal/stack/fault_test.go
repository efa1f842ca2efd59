package stack_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/cmd/internal/load"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/deploy/devstack"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	// loadInterval spaces the posts of each of the load's clients.
	loadInterval = 100 * time.Millisecond
	loadClients  = 4
	// recovery bounds the wait until everything acknowledged is processed.
	recovery = 15 * time.Minute
)

// answers are what a load got while something was broken.
type answers struct {
	mutex        sync.Mutex
	acknowledged []string
	refused      map[int]int // by status; 0 is no answer at all
}

// underLoad posts events until meanwhile returns. Tests under load run one at a
// time: the receiver owes its answers within two seconds, and two cores carry one load.
func (b *bundle) underLoad(meanwhile func(*answers)) *answers {
	b.t.Helper()
	fleet := b.load(loadClients)
	ctx, stop := context.WithCancel(b.t.Context())
	got := &answers{refused: map[int]int{}}
	var clients sync.WaitGroup
	for client := range loadClients {
		clients.Go(func() {
			ticker := time.NewTicker(loadInterval)
			defer ticker.Stop()
			for n := client; ctx.Err() == nil; n += loadClients {
				got.post(ctx, fleet, n)
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	meanwhile(got)
	stop()
	clients.Wait()
	return got
}

func (a *answers) post(ctx context.Context, fleet *load.Load, n int) {
	eventID := uuid.NewString()
	// The answer is wanted even when the load ends meanwhile.
	status, err := fleet.Post(context.WithoutCancel(ctx), fleet.Body(n, eventID))
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if err == nil && status == http.StatusOK {
		a.acknowledged = append(a.acknowledged, eventID)
		return
	}
	a.refused[status]++
}

func (a *answers) counts() (acknowledged, refused int) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, count := range a.refused {
		refused += count
	}
	return len(a.acknowledged), refused
}

// requireAllProcessed waits until nothing is left to do, and requires that every
// acknowledged event had its one effect.
func (b *bundle) requireAllProcessed(got *answers) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		return b.count("SELECT count(*) FROM smartcar_webhook_events WHERE status NOT IN ('processed', 'failed')") == 0
	}, recovery, 100*time.Millisecond)
	processed := b.list("SELECT event_id FROM smartcar_webhook_events WHERE status = 'processed'")
	require.Subset(b.t, processed, got.acknowledged, "everything acknowledged is processed")
	require.Zero(b.t, b.count("SELECT count(*) FROM smartcar_webhook_events WHERE status = 'failed'"))
	require.Equal(b.t, len(processed), b.count("SELECT count(*) FROM meter_entries WHERE superseded_at IS NULL"))
	require.Equal(b.t, len(processed), b.count("SELECT count(DISTINCT event_id) FROM meter_entries"))
	require.Equal(b.t, len(processed), b.count("SELECT count(*) FROM vehicle_data"), "each event's one signal, once")
	b.t.Logf("%d acknowledged, %d in the ledger, all processed; refused: %v", len(got.acknowledged), len(processed), got.refused)
}

// requireWorkflowsClosed requires a closed workflow for every processed event.
func (b *bundle) requireWorkflowsClosed() {
	b.t.Helper()
	for _, eventID := range b.list("SELECT event_id FROM smartcar_webhook_events") {
		require.NoError(b.t, b.temporal.GetWorkflow(b.t.Context(), eventID, "").Get(b.t.Context(), nil), eventID)
	}
}

func TestAMinuteWithoutTemporalLosesNothingAndRefusesNothing(t *testing.T) { //nolint:paralleltest // see underLoad
	b := setup(t, stack.Options{})
	got := b.underLoad(func(got *answers) {
		got.await(t, 20)
		require.NoError(t, b.Temporal.Stop(t.Context()))
		before, _ := got.counts()
		outage := time.NewTimer(time.Minute)
		defer outage.Stop()
		select {
		case <-outage.C:
		case <-t.Context().Done():
		}
		b.awaitReady() // a load balancer must keep sending deliveries
		after, _ := got.counts()
		require.Greater(t, after, before+100)
		require.NoError(t, b.Temporal.Start(t.Context()))
		got.await(t, after+20)
	})
	// Temporal is away for most of the posts: were it asked, most would be refused. What a
	// busy machine keeps from the ledger for longer than its limit is a few of them.
	acknowledged, refused := got.counts()
	require.LessOrEqual(t, refused, acknowledged/20, "refused: %v", got.refused)
	require.Equal(t, refused, got.refused[http.StatusServiceUnavailable], "every post is answered: %v", got.refused)
	b.requireAllProcessed(got)
}

func TestATemporalThatForgotEverythingIsToldAgain(t *testing.T) { //nolint:paralleltest // see underLoad
	c := setupCustody(t, 1, stack.Options{Ephemeral: true, Environment: map[string]string{
		"MILEPOST_HEAL_AFTER": "2s", "MILEPOST_RECONCILE_INTERVAL": "24h", // a poll would be one more entry
	}})
	c.connectAll()
	got := c.underLoad(func(got *answers) {
		for range 3 {
			acknowledged, _ := got.counts()
			got.await(t, acknowledged+20)
			require.NoError(t, c.Temporal.Kill()) // in memory, so it comes back empty
		}
	})
	c.requireAllProcessed(got)
	c.awaitSleeping(c.cars[0].VehicleID)
	for _, id := range []string{contract.CheckFleetSchedule, contract.RetentionSchedule, contract.ReconcileID} {
		require.Eventually(t, func() bool {
			_, err := c.temporal.ScheduleClient().GetHandle(t.Context(), id).Describe(t.Context())
			return err == nil
		}, soon, 50*time.Millisecond, "there is no schedule %s", id)
	}
}

func TestADeadDatabaseIsAnswered503AndLosesNothingAcknowledged(t *testing.T) { //nolint:paralleltest // see underLoad
	b := setupDurable(t, stack.Options{})
	got := b.underLoad(func(got *answers) {
		got.await(t, 20)
		require.NoError(t, b.Postgres.Stop(t.Context()))
		before, _ := got.counts()
		got.awaitRefused(t, 20)
		after, _ := got.counts()
		require.LessOrEqual(t, after-before, loadClients, "only what was under way when the database stopped")
		require.Equal(t, 200, b.get(b.URL()+"/health"))
		require.Equal(t, 503, b.get(b.URL()+"/ready"))
		require.NoError(t, b.Postgres.Start(t.Context()))
		got.await(t, after+20)
	})
	require.Len(t, got.refused, 1, "refused: %v", got.refused)
	require.Positive(t, got.refused[http.StatusServiceUnavailable])
	b.requireAllProcessed(got)
}

func TestAKilledDatabaseLosesNothingAcknowledged(t *testing.T) { //nolint:paralleltest // see underLoad
	b := setupDurable(t, stack.Options{})
	got := b.underLoad(func(got *answers) {
		for range 3 {
			acknowledged, _ := got.counts()
			got.await(t, acknowledged+20)
			require.NoError(t, b.Postgres.Kill()) // the stack starts it again
		}
		acknowledged, _ := got.counts()
		got.await(t, acknowledged+20)
	})
	b.requireAllProcessed(got)
}

func TestAKilledMilepostLosesNothingAcknowledgedAndDoublesNothing(t *testing.T) { //nolint:paralleltest // see underLoad
	b := setup(t, stack.Options{})
	got := b.underLoad(func(got *answers) {
		for range 5 {
			acknowledged, _ := got.counts()
			got.await(t, acknowledged+30)
			require.NoError(t, b.Milepost.Kill()) // the stack starts it again
		}
		acknowledged, _ := got.counts()
		got.await(t, acknowledged+30)
	})
	b.requireAllProcessed(got)
	b.requireWorkflowsClosed()
}

func TestAPoliteStopAnswersWhatIsUnderWayAndLosesNothing(t *testing.T) { //nolint:paralleltest // see underLoad
	b := setup(t, stack.Options{})
	got := b.underLoad(func(got *answers) {
		got.await(t, 50)
		require.NoError(t, b.Milepost.Stop(t.Context()))
		require.NoError(t, b.Milepost.Start(t.Context()))
		acknowledged, _ := got.counts()
		got.await(t, acknowledged+20)
	})
	b.requireAllProcessed(got)
}

// await waits until so many posts have been acknowledged.
func (a *answers) await(t *testing.T, acknowledged int) {
	t.Helper()
	require.Eventually(t, func() bool {
		got, _ := a.counts()
		return got >= acknowledged
	}, soon, 10*time.Millisecond)
}

func (a *answers) awaitRefused(t *testing.T, refused int) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, got := a.counts()
		return got >= refused
	}, soon, 10*time.Millisecond)
}

// serveAlone runs one more `milepost serve` with a single role until the test ends.
func (b *bundle) serveAlone(role string) {
	b.t.Helper()
	environment := os.Environ()
	for name, value := range b.Environment() {
		environment = append(environment, name+"="+value)
	}
	process, err := devstack.StartProcess(devstack.ProcessOptions{
		Name: role, Path: binary, Args: []string{"serve", "--roles=" + role},
		Env:     append(environment, "MILEPOST_LISTEN=127.0.0.1:0", "MILEPOST_ADMIN_LISTEN=127.0.0.1:0"),
		LogFile: filepath.Join(b.t.TempDir(), role+".log"),
	})
	require.NoError(b.t, err)
	ctx := context.WithoutCancel(b.t.Context())
	b.t.Cleanup(func() { require.NoError(b.t, process.Stop(ctx)) })
}

func (b *bundle) metrics() string {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.AdminURL()+"/metrics", nil)
	require.NoError(b.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(b.t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, response.Body.Close())
	return string(text)
}
