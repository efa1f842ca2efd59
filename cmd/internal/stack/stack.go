// Package stack runs a whole Milepost on one machine: PostgreSQL, the Temporal dev
// server, the migrations, a fleet to play with, and `milepost serve` as a child
// process that can be killed and comes back.
package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/keyset"
	"github.com/milepost/milepost/deploy/devstack"
	"github.com/milepost/milepost/workflows/contract"
)

// The ports of a stack that is not ephemeral; a busy one is replaced by a free one.
const (
	receiverPort   = 8080
	adminPort      = 9090
	postgresPort   = 15432
	temporalPort   = 7233
	temporalUIPort = 8233
)

const (
	databaseName = "milepost"
	dataDirMode  = 0o755
	secretMode   = 0o600
	readyLimit   = 3 * time.Minute
)

// Options describe a stack.
type Options struct {
	// DataDir holds the data, the logs and dev.env.
	DataDir string
	// Ephemeral keeps no data and uses free ports throughout.
	Ephemeral bool
	// FreePorts uses free ports throughout, but keeps the data.
	FreePorts bool
	// Binary is the milepost program to serve with; empty finds it beside the running program.
	Binary string
	// DatabaseURL is a PostgreSQL to use instead of starting one.
	DatabaseURL string
	// ManagementToken signs webhooks; empty makes one, and keeps it with the data.
	ManagementToken string
	// Roles for `milepost serve`; empty means all.
	Roles string
	// Environment adds to, or replaces, what `milepost serve` is started with.
	Environment map[string]string
	// Unsafe trades the durability of PostgreSQL for speed; not for benchmarks, nor where it is killed.
	Unsafe bool
	// WithoutUI leaves the Temporal UI out.
	WithoutUI bool
	// Smartcar starts a simulated Smartcar for the application, and gives its base URL; nil
	// leaves Connect to the SMARTCAR_* variables of Environment.
	Smartcar func(ctx context.Context, application Application) (url string, err error)
	// Progress is told in words what happens. May be nil.
	Progress func(message string)
}

// Stack is a running Milepost.
type Stack struct {
	options                            Options
	token, clientSecret, connectSecret string

	Postgres *devstack.Postgres // nil when a DatabaseURL was given
	Temporal *devstack.Temporal
	Milepost *devstack.Supervisor
	Store    *db.Store
	// Vault is on the stack's own keyset.
	Vault *db.Vault

	databaseURL      string
	secretsDir       string
	receiver, admin  string // host:port
	smartcarURL      string // "" for the real hosts
	stopInReverse    []func(context.Context) error
	serveEnvironment []string
}

// Start brings everything up and returns when it is ready. What was started is
// stopped again when something fails.
func Start(ctx context.Context, options Options) (*Stack, error) {
	if options.Progress == nil {
		options.Progress = func(string) {}
	}
	s := &Stack{options: options}
	for _, step := range []func(context.Context) error{
		s.prepare, s.startPostgres, s.startTemporal, s.migrate, s.startMilepost,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}
	return s, nil
}

// Stop stops everything, the last started first. It is complete even when parts fail.
func (s *Stack) Stop(ctx context.Context) error {
	var faults []error
	for len(s.stopInReverse) > 0 {
		last := len(s.stopInReverse) - 1
		stop := s.stopInReverse[last]
		s.stopInReverse = s.stopInReverse[:last]
		faults = append(faults, stop(ctx))
	}
	return errors.Join(faults...)
}

func (s *Stack) onStop(stop func(context.Context) error) {
	s.stopInReverse = append(s.stopInReverse, stop)
}

func (s *Stack) prepare(context.Context) error {
	var err error
	if s.options.DataDir, err = filepath.Abs(s.options.DataDir); err != nil {
		return fmt.Errorf("resolve the data directory: %w", err)
	}
	if err := os.MkdirAll(s.logs(), dataDirMode); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if s.options.Binary == "" {
		if s.options.Binary, err = siblingBinary(); err != nil {
			return err
		}
	}
	return s.secrets()
}

