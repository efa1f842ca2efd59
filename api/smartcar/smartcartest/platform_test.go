package smartcartest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

const (
	applicationID  = "8229df9f-91a0-4ff0-a1ae-a1f38ee24d07"
	redirectURI    = "https://app.example/callback"
	platformSecret = "platform-secret"
	platformAMT    = "platform-management-token"
	apiClientID    = "client_platform"
)

// setClock is a clock that stands still until it is moved.
type setClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *setClock) Advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// lockedLog is a log that several goroutines write.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

type platformBundle struct {
	platform *smartcartest.Platform
	clock    *setClock
	url      string
	log      *lockedLog
	oauth    *smartcar.OAuth
	connect  smartcar.Connect
	v2       *smartcar.V2Client
	v3       *smartcar.V3Client
	tokens   *smartcar.ApplicationTokens
	// userID has two cars, an electric one and one with an engine; strangerID has one.
	userID, strangerID string
	cars               []string
	strangersCar       string
}

func platformDeps(clock *setClock, log io.Writer) smartcartest.PlatformDeps {
	cars := smartcartest.DefaultCars()
	return smartcartest.PlatformDeps{
		ClientID: applicationID, ClientSecret: platformSecret, APIClientID: apiClientID, APIClientSecret: platformSecret,
		ManagementToken: platformAMT, RedirectURIs: []string{"https://other.example/", redirectURI},
		Users: []smartcartest.PlatformUser{
			{ID: "user-one", Name: "Ada", Cars: []smartcartest.PlatformCar{{Car: cars[0]}, {Car: cars[1]}}},
			{ID: "user-two", Name: "Alan", Cars: []smartcartest.PlatformCar{{Car: cars[2]}}},
		},
		Clock: clock.Now, Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func setupPlatform(t *testing.T, change func(*smartcartest.PlatformDeps)) *platformBundle {
	t.Helper()
	bundle := &platformBundle{
		clock: &setClock{now: time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)}, log: &lockedLog{},
		userID: "user-one", strangerID: "user-two",
	}
	deps := platformDeps(bundle.clock, bundle.log)
	if change != nil {
		change(&deps)
	}
	var err error
	bundle.platform, err = smartcartest.NewPlatform(deps)
	require.NoError(t, err)
	server := httptest.NewServer(bundle.platform)
	t.Cleanup(server.Close)
	bundle.url = server.URL
	for _, car := range smartcartest.DefaultCars() {
		bundle.cars = append(bundle.cars, car.VehicleID)
	}
	bundle.cars, bundle.strangersCar = bundle.cars[:2], bundle.cars[2]

	hosts := bundle.platform.Hosts(bundle.url)
	bundle.oauth, err = smartcar.NewOAuth(smartcar.OAuthConfig{
		Hosts: hosts, ClientID: applicationID, ClientSecret: platformSecret, RedirectURI: redirectURI,
	})
	require.NoError(t, err)
	bundle.connect, err = smartcar.NewConnect(smartcar.ConnectConfig{
		Hosts: hosts, ClientID: applicationID, RedirectURI: redirectURI, API: smartcar.V2,
		Scopes: []string{"required:read_odometer", "read_vehicle_info", "read_vin", "read_battery", "read_fuel"},
	})
	require.NoError(t, err)
	bundle.v2, err = smartcar.NewV2Client(smartcar.ClientConfig{Hosts: hosts})
	require.NoError(t, err)
	bundle.v3, err = smartcar.NewV3Client(smartcar.ClientConfig{Hosts: hosts})
	require.NoError(t, err)
	bundle.tokens, err = smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{
		Hosts: hosts, ClientID: apiClientID, ClientSecret: platformSecret, Clock: bundle.clock.Now,
	})
	require.NoError(t, err)
	return bundle
}

// authorize consents on the Connect page and returns what the browser brings back.
func (b *platformBundle) authorize(t *testing.T, answer smartcartest.ConsentAnswer) smartcar.Callback {
	t.Helper()
	back, err := b.platform.Consent(t.Context(), b.connect.AuthorizeURL(smartcar.AuthorizeRequest{State: "s"}), answer)
	require.NoError(t, err)
	return callbackOf(t, back)
}

func callbackOf(t *testing.T, back string) smartcar.Callback {
	t.Helper()
	address, err := url.Parse(back)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(back, redirectURI+"?"))
	callback, err := smartcar.ParseCallback(address.RawQuery)
	require.NoError(t, err)
	return callback
}

func (b *platformBundle) issue(t *testing.T) smartcar.TokenPair {
	t.Helper()
	access, refresh := b.platform.Issue(b.userID, nil)
	require.NotEmpty(t, access)
	return smartcar.TokenPair{AccessToken: smartcar.Token(access), RefreshToken: smartcar.Token(refresh)}
}

