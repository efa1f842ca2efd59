package api_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
)

const (
	connectSecret         = "a-connect-secret-of-the-application"
	previousConnectSecret = "the-connect-secret-before-that-one"
	owner                 = "anna.owner+car@example.com"
	ownersVehicle         = "5a4b1c9e-0001-4a57-9d3c-3f6b1f2c7d10"
	returnURL             = "https://app.example.com/cars?tab=mine"
)

type consentRow struct {
	new    api.NewConsent
	answer *api.ConsentAnswer
	status api.ConsentStatus
}

// fakeConsents keeps consents in memory, with the rules of the real ones. fail, when set, is the error of every call.
type fakeConsents struct {
	mutex sync.Mutex
	rows  []*consentRow
	calls int
	fail  error
	// missing is whether the owner's cars miss permissions.
	missing bool
}

func (f *fakeConsents) Begin(_ context.Context, consent api.NewConsent) (api.BegunConsent, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.fail != nil {
		return api.BegunConsent{}, f.fail
	}
	if consent.VehicleID != "" && consent.VehicleID != ownersVehicle {
		return api.BegunConsent{}, api.ErrConsentVehicle
	}
	f.rows = append(f.rows, &consentRow{new: consent, status: api.ConsentStatus{Phase: api.ConsentPending}})
	return api.BegunConsent{ExternalID: "external-id-of-owner", MissesPermissions: f.missing}, nil
}

func (f *fakeConsents) Complete(_ context.Context, answer api.ConsentAnswer) (string, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.calls++
	if f.fail != nil {
		return "", f.fail
	}
	at := slices.IndexFunc(f.rows, func(row *consentRow) bool { return row.new.State == answer.State })
	if at < 0 {
		return "", api.ErrStateUnknown
	}
	row := f.rows[at]
	switch {
	case row.answer != nil:
		return "", api.ErrStateUsed
	case row.new.Browser != answer.Browser:
		return "", api.ErrStateOtherBrowser
	case answer.ReceivedAt.After(row.new.ExpiresAt):
		return "", api.ErrStateExpired
	}
	row.answer = &answer
	if failure := answer.Callback.Error; failure != nil {
		row.status = api.ConsentStatus{Phase: api.ConsentFailed, Reason: failure.Code}
		if failure.Make != "" {
			row.status.Vehicles = []api.ConnectedCar{{Make: failure.Make, Model: failure.Model, Year: failure.Year}}
		}
	}
	return row.new.ID, nil
}

func (f *fakeConsents) Status(_ context.Context, consentID string) (api.ConsentStatus, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.fail != nil {
		return api.ConsentStatus{}, f.fail
	}
	for _, row := range f.rows {
		if row.new.ID == consentID {
			return row.status, nil
		}
	}
	return api.ConsentStatus{}, api.ErrConsentUnknown
}

func (f *fakeConsents) set(change func(f *fakeConsents)) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	change(f)
}

func (f *fakeConsents) row(t *testing.T, index int) consentRow {
	t.Helper()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	require.Greater(t, len(f.rows), index)
	return *f.rows[index]
}

func (f *fakeConsents) completions() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.calls
}

// connectBundle is a server with Connect, and the time that it takes for now.
type connectBundle struct {
	*bundle

	consents *fakeConsents
	clock    sync.Mutex
	time     time.Time
}

func setupConnect(t *testing.T, changes ...func(*api.Deps)) *connectBundle {
	t.Helper()
	b := &connectBundle{consents: &fakeConsents{}, time: time.Date(2026, 11, 20, 14, 5, 1, 0, time.UTC)}
	urls, err := smartcar.NewConnect(smartcar.ConnectConfig{
		Hosts:    smartcar.Hosts{Connect: "https://connect.example.com"},
		ClientID: "2a7c1f0e-0000-4000-8000-000000000001", RedirectURI: "https://milepost.example.com/api/smartcar/callback",
		Scopes: []string{"required:read_odometer"}, API: smartcar.V2,
	})
	require.NoError(t, err)
	b.bundle = setup(t, func(deps *api.Deps, _ *fakeLedger) {
		deps.Consents, deps.Connect, deps.ReturnURL = b.consents, urls, returnURL
		deps.ConnectSecrets = []string{connectSecret, previousConnectSecret}
		deps.Clock = b.now
		for _, change := range changes {
			change(deps)
		}
	})
	return b
}

func (b *connectBundle) now() time.Time {
	b.clock.Lock()
	defer b.clock.Unlock()
	return b.time
}

func (b *connectBundle) pass(d time.Duration) {
	b.clock.Lock()
	defer b.clock.Unlock()
	b.time = b.time.Add(d)
}

func (b *connectBundle) link() api.ConnectLink {
	return api.ConnectLink{User: owner, ExpiresAt: b.now().Add(10 * time.Minute)}
}

// linkPath is the path and query of the link, signed.
func (b *connectBundle) linkPath(link api.ConnectLink) string {
	return api.SignedConnectURL("", link, connectSecret)
}

// browser keeps cookies and follows no redirect.
type browser struct {
	bundle *connectBundle
	client *http.Client
}

func (b *connectBundle) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{bundle: b, client: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (w *browser) request(t *testing.T, method, path string, header http.Header) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, w.bundle.url+path, nil)
	require.NoError(t, err)
	maps.Copy(request.Header, header)
	response, err := w.client.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return reply{status: response.StatusCode, header: response.Header, body: string(body)}
}

func (w *browser) open(t *testing.T, path string) reply {
	t.Helper()
	return w.request(t, http.MethodGet, path, http.Header{"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}})
}

// start opens a link and gives the query that Smartcar is called with.
func (w *browser) start(t *testing.T, link api.ConnectLink) url.Values {
	t.Helper()
	got := w.open(t, w.bundle.linkPath(link))
	require.Equal(t, http.StatusFound, got.status, got.body)
	target, err := url.Parse(got.header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, "connect.example.com", target.Host)
	return target.Query()
}

// answer comes back from Smartcar with the state of a start and pairs of further parameters.
func (w *browser) answer(t *testing.T, started url.Values, parameters ...string) reply {
	t.Helper()
	query := url.Values{"state": {started.Get("state")}}
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	return w.open(t, "/api/smartcar/callback?"+query.Encode())
}

func requirePage(t *testing.T, got reply, status int, phase, reason string) {
	t.Helper()
	require.Equal(t, status, got.status, got.body)
	require.Equal(t, "text/html; charset=utf-8", got.header.Get("Content-Type"))
	require.Contains(t, got.body, `<body data-phase="`+phase+`" data-reason="`+reason+`">`)
}

func (b *connectBundle) countedConnect(t *testing.T, result string) int64 {
	t.Helper()
	return connectCounts(t, b.reader)[result]
}

func connectCounts(t *testing.T, reader *sdkmetric.ManualReader) map[string]int64 {
	t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &collected))
	counts := make(map[string]int64)
	for _, scope := range collected.ScopeMetrics {
		for _, instrument := range scope.Metrics {
			if sum, ok := instrument.Data.(metricdata.Sum[int64]); ok && instrument.Name == "milepost_connect" {
				for _, point := range sum.DataPoints {
					value, _ := point.Attributes.Value("result")
					counts[value.AsString()] += point.Value
				}
			}
		}
	}
	return counts
}
