package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/cmd/internal/load"
	"github.com/milepost/milepost/cmd/internal/stack"
)

const (
	awayClients  = 16
	awayInterval = 100 * time.Millisecond
	// awayPosts are enough for a median and a maximum that say something.
	awayPosts  = 200
	awayProbes = 2
	// promise bounds every 503, fast is for half of those that are not tried at all. Two
	// seconds and some milliseconds are meant; on a busy machine these still tell an
	// answer from a wait for the database, for which a client would give up.
	promise, fast = 10 * time.Second, 500 * time.Millisecond
	// acceptedAgain bounds how long a database that is back goes unnoticed, a second or two as a rule.
	acceptedAgain = time.Minute
)

// delivered is one delivery and its answer.
type delivered struct {
	body    []byte
	eventID string
	status  int
	started time.Time
	took    time.Duration
}

// deliveries are what several clients posted at once.
type deliveries struct {
	mutex sync.Mutex
	all   []delivered
}

func (d *deliveries) post(ctx context.Context, fleet *load.Load, n int) {
	eventID := uuid.NewString()
	next := delivered{eventID: eventID, body: fleet.Body(n, eventID), started: time.Now()}
	// The answer is wanted even when the posting ends meanwhile; no answer is status 0.
	next.status, _ = fleet.Post(context.WithoutCancel(ctx), next.body)
	next.took = time.Since(next.started)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.all = append(d.all, next)
}

// answered are those that got the status and were posted in the given time; a zero until is no end.
func (d *deliveries) answered(status int, from, until time.Time) []delivered {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return slices.DeleteFunc(slices.Clone(d.all), func(one delivered) bool {
		return one.status != status || one.started.Before(from) || (!until.IsZero() && !one.started.Before(until))
	})
}

func (d *deliveries) await(t *testing.T, status int, from time.Time) {
	t.Helper()
	require.Eventually(t, func() bool { return len(d.answered(status, from, time.Time{})) >= awayPosts }, soon, 10*time.Millisecond)
}

// whilePosting posts from several clients until meanwhile returns.
func (b *bundle) whilePosting(fleet *load.Load, meanwhile func(*deliveries)) *deliveries {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	posted := new(deliveries)
	var clients sync.WaitGroup
	for client := range awayClients {
		clients.Go(func() {
			ticker := time.NewTicker(awayInterval)
			defer ticker.Stop()
			for n := client; ctx.Err() == nil; n += awayClients {
				posted.post(ctx, fleet, n)
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	defer clients.Wait()
	defer stop()
	meanwhile(posted)
	return posted
}

// latencies sorts the times that answers took, and describes them.
func latencies(answers []delivered) (median, longest time.Duration, text string) {
	var took []time.Duration
	for _, answer := range answers {
		took = append(took, answer.took)
	}
	if len(took) == 0 {
		return 0, 0, "none"
	}
	slices.Sort(took)
	const percent = 100
	median, longest = took[len(took)/2], took[len(took)-1]
	text = fmt.Sprintf("%d, p50 %v, p99 %v, max %v", len(took), median.Round(time.Microsecond),
		took[len(took)*99/percent].Round(time.Microsecond), longest.Round(time.Microsecond))
	return median, longest, text
}

func TestADatabaseThatRefusesIsAnswered503AtOnce(t *testing.T) { //nolint:paralleltest // see underLoad
	b := setupDurable(t, stack.Options{})
	b.requireFastWhileAway(func() {
		require.NoError(t, b.Postgres.Kill())
		require.NoError(t, b.Postgres.Stop(t.Context()), "it is not to come back by itself")
	}, func() {
		require.NoError(t, b.Postgres.Start(t.Context()))
	})
}

func TestADatabaseThatHangsIsAnswered503AtOnce(t *testing.T) { //nolint:paralleltest // see underLoad
	b := setupDurable(t, stack.Options{})
	freeze, thaw := b.freezer()
	b.requireFastWhileAway(freeze, thaw)
}

func TestATemporalThatHangsLeavesMilepostReady(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{})
	pid := b.Temporal.Process().Pid()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	t.Cleanup(func() { require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) })
	b.awaitReady() // a load balancer must keep sending deliveries
}

// requireFastWhileAway takes the database away under deliveries and brings it back.
func (b *bundle) requireFastWhileAway(leave, comeBack func()) {
	t := b.t
	t.Helper()
	fleet := b.load(awayClients)
	var left, opened, back time.Time
	posted := b.whilePosting(fleet, func(posted *deliveries) {
		posted.await(t, http.StatusOK, time.Time{})
		left = time.Now()
		leave()
		b.awaitMetric("milepost_ledger_breaker_open 1")
		opened = time.Now()
		require.Equal(t, 503, b.get(b.URL()+"/ready"))
		t.Logf("/ready answered 503 after %v", time.Since(opened).Round(time.Millisecond))
		require.Equal(t, 200, b.get(b.URL()+"/health"))
		b.requireVerified(fleet)
		posted.await(t, http.StatusServiceUnavailable, opened)
		b.awaitFailedProbes(awayProbes)
		comeBack()
		back = time.Now()
		posted.await(t, http.StatusOK, back)
		b.awaitMetric("milepost_ledger_breaker_open 0")
		b.awaitReady()
		posted.await(t, http.StatusOK, time.Now())
	})

	_, longest, text := latencies(posted.answered(http.StatusServiceUnavailable, left, opened))
	t.Logf("503s posted before the breaker opened: %s", text)
	require.Less(t, longest, promise)
	median, longest, text := latencies(posted.answered(http.StatusServiceUnavailable, opened, back))
	t.Logf("503s posted after it opened, probes among them: %s", text)
	require.Less(t, median, fast)
	require.Less(t, longest, promise)
	b.requireNothingLost(fleet, posted, back)
}

// requireNothingLost requires that what was answered 2xx is in the ledger, and that the rest is taken when it is
// delivered again.
func (b *bundle) requireNothingLost(fleet *load.Load, posted *deliveries, back time.Time) {
	t := b.t
	t.Helper()
	refused := posted.answered(http.StatusServiceUnavailable, time.Time{}, time.Time{})
	var acknowledged []string
	for _, delivery := range posted.answered(http.StatusOK, time.Time{}, time.Time{}) {
		acknowledged = append(acknowledged, delivery.eventID)
	}
	require.Len(t, posted.all, len(refused)+len(acknowledged), "every post is answered 200 or 503")
	require.Subset(t, b.list("SELECT event_id FROM smartcar_webhook_events"), acknowledged)
	late := posted.answered(http.StatusServiceUnavailable, back, time.Time{})
	for _, delivery := range late {
		require.Less(t, delivery.started.Sub(back), acceptedAgain)
	}
	for _, delivery := range refused {
		b.post(fleet, delivery.body)
	}
	require.Equal(t, len(posted.all), b.count("SELECT count(*) FROM smartcar_webhook_events"))
	t.Logf("%d acknowledged, none lost; %d refused and taken later; %d of those refused after the database was back",
		len(acknowledged), len(refused), len(late))
}

func (b *bundle) requireVerified(fleet *load.Load) {
	b.t.Helper()
	started := time.Now()
	status, err := fleet.Post(b.t.Context(), []byte(`{"eventType":"VERIFY","data":{"challenge":"challenge_1"}}`))
	require.NoError(b.t, err)
	require.Equal(b.t, http.StatusOK, status)
	require.Less(b.t, time.Since(started), promise)
}

func (b *bundle) awaitMetric(line string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return strings.Contains(b.metrics(), "\n"+line+"\n") }, soon, 10*time.Millisecond, line)
}

