package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
)

const (
	postgresName          = "postgresql"
	postgresUser          = "milepost"
	defaultMaxConnections = 200
)

// PostgresOptions describe a PostgreSQL server on 127.0.0.1.
type PostgresOptions struct {
	// DataDir holds the databases; it is made when it is missing or empty, with a
	// random password in the file <DataDir>.password. It may be empty with Ephemeral.
	DataDir string
	// Ephemeral removes everything at Stop. Without a DataDir a temporary one is used.
	Ephemeral bool
	// Port to listen on; 0 picks a free one, kept over restarts.
	Port int
	// Database is created when it is missing; empty creates none.
	Database string
	// LogFile receives the server's log; empty is <DataDir>.log.
	LogFile string
	// BinDir holds postgres and initdb; empty asks FindPostgres.
	BinDir string
	// MaxConnections is 200 when 0.
	MaxConnections int
	// Unsafe trades durability for speed: a crash of the machine may ruin the
	// data, a kill of the server may lose the last transactions. For tests.
	Unsafe bool
	// Settings are further server settings by name, such as shared_buffers.
	Settings map[string]string
	// Supervise brings a dead server back; OnExit and OnRestart tell of it.
	Supervise bool
	OnExit    func(name string, err error)
	OnRestart func(name string, pid int)
	// Progress is told, in words, what takes time or is unusual. May be nil.
	Progress func(message string)
}

func (o PostgresOptions) validate() error {
	var faults []error
	if o.DataDir == "" && !o.Ephemeral {
		faults = append(faults, fmt.Errorf("%w: PostgreSQL needs a data directory unless it is ephemeral", ErrOptions))
	}
	if o.Port < 0 || o.MaxConnections < 0 {
		faults = append(faults, fmt.Errorf("%w: PostgreSQL's port and connection limit must not be negative", ErrOptions))
	}

	return errors.Join(faults...)
}

// Postgres is a PostgreSQL server started by StartPostgres.
type Postgres struct {
	options    PostgresOptions
	place      *place
	password   string
	supervisor *Supervisor

	mu   sync.Mutex
	lock *fileLock
}

// StartPostgres makes the data directory if need be, starts the server and
// returns once it accepts connections; ctx bounds the start only. ErrInUse means
// that a live process runs a server on the same data; a server whose parent died
// is stopped instead.
//
// PostgreSQL refuses to run as root. As root the server runs as the account
// postgres, or else nobody, and when that account cannot reach DataDir the data
// go to a directory under /var/tmp, which Progress is told.
func StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	if options.Progress == nil {
		options.Progress = func(string) {}
	}
	if options.MaxConnections == 0 {
		options.MaxConnections = defaultMaxConnections
	}
	var err error
	if options.BinDir == "" {
		if options.BinDir, err = FindPostgres(ctx, options.Progress); err != nil {
			return nil, err
		}
	}
	if options.Port == 0 {
		ports, err := FreePorts(1)
		if err != nil {
			return nil, err
		}
		options.Port = ports[0]
	}

	server := &Postgres{options: options}
	if server.place, err = findPlace(options); err != nil {
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

// Start starts the server again, on the same port and data, after Stop or after
// a death without supervision; an ephemeral one that was stopped starts empty.
// ctx bounds the start only.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()

	if err := p.occupy(); err != nil {
		return err
	}
	password, err := p.place.initialise(ctx, p.options)
	if err != nil {
		return errors.Join(err, p.vacate())
	}
	p.password = password
	if err := p.supervisor.Start(ctx); err != nil {
		if errors.Is(err, ErrRunning) {
			return err
		}

		return errors.Join(err, p.vacate())
	}

	return nil
}

// URL is the connection string of a database on this server. It contains the
// password: keep it out of logs.
func (p *Postgres) URL(database string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(postgresUser, p.password),
		Host:     net.JoinHostPort(loopback, strconv.Itoa(p.options.Port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}

	return address.String()
}

// DataDir is where the data really are, which as root may be elsewhere than asked.
func (p *Postgres) DataDir() string { return p.place.dataDir }

// Process is the server at this moment.
func (p *Postgres) Process() *Process { return p.supervisor.Process() }

// Kill sends SIGKILL to the server, which comes back by itself if supervised.
func (p *Postgres) Kill() error { return p.supervisor.Kill() }

// Stop shuts the server down and waits for its end; an ephemeral one is removed.
func (p *Postgres) Stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()

	return errors.Join(p.supervisor.Stop(ctx), p.vacate())
}

func (p *Postgres) occupy() error {
	if p.lock != nil {
		return nil
	}
	if err := p.place.prepare(); err != nil {
		return err
	}
	lock, err := tryLock(p.place.lockFile())
	if err != nil {
		return err
	}
	p.lock = lock

	return nil
}

// vacate removes what is not to be kept and lets others use the data.
func (p *Postgres) vacate() error {
	if p.lock == nil {
		return nil
	}
	var err error
	if p.options.Ephemeral {
		err = p.place.remove()
	}
	err = errors.Join(err, p.lock.release())
	p.lock = nil

	return err
}
