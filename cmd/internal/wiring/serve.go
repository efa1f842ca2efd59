package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/telemetry"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/starter"
)

const (
	// drainTimeout bounds how long requests that are under way may take at shutdown.
	drainTimeout    = 15 * time.Second
	backlogInterval = 5 * time.Second
	readyTimeout    = 2 * time.Second
	meterName       = "milepost"
	// profileTimeout leaves room for a CPU profile, which takes 30 s unless it is told otherwise.
	profileTimeout = 2 * time.Minute
)

// Options says what to serve.
type Options struct {
	Config config.Serve
	Roles  Roles
	// Logs is where JSON log lines go.
	Logs io.Writer
}

// Serve runs the given roles until ctx is done, then lets what is under way
// finish: first the HTTP requests, then the workflow starts and the activities.
func Serve(ctx context.Context, options Options) error {
	process, err := newProcess(ctx, options)
	if err != nil {
		return err
	}
	defer process.close()
	process.logger.Info("milepost.started", slog.Any("roles", options.Roles))
	err = process.run(ctx)
	process.awaitPairs()
	process.logger.Info("milepost.stopped")
	return err
}

type process struct {
	options   Options
	logger    *slog.Logger
	metrics   *telemetry.Metrics
	events    *telemetry.EventMetrics
	ledger    *db.Store // the receiver's own pool, so that nothing else can hold up an acknowledgement
	store     *db.Store
	temporal  client.Client
	namespace string
	starter   *starter.Starter
	requests  *starter.Requests

	tokens     *db.Store // a pool of its own: each refresh under way holds a connection of it
	vault      *db.Vault
	smartcar   *Smartcar
	activities *activities.Activities
}

func newProcess(ctx context.Context, options Options) (*process, error) {
	p := &process{options: options, logger: telemetry.NewLogger(options.Logs, options.Config.LogLevel)}
	var err error
	if p.metrics, err = telemetry.NewMetrics(); err != nil {
		return nil, err
	}
	meter := p.metrics.Meter(meterName)
	if p.events, err = telemetry.NewEventMetrics(meter); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	for _, step := range []func(context.Context) error{p.openStores, p.openTemporal, p.openSmartcar, p.openStarters} {
		if err := step(ctx); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// ledgerConnectTimeout keeps an answer of "unavailable" within the receiver's two seconds.
const ledgerConnectTimeout = time.Second

func (p *process) openStores(ctx context.Context) (err error) {
	settings := p.options.Config.Database
	url := settings.URL.Reveal()
	p.ledger, err = db.Open(ctx, db.Config{
		URL: url, MaxConnections: settings.LedgerConnections, ConnectTimeout: ledgerConnectTimeout,
	})
	if err != nil {
		return err
	}
	if p.store, err = db.Open(ctx, db.Config{URL: url, MaxConnections: settings.Connections}); err != nil {
		return err
	}
	p.tokens, err = db.Open(ctx, db.Config{URL: url, MaxConnections: p.options.Config.TokenConnections})
	return err
}

func (p *process) openTemporal(context.Context) (err error) {
	p.temporal, p.namespace, err = NewTemporalClient(p.logger, p.metrics.Meter(meterName))
	return err
}

func (p *process) openSmartcar(context.Context) error {
	cipher, err := OpenKeyset(p.options.Config.Keyset, p.logger)
	if err != nil {
		return err
	}
	p.vault = db.NewVault(p.tokens, cipher).WithLogger(p.logger)
	if p.smartcar, err = NewSmartcar(p.options.Config.Smartcar, p.logger); err != nil {
		return err
	}
	p.activities, err = p.newActivities()
	return err
}

func (p *process) openStarters(context.Context) (err error) {
	settings := p.options.Config
	p.starter, err = starter.New(starter.Deps{
		Ledger: p.store, Stale: p.store, Temporal: p.temporal, Logger: p.logger,
		Concurrency: settings.StartConcurrency, UnknownVehicleGrace: settings.UnknownVehicleGrace,
		HealAfter: settings.HealAfter,
	})
	if err != nil {
		return err
	}
	p.requests, err = starter.NewRequests(starter.RequestsDeps{
		Store: p.store, Temporal: p.temporal, Codes: p.activities, Logger: p.logger, Notices: settings.NoticeURL != "",
	})
	return err
}

func (p *process) close() {
	if p.temporal != nil {
		p.temporal.Close()
	}
	for _, store := range []*db.Store{p.tokens, p.store, p.ledger} {
		if store != nil {
			store.Close()
		}
	}
}

func (p *process) run(ctx context.Context) error {
	handler, err := p.receiver()
	if err != nil {
		return err
	}
	if err := p.verifyKeysetAtStart(ctx); err != nil {
		return err
	}
	// Starting and processing go on until the last request has been answered.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer stopBackground()
		return serveUntil(ctx, api.NewServer(p.options.Config.Listen, handler))
	})
	group.Go(func() error { return p.process(background) })
	group.Go(func() error { return p.keepTokens(background) })
	group.Go(func() error {
		return serveUntil(background, p.admin())
	})
	group.Go(func() error {
		p.events.WatchBacklog(background, p.store, backlogInterval)
		return nil
	})
	return group.Wait()
}

// admin serves what is for operators only: metrics and profiles.
func (p *process) admin() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.metrics.Handler())
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	server := api.NewServer(p.options.Config.AdminListen, mux)
	server.WriteTimeout = profileTimeout
	return server
}

// process runs the worker and the starter, as far as this process has the roles.
func (p *process) process(ctx context.Context) error {
	if !p.options.Roles.Has(RoleStarter) && !p.options.Roles.Has(RoleWorker) {
		return nil
	}
	var background sync.WaitGroup
	defer background.Wait()
	if p.options.Roles.Has(RoleStarter) {
		// Not after Temporal has answered: while it is away, authorization codes are saved here.
		background.Go(func() { p.requests.Run(ctx) })
	}
	if err := awaitTemporal(ctx, p.temporal, p.namespace, p.logger); err != nil {
		return ignoreCanceled(err)
	}
	background.Go(func() { p.restore(ctx) })
	if p.options.Roles.Has(RoleWorker) {
		background.Go(func() { p.keepWorkers(ctx) })
		background.Go(func() { p.keepSchedules(ctx) })
	}
	if p.options.Roles.Has(RoleStarter) {
		return p.starter.Run(ctx)
	}
	<-ctx.Done()
	return nil
}

// serveUntil serves until ctx is done and every request has been answered.
func serveUntil(ctx context.Context, server *http.Server) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", server.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(draining); err != nil {
		return fmt.Errorf("finish HTTP requests: %w", err)
	}
	return nil
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
