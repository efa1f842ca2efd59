package devstack_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/deploy/devstack"
)

const (
	eventually = 30 * time.Second
	often      = 10 * time.Millisecond
)

// messages collects progress, which may come from several goroutines.
type messages struct {
	mu   sync.Mutex
	list []string
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()

	return strings.Join(m.list, "\n")
}

func (m *messages) add(message string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, message)
}

// dataDir is one the server's account can reach: t.TempDir is closed to others.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, closed := range []string{dir, filepath.Dir(dir)} {
		require.NoError(t, os.Chmod(closed, 0o755))
	}

	return filepath.Join(dir, "postgres")
}

func startPostgres(t *testing.T, options devstack.PostgresOptions) *devstack.Postgres {
	t.Helper()
	server, err := devstack.StartPostgres(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })

	return server
}

func execute(t *testing.T, address, statement string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	_, err = connection.Exec(t.Context(), statement)
	require.NoError(t, err)
	require.NoError(t, connection.Close(t.Context()))
}

func number(t *testing.T, address, query string) int {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	var result int
	require.NoError(t, connection.QueryRow(t.Context(), query).Scan(&result))
	require.NoError(t, connection.Close(t.Context()))

	return result
}

func TestPostgresComesBackAfterAKillWithItsData(t *testing.T) {
	t.Parallel()
	restarts := make(chan int, 1)
	server := startPostgres(t, devstack.PostgresOptions{
		DataDir: dataDir(t), Database: "app", Supervise: true,
		OnRestart: func(_ string, pid int) { restarts <- pid },
	})
	address := server.URL("app")
	execute(t, address, "CREATE TABLE kept AS SELECT 42 AS answer")
	first := server.Process().Pid()

	require.NoError(t, server.Kill())
	require.NotEqual(t, first, <-restarts)
	require.Equal(t, address, server.URL("app"))
	require.Equal(t, 42, number(t, address, "SELECT answer FROM kept"))

	require.NoError(t, server.Stop(t.Context()))
	require.True(t, isGone(t, server.Process().Pid())())
	require.Empty(t, restarts, "a stopped server does not come back")
}

func TestPostgresKeepsItsDataOverStopAndStart(t *testing.T) {
	t.Parallel()
	options := devstack.PostgresOptions{DataDir: dataDir(t), Unsafe: true}
	server, err := devstack.StartPostgres(t.Context(), options)
	require.NoError(t, err)
	execute(t, server.URL("postgres"), "CREATE TABLE kept AS SELECT 42 AS answer")

	_, err = devstack.StartPostgres(t.Context(), options)
	require.ErrorIs(t, err, devstack.ErrInUse)

	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, server.Start(t.Context()))
	require.Equal(t, 42, number(t, server.URL("postgres"), "SELECT answer FROM kept"))
	require.NoError(t, server.Stop(t.Context()))

	again := startPostgres(t, options)
	require.Equal(t, 42, number(t, again.URL("postgres"), "SELECT answer FROM kept"))
}

func TestPostgresIsNeitherOpenNorCareless(t *testing.T) {
	t.Parallel()
	server := startPostgres(t, devstack.PostgresOptions{DataDir: dataDir(t)})

	t.Run("refuses a wrong password", func(t *testing.T) {
		t.Parallel()
		address, err := url.Parse(server.URL("postgres"))
		require.NoError(t, err)
		address.User = url.UserPassword("milepost", "wrong")
		_, err = pgx.Connect(t.Context(), address.String())
		require.ErrorContains(t, err, "password authentication failed")
	})
	t.Run("keeps the password to its owner", func(t *testing.T) {
		t.Parallel()
		info, err := os.Stat(server.DataDir() + ".password")
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})
	t.Run("is durable unless asked otherwise", func(t *testing.T) {
		t.Parallel()
		query := `SELECT count(*) FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') AND setting = 'on'`
		require.Equal(t, 3, number(t, server.URL("postgres"), query))
	})
	t.Run("takes 200 connections", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, 200, number(t, server.URL("postgres"), "SELECT current_setting('max_connections')::int"))
	})
}

func TestEphemeralPostgresLeavesNothing(t *testing.T) {
	t.Parallel()
	server, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{Ephemeral: true, Unsafe: true})
	require.NoError(t, err)
	require.DirExists(t, server.DataDir())

	require.NoError(t, server.Stop(t.Context()))
	require.NoDirExists(t, filepath.Dir(server.DataDir()))
}

