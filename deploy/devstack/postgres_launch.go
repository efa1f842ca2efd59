package devstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	maintenanceDatabase = "postgres"
	// A start includes crash recovery, which may read a lot of log.
	postgresStartLimit = 2 * time.Minute
	postgresAttempts   = 10
	postgresRetryDelay = 200 * time.Millisecond
	probeLimit         = 2 * time.Second
)

// launch retries an early exit: backends of a killed server may hold its shared
// memory for a while, and the new server will not start before they are gone. Where
// none was killed it soon gives up.
func (p *Postgres) launch(ctx context.Context) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, postgresStartLimit)
	defer cancel()

	_, missing := os.Stat(p.pidFile())
	killed := missing == nil
	for attempt := 1; ; attempt++ {
		process, err := p.launchOnce(ctx)
		if err == nil || attempt >= postgresAttempts && !killed || !errors.Is(err, ErrExited) {
			return process, err
		}
		if pause(ctx, postgresRetryDelay) != nil {
			return nil, err
		}
	}
}

func (p *Postgres) launchOnce(ctx context.Context) (*Process, error) {
	left := orphan{
		pidFile:  p.pidFile(),
		mark:     "-D " + p.place.dataDir + " ",
		politely: syscall.SIGINT,
		grace:    orphanGrace,
	}
	if err := left.stop(ctx, p.options.Progress); err != nil {
		return nil, err
	}

	process, err := StartProcess(ProcessOptions{
		Name:       postgresName,
		Path:       filepath.Join(p.options.BinDir, "postgres"),
		Args:       p.arguments(),
		Env:        serverEnvironment(),
		Dir:        p.place.dataDir,
		LogFile:    p.place.logFile,
		StopSignal: syscall.SIGINT, // "Fast shutdown": it does not wait for clients to leave.
		Credential: p.place.owner.credential(),
	})
	if err != nil {
		return nil, err
	}
	if err := process.WaitReady(ctx, p.prepare); err != nil {
		stopErr := process.Kill()
		<-process.Exited()

		return nil, errors.Join(fmt.Errorf("%w (log: %s)", err, p.place.logFile), stopErr)
	}

	return process, nil
}

// pidFile is the server's own, which it leaves behind when it is killed.
func (p *Postgres) pidFile() string { return filepath.Join(p.place.dataDir, "postmaster.pid") }

// prepare succeeds once the server takes connections and the database exists.
func (p *Postgres) prepare(ctx context.Context) error {
	connecting, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()

	connection, err := pgx.Connect(connecting, p.URL(maintenanceDatabase))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = connection.Close(ctx) }() // The probe's outcome is known by then.

	if p.options.Database == "" {
		return nil
	}

	return createDatabase(ctx, connection, p.options.Database)
}

// CreateDatabase creates a database, if there is none of that name.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) (err error) {
	connection, err := pgx.Connect(ctx, p.URL(maintenanceDatabase))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, connection.Close(ctx)) }()

	return createDatabase(ctx, connection, name)
}

func createDatabase(ctx context.Context, connection *pgx.Conn, name string) error {
	var exists bool
	query := "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
	if err := connection.QueryRow(ctx, query, name).Scan(&exists); err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := connection.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}

	return nil
}

func (p *Postgres) arguments() []string {
	settings := map[string]string{
		"listen_addresses":        loopback,
		"port":                    strconv.Itoa(p.options.Port),
		"unix_socket_directories": "",
		"max_connections":         strconv.Itoa(p.options.MaxConnections),
		"logging_collector":       "off",
	}
	if p.options.Unsafe {
		for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			settings[name] = "off"
		}
	}
	maps.Copy(settings, p.options.Settings)

	arguments := make([]string, 0, 2*len(settings)+2)
	arguments = append(arguments, "-D", p.place.dataDir)
	for _, entry := range sortedPairs(settings) {
		arguments = append(arguments, "-c", entry)
	}

	return arguments
}

// serverEnvironment fixes the language of the log and drops PG* variables.
func serverEnvironment() []string {
	return environmentWithout("PG", "LC_ALL=C")
}

// sortedPairs are "name=value" in a fixed order.
func sortedPairs(values map[string]string) []string {
	pairs := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		pairs = append(pairs, name+"="+values[name])
	}

	return pairs
}
