package smartcartest

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	defaultGrace           = time.Minute
	defaultCodeLife        = 10 * time.Minute
	defaultAccessLife      = 2 * time.Hour
	defaultRefreshLife     = 60 * 24 * time.Hour
	defaultApplicationLife = time.Hour

	maxRequestBody  = 1 << 20
	headerRequestID = "Sc-Request-Id"
)

// PlatformDeps are what a Platform needs.
type PlatformDeps struct {
	// ClientID and ClientSecret are the application id and the secret of v2. Required. The token endpoint takes them by
	// HTTP Basic and in the form.
	ClientID, ClientSecret string
	// APIClientID ("client_…") and APIClientSecret are those of v3; without them no application token is issued.
	APIClientID, APIClientSecret string
	// ManagementToken is the application management token; without one nothing is authorised by it.
	ManagementToken string
	// RedirectURIs are those registered, at least one; they match to the byte.
	RedirectURIs []string
	// Generation is what Connect brings back: smartcar.V2 (also when empty) a code, smartcar.V3 a user id.
	Generation smartcar.APIVersion
	// Users are who can sign in on the Connect page; none is one user for each owner of DefaultCars.
	Users []PlatformUser
	// CurrentCar, optional, tells how a car is now, for instance Simulator.Car; false is as in Users.
	CurrentCar func(vehicleID string) (Car, bool)
	// WebhookIDs are those that exist. Without any each id is accepted and the list shows the one of this package's events.
	WebhookIDs []string
	// Clock nil is the real one. It must be safe for concurrent use.
	Clock func() time.Time
	// Grace is how long a superseded refresh token still gives a fresh pair; 0 is 60 s.
	Grace time.Duration
	// The lives of codes, access, refresh and application tokens; 0 is 10 minutes, 2 hours, 60 days and 1 hour.
	CodeLife, AccessLife, RefreshLife, ApplicationLife time.Duration
	// RESTLimits are off when zero.
	RESTLimits RESTLimits
	// StateFile keeps tokens, connections and subscriptions over restarts; empty keeps nothing. Its mode is 0600.
	StateFile string
	// Logger may be nil. It never gets a token or a VIN.
	Logger *slog.Logger
	// OnConnected, OnSubscribed and OnUnsubscribed, optional, are called before the answer is sent, so they must return soon.
	// The last is also called for subscriptions that end with their connection.
	OnConnected    func(userID string, vehicleIDs []string)
	OnSubscribed   func(vehicleID string)
	OnUnsubscribed func(webhookID, vehicleID string)
}

