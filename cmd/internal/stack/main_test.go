package stack_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	temporallog "go.temporal.io/sdk/log"

	"log/slog"

	"github.com/milepost/milepost/cmd/internal/load"
	"github.com/milepost/milepost/cmd/internal/stack"
)

const (
	webhookPath = "/api/smartcar/webhook"
	payloads    = "../../../api/smartcar/testdata/payloads"
	// soon bounds the wait for what happens at once on an idle machine.
	soon = time.Minute
)

// binary is the milepost program, and workbench milepost-dev, built once from the code under test.
var binary, workbench string

// record makes the histories of workflows' replay test anew; `make record` uses it.
var record = flag.String("record", "", "write the histories of the payload test to this directory")

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	flag.Parse()
	forgetSettings()
	directory, err := os.MkdirTemp("", "milepost-stack-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(directory) }() // a temporary directory
	binary, workbench = filepath.Join(directory, "milepost"), filepath.Join(directory, "milepost-dev")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", directory, //nolint:noctx // before any test
		"github.com/milepost/milepost/cmd/milepost", "github.com/milepost/milepost/cmd/milepost-dev")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build milepost and milepost-dev: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// forgetSettings keeps what a shell exports, such as dev.env, from the programs under test.
func forgetSettings() {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		ours := name == "DATABASE_URL" || strings.HasPrefix(name, "SMARTCAR") ||
			strings.HasPrefix(name, "MILEPOST_") || strings.HasPrefix(name, "TEMPORAL_")
		if ours && name != requireBrowser {
			_ = os.Unsetenv(name) // it fails only for names that cannot be set
		}
	}
}

// bundle is a whole Milepost of a test's own.
type bundle struct {
	*stack.Stack

	t        *testing.T
	temporal client.Client
	pool     *pgxpool.Pool
	// refused counts the 503s that post met.
	refused int
}

// setup starts a stack whose PostgreSQL does not wait for the disk, which many tests
// share. It must not be killed: see setupDurable.
func setup(t *testing.T, options stack.Options) *bundle {
	t.Helper()
	options.Unsafe = true
	return setupDurable(t, options)
}

// setupDurable starts a stack whose PostgreSQL may be killed.
func setupDurable(t *testing.T, options stack.Options) *bundle {
	t.Helper()
	options.DataDir, options.FreePorts, options.Binary, options.WithoutUI = dataDir(t), true, binary, true
	options.Progress = func(message string) { t.Log(message) }
	running, err := stack.Start(t.Context(), options)
	require.NoError(t, err)
	after := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		if t.Failed() {
			if log, err := os.ReadFile(running.ServeLog()); err == nil {
				t.Logf("the end of the log of milepost serve:\n%s", log[max(0, len(log)-4000):])
			}
		}
		require.NoError(t, running.Stop(after))
	})
	temporal, err := client.NewLazyClient(client.Options{
		HostPort: running.Temporal.Address(), Logger: temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	pool, err := pgxpool.New(t.Context(), running.DatabaseURL())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return &bundle{Stack: running, t: t, temporal: temporal, pool: pool}
}

// dataDir is a directory that PostgreSQL's own account can reach, unlike t.TempDir.
func dataDir(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "milepost-stack-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(directory)) })
	require.NoError(t, os.Chmod(directory, 0o711))
	return directory
}

func (b *bundle) load(concurrency int) *load.Load {
	b.t.Helper()
	fleet, err := load.New(b.t.Context(), load.Deps{
		URL: b.URL() + webhookPath, Token: b.ManagementToken(), Vehicles: b.Store, Concurrency: concurrency,
	})
	require.NoError(b.t, err)
	return fleet
}

// post posts a signed body and requires that it is acknowledged, sooner or later.
func (b *bundle) post(fleet *load.Load, body []byte) {
	b.t.Helper()
	refused, err := deliver(b.t.Context(), fleet, body)
	b.refused += refused
	require.NoError(b.t, err)
}

// deliver posts a signed body until it is acknowledged, and counts the 503s before
// that: a busy machine may keep the ledger longer than Smartcar waits, which then
// delivers again. Any other answer is an error.
func deliver(ctx context.Context, fleet *load.Load, body []byte) (refused int, err error) {
	const again = 200 * time.Millisecond
	for limit := time.Now().Add(soon); ; refused++ {
		status, err := fleet.Post(ctx, body)
		if err != nil || status == http.StatusOK {
			return refused, err
		}
		if status != http.StatusServiceUnavailable || time.Now().After(limit) {
			return refused, fmt.Errorf("answered %d, after %d 503s", status, refused)
		}
		time.Sleep(again)
	}
}

// ended waits until an event is closed and gives its outcome or failure class.
func (b *bundle) ended(eventID string) string {
	b.t.Helper()
	var end string
	require.Eventually(b.t, func() bool {
		row := b.pool.QueryRow(b.t.Context(), `SELECT coalesce(outcome, failure_class, '') FROM smartcar_webhook_events
			WHERE event_id = $1 AND status IN ('processed', 'failed')`, eventID)
		return row.Scan(&end) == nil
	}, soon, 20*time.Millisecond, "event %s is not closed", eventID)
	return end
}

// count gives the single number that a query selects; it waits for the database to be there.
func (b *bundle) count(query string, arguments ...any) (count int) {
	b.t.Helper()
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), query, arguments...).Scan(&count))
	return count
}

// list gives the single column that a query selects.
func (b *bundle) list(query string, arguments ...any) []string {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), query, arguments...)
	require.NoError(b.t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return found
}

// milepost runs the program as support staff would and gives what it prints.
func (b *bundle) milepost(arguments ...string) string {
	b.t.Helper()
	output, err := b.runMilepost(arguments...)
	require.NoError(b.t, err, "%s", output)
	return output
}

func (b *bundle) runMilepost(arguments ...string) (output string, err error) {
	command := exec.CommandContext(b.t.Context(), binary, arguments...)
	command.Env = os.Environ()
	for name, value := range b.Environment() {
		command.Env = append(command.Env, name+"="+value)
	}
	printed, err := command.CombinedOutput()
	return string(printed), err
}

// awaitReady waits until Milepost is ready: that asks the database, which may be slow for once.
func (b *bundle) awaitReady() {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return b.get(b.URL()+"/ready") == http.StatusOK }, soon, 50*time.Millisecond)
}

func (b *bundle) get(url string) (status int) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, url, nil)
	require.NoError(b.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(b.t, err)
	require.NoError(b.t, response.Body.Close())
	return response.StatusCode
}
