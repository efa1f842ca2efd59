package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/time/rate"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	defaultAppendTimeout = 1500 * time.Millisecond
	defaultVerifyRate    = rate.Limit(2)
	defaultVerifyBurst   = 20
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 15 * time.Second
	idleTimeout       = 75 * time.Second
	maxHeaderBytes    = 16 << 10
)

// Deps is what the handlers need.
type Deps struct {
	// Keyring verifies signatures and answers VERIFY.
	Keyring smartcar.Keyring
	// Ledger keeps the deliveries; without one there are no webhook routes, only the health checks.
	Ledger Ledger
	// Quarantine keeps what is refused for its signature, for people to look at; nil keeps nothing.
	Quarantine Quarantine
	// Ready reports on the dependencies for /ready; it ought to return within a second.
	Ready  func(ctx context.Context) []DependencyStatus
	Logger *slog.Logger
	Meter  metric.Meter
	// Clock gives the time of receipt; default time.Now.
	Clock func() time.Time
	// AppendTimeout bounds the wait for the ledger; default 1.5 s, so that a 503 leaves within 2 s.
	AppendTimeout time.Duration
	// VerifyRate (per second) and VerifyBurst bound the answers to VERIFY; default 2 and 20.
	VerifyRate  rate.Limit
	VerifyBurst int
	// Consents keeps the journeys of owners through Connect; without it the paths of Connect say that it is not configured.
	Consents Consents
	// Connect makes the addresses that owners are sent to; needed with Consents.
	Connect ConnectURLs
	// ConnectSecrets verify the links of the application, each at least 16 bytes long; one is needed with Consents,
	// several are for rotation.
	ConnectSecrets []string
	// ReturnURL is where the pages lead back to, such as the application's list of cars; http or https, optional.
	ReturnURL string
	// SecureCookies is for a redirect URI that is https.
	SecureCookies bool
	// ConnectRate (per second) and ConnectBurst bound the requests to Connect, all owners' together; default 200 and 400.
	ConnectRate  rate.Limit
	ConnectBurst int
}

func (d *Deps) validate() error {
	var faults []error
	require := func(present bool, fault string) {
		if !present {
			faults = append(faults, errors.New(fault)) //nolint:err113 // For whoever wires the process; nobody branches on it.
		}
	}
	require(!d.Keyring.IsZero(), "api: Deps.Keyring is empty")
	require(d.Ready != nil, "api: Deps.Ready is missing")
	require(d.Logger != nil, "api: Deps.Logger is missing")
	require(d.Meter != nil, "api: Deps.Meter is missing")
	require(d.AppendTimeout >= 0, "api: Deps.AppendTimeout is negative")
	require(d.VerifyRate >= 0, "api: Deps.VerifyRate is negative")
	require(d.VerifyBurst >= 0, "api: Deps.VerifyBurst is negative")
	require(d.ConnectRate >= 0, "api: Deps.ConnectRate is negative")
	require(d.ConnectBurst >= 0, "api: Deps.ConnectBurst is negative")
	if d.Consents != nil {
		require(d.Connect != nil, "api: Deps.Connect is missing")
		require(len(d.ConnectSecrets) > 0, "api: Deps.ConnectSecrets is empty")
		require(!slices.ContainsFunc(d.ConnectSecrets, func(secret string) bool { return len(secret) < MinConnectSecretBytes }),
			"api: Deps.ConnectSecrets has one of less than 16 bytes")
		require(d.ReturnURL == "" || isWebURL(d.ReturnURL), "api: Deps.ReturnURL is not an absolute http or https URL")
	}
	return errors.Join(faults...)
}

func isWebURL(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != ""
}

func (d *Deps) applyDefaults() {
	if d.Clock == nil {
		d.Clock = time.Now
	}
	if d.AppendTimeout == 0 {
		d.AppendTimeout = defaultAppendTimeout
	}
	if d.VerifyRate == 0 {
		d.VerifyRate = defaultVerifyRate
	}
	if d.VerifyBurst == 0 {
		d.VerifyBurst = defaultVerifyBurst
	}
	if d.ConnectRate == 0 {
		d.ConnectRate = defaultConnectRate
	}
	if d.ConnectBurst == 0 {
		d.ConnectBurst = defaultConnectBurst
	}
}

// NewHandler builds the public handler. It returns all faults of deps at once.
func NewHandler(deps Deps) (http.Handler, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	deps.applyDefaults()
	counters, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, err
	}
	table, err := routes(&deps, counters)
	if err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	// Smartcar follows no redirect, so a redirect would be a lost delivery with a friendly face.
	engine.RedirectTrailingSlash = false
	engine.Use(recovery(deps.Logger))
	engine.NoRoute(func(c *gin.Context) {
		respond(c, http.StatusNotFound, errorBody{"no such path; webhooks go to POST /api/smartcar/webhook"})
	})
	engine.NoMethod(func(c *gin.Context) {
		respond(c, http.StatusMethodNotAllowed, errorBody{"method not allowed here; see the Allow header"})
	})
	for _, route := range table {
		engine.Handle(route.method, route.path, route.handle)
	}
	return engine, nil
}

type route struct {
	method, path string
	handle       gin.HandlerFunc
}

func routes(deps *Deps, counters *metrics) ([]route, error) {
	table := []route{{http.MethodGet, "/health", health}}
	checks := []readyCheck{deps.Ready}
	if deps.Ledger != nil {
		ledger, err := newLedgerBreaker(deps.Ledger, deps.Logger, deps.Meter)
		if err != nil {
			return nil, err
		}
		webhook := newWebhook(deps, ledger, counters)
		checks = append(checks, ledger.ready)
		table = append(table,
			route{http.MethodPost, "/api/smartcar/webhook", webhook.receive},
			route{http.MethodPost, "/api/webhooks/smartcar", webhook.receive},
			route{http.MethodPost, "/webhooks/smartcar", webhook.receive},
		)
	}
	table = append(table, route{http.MethodGet, "/ready", ready(checks...)})
	if deps.Consents == nil {
		return append(table, connectNotConfigured()...), nil
	}
	connect, err := newConnect(deps, counters)
	if err != nil {
		return nil, err
	}
	return append(table, connect.routes()...), nil
}

// NewServer builds a server for handler on addr whose timeouts let no slow client hold a connection: 5 s for the
// headers, 10 s for the request, 15 s (Smartcar's own patience) for the answer, 75 s idle; 16 KiB of headers.
func NewServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
}