func TestEphemeralPostgresSweepsUpAfterKilledParents(t *testing.T) {
	t.Parallel()
	left := func(age time.Duration) string {
		base, err := os.MkdirTemp("", "milepost-postgres-") //nolint:usetesting // It must be where servers leave them.
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(base)) })
		lock := filepath.Join(base, "data.lock")
		require.NoError(t, os.WriteFile(lock, nil, 0o600))
		then := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(lock, then, then))

		return base
	}
	old, young := left(2*time.Hour), left(time.Minute)

	startPostgres(t, devstack.PostgresOptions{Ephemeral: true, Unsafe: true})
	require.NoDirExists(t, old)
	require.DirExists(t, young)
}

func TestPostgresStartIsNotHinderedBy(t *testing.T) {
	t.Parallel()

	t.Run("a pid file whose process id now belongs to a stranger", func(t *testing.T) {
		t.Parallel()
		options := devstack.PostgresOptions{DataDir: dataDir(t), Unsafe: true}
		server := startPostgres(t, options)
		pidFile := filepath.Join(server.DataDir(), "postmaster.pid")
		content, err := os.ReadFile(pidFile)
		require.NoError(t, err)
		require.NoError(t, server.Kill())
		<-server.Process().Exited()

		// The stranger has the server's own account, so PostgreSQL would believe in it.
		stranger := shell(t, "exec sleep 600")
		stranger.LogFile = ""
		info, err := os.Stat(server.DataDir())
		require.NoError(t, err)
		if status, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			stranger.Credential = &syscall.Credential{Uid: status.Uid, Gid: status.Gid}
			stranger.Dir = "/"
		}
		process := start(t, stranger)
		_, rest, _ := strings.Cut(string(content), "\n")
		require.NoError(t, os.WriteFile(pidFile, []byte(strconv.Itoa(process.Pid())+"\n"+rest), 0o600))

		require.NoError(t, server.Start(t.Context()))
		require.False(t, isGone(t, process.Pid())(), "the stranger is left alone")
	})

	t.Run("a live server whose parent is gone", func(t *testing.T) {
		t.Parallel()
		options := devstack.PostgresOptions{DataDir: dataDir(t), Unsafe: true}
		first := startPostgres(t, options)
		execute(t, first.URL("postgres"), "CREATE TABLE kept AS SELECT 42 AS answer")
		// Without its lock file the running server counts as left behind.
		require.NoError(t, os.Remove(first.DataDir()+".lock"))

		progress := &messages{}
		options.Progress = progress.add
		second := startPostgres(t, options)
		require.Contains(t, progress.String(), "left behind")
		<-first.Process().Exited()
		require.Equal(t, 42, number(t, second.URL("postgres"), "SELECT answer FROM kept"))
	})

	t.Run("an initdb that was interrupted", func(t *testing.T) {
		t.Parallel()
		options := devstack.PostgresOptions{DataDir: dataDir(t), Unsafe: true}
		require.NoError(t, os.MkdirAll(filepath.Join(options.DataDir+".init", "base"), 0o700))
		startPostgres(t, options)
	})
}

//nolint:tparallel // The subtest needs what the test has left.
func TestPostgresAsRootGoesWhereItsAccountCanReach(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has to hand the server to another account")
	}
	private := t.TempDir()
	require.NoError(t, os.Chmod(private, 0o700))
	progress := &messages{}
	options := devstack.PostgresOptions{
		DataDir: filepath.Join(private, "postgres"), Unsafe: true, Ephemeral: true, Progress: progress.add,
	}

	server := startPostgres(t, options)
	require.True(t, strings.HasPrefix(server.DataDir(), "/var/tmp/milepost-"), server.DataDir())
	require.Contains(t, progress.String(), "cannot reach")
	base := filepath.Dir(server.DataDir())
	require.NoError(t, server.Stop(t.Context()))
	require.NoDirExists(t, base)

	t.Run("and not where somebody else was before", func(t *testing.T) {
		require.NoError(t, os.Mkdir(base, 0o755))
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(base)) })
		_, err := devstack.StartPostgres(t.Context(), options)
		require.ErrorIs(t, err, os.ErrPermission)
	})
}

func TestPostgresOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{Port: -1})
	require.ErrorContains(t, err, "data directory")
	require.ErrorContains(t, err, "negative")
}