func (b *platformBundle) isValid(pair smartcar.TokenPair) bool {
	return b.platform.ValidPair(pair.AccessToken.Reveal(), pair.RefreshToken.Reveal())
}

// answered is an answer whose body is an object.
type answered struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

// get is a value within the body by gjson's path.
func (a answered) get(path string) any { return gjson.Get(a.text, path).Value() }

// texts are the values of a path that leads to a list of texts.
func (a answered) texts(path string) []string {
	var texts []string
	for _, one := range gjson.Get(a.text, path).Array() {
		texts = append(texts, one.String())
	}
	return texts
}

// ask sends a request; authorization may be empty.
func (b *platformBundle) ask(t *testing.T, method, path, authorization string, header map[string]string, body string) answered {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", authorization)
	for name, value := range header {
		request.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	received := answered{status: response.StatusCode, header: response.Header, text: string(content)}
	if len(content) > 0 {
		_ = json.Unmarshal(content, &received.body) // A page is no object.
	}
	return received
}

func form() map[string]string {
	return map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
}

func TestAPlatformReportsAllThatIsWrongWithItsDependencies(t *testing.T) {
	t.Parallel()
	_, err := smartcartest.NewPlatform(smartcartest.PlatformDeps{
		APIClientID: "client_x", Generation: "v1", Grace: -1,
		RESTLimits: smartcartest.RESTLimits{Vehicle: smartcartest.Bucket{Size: 1}},
		Users:      []smartcartest.PlatformUser{{ID: "a"}, {ID: "a"}},
	})
	require.ErrorIs(t, err, smartcartest.ErrOptions)
	for _, part := range []string{"client secret", "API client secret", "redirect", "generation", "lives", "limits", "ids of users"} {
		require.ErrorContains(t, err, part)
	}
}

func TestWithoutUsersEachDefaultCarHasAnOwner(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) { deps.Users = nil })
	for _, car := range smartcartest.DefaultCars() {
		access, _ := bundle.platform.Issue(car.UserID, []string{car.VehicleID})
		require.NotEmpty(t, access)
	}
	access, _ := bundle.platform.Issue("nobody", nil)
	require.Empty(t, access)
}

func TestAPlatformLeavesOtherPathsToOthers(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	mux := http.NewServeMux()
	for _, path := range bundle.platform.Paths() {
		mux.Handle(path, bundle.platform)
	}
	for path, isMine := range map[string]bool{"/": false, "/cars": false, "/oauth/authorize": true, "/oauth2/token": true, "/v2.0/user": true, "/v3/webhooks": true, "/simulator/platform": true} {
		_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		require.Equal(t, isMine, pattern != "", path)
	}
	require.Equal(t, http.StatusNotFound, bundle.ask(t, http.MethodGet, "/cars", "", nil, "").status)
}

func TestACarIsShownAsTheSimulatorDrivesIt(t *testing.T) {
	t.Parallel()
	fleet := setupSimulator(t, func(*smartcartest.SimulatorDeps) {})
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) { deps.CurrentCar = fleet.simulator.Car })
	pair := bundle.issue(t)
	read := func() any {
		return bundle.ask(t, http.MethodGet, "/v2.0/vehicles/"+bundle.cars[0]+"/odometer", "Bearer "+pair.AccessToken.Reveal(), nil, "").body["distance"]
	}
	before := read()
	require.NoError(t, fleet.simulator.Step(t.Context()))
	require.Greater(t, read(), before)
	_, known := fleet.simulator.Car("nobody's")
	require.False(t, known)
}

func TestThePlatformLogsNoTokensAndNoVINs(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	callback := bundle.authorize(t, smartcartest.ConsentAnswer{UserID: bundle.userID})
	pair, err := bundle.oauth.Exchange(t.Context(), callback.Code)
	require.NoError(t, err)
	vehicle, err := bundle.v2.Vehicle(t.Context(), smartcar.Credential{AccessToken: pair.AccessToken}, bundle.cars[0])
	require.NoError(t, err)
	require.True(t, len(vehicle.VIN) == 17 && !strings.ContainsAny(vehicle.VIN, "IOQ"))
	require.Contains(t, bundle.log.String(), bundle.userID)
	isLogged := strings.Contains(bundle.log.String(), vehicle.VIN)
	require.False(t, isLogged, "a VIN was logged")
	issued := bundle.platform.IssuedTokens()
	require.Len(t, issued, 3)
	for _, token := range issued {
		isLogged = strings.Contains(bundle.log.String(), token)
		require.False(t, isLogged, "a token was logged")
	}
}