func (b *bundle) awaitFailedProbes(count int) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		log, err := os.ReadFile(b.ServeLog())
		return err == nil && bytes.Count(log, []byte(`"breaker":"ledger","from":"half-open","to":"open"`)) >= count
	}, soon, 10*time.Millisecond)
}

// freezer stops PostgreSQL with all its processes, so that it neither answers nor refuses, and lets it go on.
func (b *bundle) freezer() (freeze, thaw func()) {
	b.t.Helper()
	server := b.Postgres.Process().Pid()
	frozen := []int{server}
	thaw = func() {
		for _, pid := range frozen {
			// One that has ended is no fault: connections were closed meanwhile.
			require.True(b.t, isNilOr(syscall.Kill(pid, syscall.SIGCONT), syscall.ESRCH))
		}
	}
	b.t.Cleanup(thaw) // before the stack stops it
	return func() {
		// The server first: after that it starts no more processes.
		require.NoError(b.t, syscall.Kill(server, syscall.SIGSTOP))
		for _, pid := range children(b.t, server) {
			require.True(b.t, isNilOr(syscall.Kill(pid, syscall.SIGSTOP), syscall.ESRCH))
			frozen = append(frozen, pid)
		}
	}, thaw
}

func isNilOr(err, other error) bool { return err == nil || errors.Is(err, other) }

// children reads what Linux says of all processes, since there may be no ps, and asks ps elsewhere.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	statuses, err := filepath.Glob("/proc/[0-9]*/status")
	require.NoError(t, err)
	of := map[string]string{} // the parent by process
	for _, path := range statuses {
		if status, err := os.ReadFile(path); err == nil { // else it has ended
			_, after, _ := strings.Cut(string(status), "\nPPid:")
			line, _, _ := strings.Cut(after, "\n")
			of[filepath.Base(filepath.Dir(path))] = strings.TrimSpace(line)
		}
	}
	if len(statuses) == 0 {
		listed, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "ppid=", "-o", "pid=").Output()
		require.NoError(t, err)
		for line := range strings.Lines(string(listed)) {
			fields := strings.Fields(line)
			require.Len(t, fields, 2)
			of[fields[1]] = fields[0]
		}
	}
	for process, its := range of {
		if its == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(process)
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	require.NotEmpty(t, pids)
	return pids
}