func (s *Stack) logs() string { return filepath.Join(s.options.DataDir, "logs") }

func (s *Stack) logFile(name string) string { return filepath.Join(s.logs(), name+".log") }

func (s *Stack) startPostgres(ctx context.Context) error {
	if s.options.DatabaseURL != "" {
		s.databaseURL = s.options.DatabaseURL
		return nil
	}
	port, err := s.port(postgresPort, "PostgreSQL")
	if err != nil {
		return err
	}
	options := devstack.PostgresOptions{
		DataDir: filepath.Join(s.options.DataDir, "postgres"), Ephemeral: s.options.Ephemeral, Port: port,
		Database: databaseName, LogFile: s.logFile("postgres"), Unsafe: s.options.Unsafe,
		Supervise: true, OnExit: s.childDied, OnRestart: s.childIsBack, Progress: s.options.Progress,
	}
	if s.options.Ephemeral {
		options.DataDir = ""
	}
	if s.Postgres, err = devstack.StartPostgres(ctx, options); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.onStop(s.Postgres.Stop)
	s.databaseURL = s.Postgres.URL(databaseName)
	return nil
}

func (s *Stack) startTemporal(ctx context.Context) error {
	port, err := s.port(temporalPort, "Temporal")
	if err != nil {
		return err
	}
	uiPort, err := s.port(temporalUIPort, "the Temporal UI")
	if err != nil {
		return err
	}
	options := devstack.TemporalOptions{
		DatabaseFile: filepath.Join(s.options.DataDir, "temporal", "temporal.db"), Port: port, UIPort: uiPort,
		LogFile: s.logFile("temporal"), SearchAttributes: map[string]string{},
		Supervise: true, OnExit: s.childDied, OnRestart: s.childIsBack, Progress: s.options.Progress,
	}
	if s.options.Ephemeral {
		options.DatabaseFile = ""
	}
	if s.options.WithoutUI {
		options.UIPort = devstack.Headless
	}
	for _, name := range contract.SearchAttributes() {
		options.SearchAttributes[name] = "Keyword"
	}
	if s.Temporal, err = devstack.StartTemporal(ctx, options); err != nil {
		return fmt.Errorf("start Temporal: %w", err)
	}
	s.onStop(s.Temporal.Stop)
	return nil
}

func (s *Stack) migrate(ctx context.Context) error {
	if err := db.Migrate(ctx, s.databaseURL); err != nil {
		return err
	}
	store, err := db.Open(ctx, db.Config{URL: s.databaseURL})
	if err != nil {
		return err
	}
	s.Store = store
	s.onStop(func(context.Context) error {
		store.Close()
		return nil
	})
	cipher, err := keyset.Open(keyset.SourceConfig{File: s.KeysetFile(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("open the keyset: %w", err)
	}
	s.Vault = db.NewVault(store, cipher)
	return seedFleet(ctx, store)
}

func (s *Stack) childDied(name string, err error) {
	s.options.Progress(fmt.Sprintf("%s died (%v); starting it again", name, err))
}

func (s *Stack) childIsBack(name string, pid int) {
	s.options.Progress(fmt.Sprintf("%s is back (pid %d)", name, pid))
}

// port gives the preferred port, or a free one when it is taken or the stack is ephemeral (0).
func (s *Stack) port(preferred int, what string) (int, error) {
	if s.options.Ephemeral || s.options.FreePorts {
		return 0, nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(preferred))) //nolint:noctx // nothing waits
	if err == nil {
		err = listener.Close()
	}
	if err == nil {
		return preferred, nil
	}
	free, err := devstack.FreePorts(1)
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	s.options.Progress(fmt.Sprintf("port %d is taken; %s listens on %d", preferred, what, free[0]))
	return free[0], nil
}

func siblingBinary() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find milepost: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "milepost")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no milepost program beside %s: run `make build`", self)
	}
	return path, nil
}
