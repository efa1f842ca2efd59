package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"
)

const (
	temporalName       = "temporal"
	temporalNamespace  = "default"
	temporalStartLimit = 3 * time.Minute
)

// Headless as TemporalOptions.UIPort starts no UI.
const Headless = -1

// TemporalOptions describe a Temporal dev server on 127.0.0.1.
type TemporalOptions struct {
	// DatabaseFile keeps the state (SQLite); empty keeps it in memory, where it
	// ends with the process.
	DatabaseFile string
	// Port is the gRPC port, UIPort that of the web UI; 0 picks a free one, kept
	// over restarts. UIPort may be Headless.
	Port, UIPort int
	// LogFile receives the server's log (level warn); empty discards it.
	LogFile string
	// Binary is the temporal program; empty asks FindTemporal.
	Binary string
	// SearchAttributes to register: type (Keyword, Int, …) by name.
	SearchAttributes map[string]string
	// DynamicConfig adds to, or replaces, the settings chosen here; the values are JSON.
	DynamicConfig map[string]string
	// Supervise brings a dead server back; OnExit and OnRestart tell of it.
	Supervise bool
	OnExit    func(name string, err error)
	OnRestart func(name string, pid int)
	// Progress is told, in words, what takes time or is unusual. May be nil.
	Progress func(message string)
}

func (o TemporalOptions) validate() error {
	var faults []error
	if o.Port < 0 || o.UIPort < Headless {
		faults = append(faults, fmt.Errorf("%w: the Temporal server's ports must not be negative", ErrOptions))
	}
	for name, kind := range o.SearchAttributes {
		if _, err := enums.IndexedValueTypeFromString(kind); err != nil {
			faults = append(faults, fmt.Errorf("%w: search attribute %s: %w", ErrOptions, name, err))
		}
	}

	return errors.Join(faults...)
}

// Temporal is a Temporal dev server started by StartTemporal.
type Temporal struct {
	options               TemporalOptions
	httpPort, metricsPort int
	supervisor            *Supervisor

	mu   sync.Mutex
	lock *fileLock
}

// StartTemporal starts the server and returns once its namespace "default"
// answers and the search attributes are there; ctx bounds the start only.
// ErrInUse means that a live process runs a server on the same DatabaseFile; a
// server whose parent died is stopped instead.
func StartTemporal(ctx context.Context, options TemporalOptions) (*Temporal, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	if options.Progress == nil {
		options.Progress = func(string) {}
	}
	var err error
	if options.Binary == "" {
		if options.Binary, err = FindTemporal(ctx, options.Progress); err != nil {
			return nil, err
		}
	}
	if options.DatabaseFile != "" {
		if options.DatabaseFile, err = filepath.Abs(options.DatabaseFile); err != nil {
			return nil, fmt.Errorf("resolve the database file: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(options.DatabaseFile), publicDirMode); err != nil {
			return nil, fmt.Errorf("make the directory of the database file: %w", err)
		}
	}

	server := &Temporal{options: options}
	if err := server.choosePorts(); err != nil {
		return nil, err
	}
	server.supervisor = newSupervisor(SupervisorOptions{
		Launch: server.launch, Restart: options.Supervise, OnExit: options.OnExit, OnRestart: options.OnRestart,
	})
	if err := server.Start(ctx); err != nil {
		return nil, err
	}

	return server, nil
}

// Start starts the server again, on the same ports and data, after Stop or after
// a death without supervision. ctx bounds the start only.
func (t *Temporal) Start(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.lock == nil && t.options.DatabaseFile != "" {
		lock, err := tryLock(t.options.DatabaseFile + ".lock")
		if err != nil {
			return err
		}
		t.lock = lock
	}
	if err := t.supervisor.Start(ctx); err != nil {
		if errors.Is(err, ErrRunning) {
			return err
		}

		return errors.Join(err, t.unlock())
	}

	return nil
}

// Address is host:port of the gRPC frontend.
func (t *Temporal) Address() string {
	return net.JoinHostPort(loopback, strconv.Itoa(t.options.Port))
}

// UIURL is the address of the web UI, empty when there is none.
func (t *Temporal) UIURL() string {
	if t.options.UIPort == Headless {
		return ""
	}

	return "http://" + net.JoinHostPort(loopback, strconv.Itoa(t.options.UIPort))
}

// Process is the server at this moment.
func (t *Temporal) Process() *Process { return t.supervisor.Process() }

// Kill sends SIGKILL to the server, which comes back by itself if supervised.
func (t *Temporal) Kill() error { return t.supervisor.Kill() }

// Stop shuts the server down and waits for its end.
func (t *Temporal) Stop(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()

	err := t.supervisor.Stop(ctx)
	if t.options.DatabaseFile != "" && t.lock != nil {
		if removeErr := os.Remove(t.pidFile()); !errors.Is(removeErr, os.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}

	return errors.Join(err, t.unlock())
}

func (t *Temporal) unlock() error {
	if t.lock == nil {
		return nil
	}
	err := t.lock.release()
	t.lock = nil

	return err
}

func (t *Temporal) pidFile() string { return t.options.DatabaseFile + ".pid" }

// choosePorts picks all of the server's ports at once: what it chose itself could
// clash with what it was given.
func (t *Temporal) choosePorts() error {
	wanted := []*int{&t.options.Port, &t.options.UIPort, &t.httpPort, &t.metricsPort}
	ports, err := FreePorts(len(wanted))
	if err != nil {
		return err
	}
	for i, port := range wanted {
		if *port == 0 {
			*port = ports[i]
		}
	}

	return nil
}