func (d PlatformDeps) validate() error {
	var faults []error
	unless := func(ok bool, demand string) {
		if !ok {
			faults = append(faults, fmt.Errorf("%w: the platform %s", ErrOptions, demand))
		}
	}
	unless(d.ClientID != "" && d.ClientSecret != "", "needs a client id and a client secret")
	unless((d.APIClientID == "") == (d.APIClientSecret == ""), "needs both API client id and API client secret, or neither")
	unless(len(d.RedirectURIs) > 0 && !slices.Contains(d.RedirectURIs, ""), "needs redirect URIs, none of them empty")
	unless(slices.Contains([]smartcar.APIVersion{"", smartcar.V2, smartcar.V3}, d.Generation), "has the generation v2 or v3")
	for _, life := range []time.Duration{d.Grace, d.CodeLife, d.AccessLife, d.RefreshLife, d.ApplicationLife} {
		unless(life >= 0, "has no negative lives")
	}
	unless(d.RESTLimits.Application.isValid() && d.RESTLimits.Vehicle.isValid(), "has limits with a size and a refill, or neither")

	isID := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$`)
	seen := make(map[string]bool)
	unique := func(id string) bool {
		known := seen[id]
		seen[id] = true
		return !known && isID.MatchString(id)
	}
	for _, user := range d.Users {
		unless(unique(user.ID), "needs ids of users that differ, of letters, digits and _.:-, at most 64")
		for _, car := range user.Cars {
			unless(unique(car.VehicleID), "needs vehicle ids that differ, of letters, digits and _.:-, at most 64")
		}
	}
	return errors.Join(faults...)
}

func (d PlatformDeps) withDefaults() PlatformDeps {
	orElse := func(life *time.Duration, usual time.Duration) {
		if *life == 0 {
			*life = usual
		}
	}
	orElse(&d.Grace, defaultGrace)
	orElse(&d.CodeLife, defaultCodeLife)
	orElse(&d.AccessLife, defaultAccessLife)
	orElse(&d.RefreshLife, defaultRefreshLife)
	orElse(&d.ApplicationLife, defaultApplicationLife)
	if d.Generation == "" {
		d.Generation = smartcar.V2
	}
	if len(d.Users) == 0 {
		d.Users = defaultUsers()
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// Platform is Smartcar itself: Connect, the token endpoints, REST and management of both generations, on one host, since
// their paths do not collide. It sends no webhooks; Webhooks do. Its methods may be called from several
// goroutines.
type Platform struct {
	deps    PlatformDeps
	mux     *http.ServeMux
	control *http.ServeMux
	pages   *template.Template
	reads   map[string]read

	faults  faultList
	limits  limitList
	traffic traffic

	mu              sync.Mutex
	managementToken string
	users           []PlatformUser
	cars            map[string]*ownedCar
	ledger          ledger
	issued          []string
	application     *bucket
	vehicles        map[string]*bucket
}

// NewPlatform checks the dependencies, reporting all faults at once, and loads the state.
func NewPlatform(deps PlatformDeps) (*Platform, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	deps = deps.withDefaults()
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	platform := &Platform{
		deps: deps, pages: pages, reads: readsV2(), managementToken: deps.ManagementToken, ledger: newLedger(),
		application: newBucket(deps.RESTLimits.Application), vehicles: make(map[string]*bucket),
		traffic: traffic{flights: make(map[string]*flight)},
	}
	platform.users, platform.cars = register(deps.Users)
	platform.mux, platform.control = platform.routes(), platform.controlRoutes()
	if err := platform.load(); err != nil {
		return nil, err
	}
	return platform, nil
}

// Hosts names the platform as all of Smartcar's hosts; base is the URL at which it is served.
func (p *Platform) Hosts(base string) smartcar.Hosts {
	return smartcar.Hosts{Connect: base, Auth: base, IAM: base, API: base, Vehicle: base, Management: base}
}

// Paths are the patterns of net/http under which the platform is to be mounted on a mux that serves other things too.
func (p *Platform) Paths() []string {
	return []string{"/oauth/", "/oauth2/", "/v2.0/", "/v3/", controlPrefix}
}

// ServeHTTP answers as Smartcar does, or as a Fault or Limit has it.
func (p *Platform) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if strings.HasPrefix(request.URL.Path, controlPrefix) {
		p.control.ServeHTTP(response, request)
		return
	}
	if !p.serve(response, request) {
		panic(http.ErrAbortHandler) // net/http then closes the connection without an answer, and logs nothing.
	}
}

func (p *Platform) routes() *http.ServeMux {
	mux := http.NewServeMux()
	handlers := make(map[string]http.HandlerFunc)
	for _, part := range []map[string]http.HandlerFunc{p.routesOfConnect(), p.routesOfTokens(), p.routesV2(), p.routesV3()} {
		maps.Copy(handlers, part)
	}
	for pattern, handler := range handlers {
		mux.HandleFunc(pattern, handler)
	}
	return mux
}

// serve returns false when the connection is to be closed without an answer.
func (p *Platform) serve(response http.ResponseWriter, request *http.Request) bool {
	// Only when the body has been read does net/http notice that a client went away.
	body, err := readBody(request.Body)
	if err != nil {
		return false
	}
	if len(body) > maxRequestBody {
		http.Error(response, "the body is too large", http.StatusRequestEntityTooLarge)
		return true
	}
	request = request.WithContext(request.Context())
	request.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body)) // JSON and a bad form have no grant; the handlers say so.
	call := arrival{path: request.URL.Path, grant: form.Get("grant_type"), family: p.familyOf(form)}

	defer p.traffic.arrive(call, p.deps.Clock())()
	answer := &recordedAnswer{header: http.Header{headerRequestID: {uuid.NewString()}}}
	if !p.pass(answer, request, call) {
		return false
	}
	answer.send(response)
	return true
}

// readBody takes no body at all for an empty one, and at most one byte more than is allowed.
func readBody(body io.Reader) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	content, err := io.ReadAll(io.LimitReader(body, maxRequestBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	return content, nil
}

func (p *Platform) pass(answer *recordedAnswer, request *http.Request, call arrival) bool {
	if p.limits.refuse(answer, call, p.deps.Clock()) {
		return true
	}
	if fault := p.faults.take(call); fault != nil {
		return fault.run(answer, request, p.mux)
	}
	p.mux.ServeHTTP(answer, request)
	return true
}

// recordedAnswer holds an answer back until it is known whether it is to be sent.
type recordedAnswer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *recordedAnswer) Header() http.Header { return a.header }

func (a *recordedAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *recordedAnswer) Write(content []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body.Write(content)
	return len(content), nil
}

func (a *recordedAnswer) send(response http.ResponseWriter) {
	maps.Copy(response.Header(), a.header)
	a.WriteHeader(http.StatusOK)
	response.WriteHeader(a.status)
	_, _ = response.Write(a.body.Bytes()) // A client who has gone needs no answer.
}
