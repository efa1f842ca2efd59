package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
)

// statusOf begins a consent, gives it a status and opens its page.
func statusOf(t *testing.T, b *connectBundle, status api.ConsentStatus) reply {
	t.Helper()
	web := b.browser(t)
	asked := web.start(t, b.link())
	got := web.answer(t, asked, "code", authorizationCode)
	b.consents.set(func(f *fakeConsents) { f.rows[len(f.rows)-1].status = status })
	return web.open(t, got.header.Get("Location"))
}

func TestAPendingConsentLoadsItsPageAgain(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	got := statusOf(t, b, api.ConsentStatus{Phase: api.ConsentPending})
	requirePage(t, got, http.StatusOK, "pending", "")
	require.Equal(t, "2", got.header.Get("Refresh"))
	require.Empty(t, got.header.Get("Retry-After"))
	require.Contains(t, got.body, `<h1 id="connect-title">Connecting your car…</h1>`)
}

func TestAConnectedConsentListsItsCars(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	got := statusOf(t, b, api.ConsentStatus{Phase: api.ConsentConnected, Vehicles: []api.ConnectedCar{
		{Make: "Volvo", Model: "XC40", Year: 2023}, {Make: "Tesla"}, {},
	}})
	requirePage(t, got, http.StatusOK, "connected", "")
	for _, car := range []string{"<li>Volvo XC40 2023</li>", "<li>Tesla</li>", "<li>A car without a name</li>"} {
		require.Contains(t, got.body, car)
	}
	require.Contains(t, got.body, `href="`+returnURL+`"`)
	require.Empty(t, got.header.Get("Refresh"))
	require.NotContains(t, got.body, owner)

	got = statusOf(t, b, api.ConsentStatus{Phase: api.ConsentConnected})
	requirePage(t, got, http.StatusOK, "connected", "")
	require.NotContains(t, got.body, "<ul")
}

func TestEveryFailureIsExplainedInItsOwnWords(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	title := regexp.MustCompile(`<p id="connect-happened">(.+)</p>`)
	explained := make(map[string]string)
	for _, reason := range []string{
		"access_denied", "vehicle_incompatible", "no_vehicles", "invalid_subscription", "configuration_error", "server_error",
		"unknown", "code_expired", "reauthentication_failed", "already_connected_elsewhere", "user_not_confirmed", "vehicle_refused",
	} {
		got := statusOf(t, b, api.ConsentStatus{Phase: api.ConsentFailed, Reason: reason})
		requirePage(t, got, http.StatusOK, "failed", reason)
		require.Empty(t, got.header.Get("Refresh"))
		found := title.FindStringSubmatch(got.body)
		require.NotNil(t, found)
		require.Empty(t, explained[found[1]], "%s has the text of another", reason)
		explained[found[1]] = reason
		require.NotContains(t, found[1], "_")
	}
	for _, reason := range []string{"internal", "", "a_reason_of_tomorrow"} {
		got := statusOf(t, b, api.ConsentStatus{Phase: api.ConsentFailed, Reason: reason})
		requirePage(t, got, http.StatusOK, "failed", reason)
		require.Equal(t, "unknown", explained[title.FindStringSubmatch(got.body)[1]])
	}
}

func TestAnErrorOfConnectUsesTheStateUpAndIsShown(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	for sent, reason := range map[string]string{
		"access_denied": "access_denied", "vehicle_incompatible": "vehicle_incompatible", "no_vehicles": "no_vehicles",
		"invalid_subscription": "invalid_subscription", "configuration_error": "configuration_error",
		"server_error": "server_error", "something_new": "unknown",
	} {
		asked := web.start(t, b.link())
		got := web.answer(t, asked, "error", sent, "error_description", "A text of Smartcar's", "vin", "1HGCM82633A004352")
		require.Equal(t, http.StatusSeeOther, got.status)
		page := web.open(t, got.header.Get("Location"))
		requirePage(t, page, http.StatusOK, "failed", reason)
		require.NotContains(t, page.body, "1HGCM82633A004352")
		require.NotContains(t, page.body, "A text of Smartcar")
		requirePage(t, web.answer(t, asked, "error", sent), http.StatusConflict, "error", "state_used")
		require.EqualValues(t, 1, b.countedConnect(t, reason))
	}
}

func TestAnIncompatibleCarIsNamed(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	got := web.answer(t, web.start(t, b.link()), "error", "vehicle_incompatible", "make", "TESLA", "model", "Model S", "year", "2012")
	page := web.open(t, got.header.Get("Location"))
	requirePage(t, page, http.StatusOK, "failed", "vehicle_incompatible")
	require.Contains(t, page.body, "<li>TESLA Model S 2012</li>")
	page = statusOf(t, b, api.ConsentStatus{Phase: api.ConsentFailed, Reason: "vehicle_incompatible", Vehicles: []api.ConnectedCar{{}}})
	requirePage(t, page, http.StatusOK, "failed", "vehicle_incompatible")
	require.NotContains(t, page.body, "<li>")
}

func TestHostileNamesOfCarsAreEscaped(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	const hostile = `"><script>alert(1)</script>`
	got := web.answer(t, web.start(t, b.link()), "error", "vehicle_incompatible", "make", hostile, "model", `</li><img src=x>`)
	page := web.open(t, got.header.Get("Location"))
	requirePage(t, page, http.StatusOK, "failed", "vehicle_incompatible")
	require.NotContains(t, page.body, "<script")
	require.NotContains(t, page.body, "<img")
	require.Contains(t, page.body, "&lt;script&gt;")

	page = statusOf(t, b, api.ConsentStatus{Phase: api.ConsentFailed, Reason: hostile})
	require.NotContains(t, page.body, "<script")
}

func TestAnUnknownConsentHasNoPage(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	requirePage(t, b.browser(t).open(t, statusPath+strings.Repeat("A", 22)), http.StatusNotFound, "error", "consent_unknown")
	b.consents.set(func(f *fakeConsents) { f.fail = errors.New("asked for what cannot be an id") })
	for _, id := range []string{"", "x", strings.Repeat("*", 22), "%00", strings.Repeat("A", 5000)} {
		requirePage(t, b.browser(t).open(t, statusPath+id), http.StatusNotFound, "error", "consent_unknown")
	}
}

func TestTheStatusIsAlsoGivenAsJSON(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	web.start(t, b.link())
	id := b.consents.row(t, 0).new.ID
	for body, status := range map[string]api.ConsentStatus{
		`{"phase":"pending","vehicles":[]}`:                       {Phase: api.ConsentPending},
		`{"phase":"failed","reason":"no_vehicles","vehicles":[]}`: {Phase: api.ConsentFailed, Reason: "no_vehicles"},
		`{"phase":"connected","vehicles":[{"make":"Volvo","model":"XC40","year":2023}]}`: {
			Phase: api.ConsentConnected, Vehicles: []api.ConnectedCar{{Make: "Volvo", Model: "XC40", Year: 2023}},
		},
	} {
		b.consents.set(func(f *fakeConsents) { f.rows[0].status = status })
		got := web.request(t, http.MethodGet, statusPath+id, http.Header{"Accept": {"application/json"}})
		require.Equal(t, http.StatusOK, got.status)
		require.Equal(t, "application/json", got.header.Get("Content-Type"))
		require.JSONEq(t, body, got.body)
	}
	got := web.request(t, http.MethodGet, statusPath+"x", http.Header{"Accept": {"application/json"}})
	require.Equal(t, http.StatusNotFound, got.status)
	require.JSONEq(t, `{"phase":"error","reason":"consent_unknown","vehicles":[]}`, got.body)
	requirePage(t, web.request(t, http.MethodGet, statusPath+"x", http.Header{"Accept": {"*/*"}}), http.StatusNotFound, "error", "consent_unknown")
}

func TestEveryAnswerIsKeptOutOfCachesFramesAndReferrers(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	started := web.open(t, b.linkPath(b.link()))
	id := b.consents.row(t, 0).new.ID
	for _, got := range []reply{
		started, web.open(t, "/api/smartcar/connect"), web.open(t, "/api/smartcar/callback"), web.open(t, statusPath+id),
		web.request(t, http.MethodGet, statusPath+id, http.Header{"Accept": {"application/json"}}),
		web.open(t, "/api/smartcar/callback?code=c&state="+b.consents.row(t, 0).new.State),
	} {
		require.Equal(t, "no-store", got.header.Get("Cache-Control"))
		require.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"))
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", got.header.Get("X-Frame-Options"))
		policy := got.header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none';")
		require.Contains(t, policy, "frame-ancestors 'none'")
	}
}

func TestThePagesStyleIsTheOneThatThePolicyAllows(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	got := b.browser(t).open(t, "/api/smartcar/connect")
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(got.body)
	require.NotNil(t, style)
	require.Contains(t, style[1], "max-width")
	sum := sha256.Sum256([]byte(style[1]))
	require.Contains(t, got.header.Get("Content-Security-Policy"), "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	require.Contains(t, got.body, `<html lang="en">`)
	require.Contains(t, got.body, `name="viewport"`)
	for _, forbidden := range []string{"<script", "src=", "style=", "@import", "url("} {
		require.NotContains(t, got.body, forbidden)
	}
}

func TestWithoutAReturnURLThereIsNoLinkBack(t *testing.T) {
	t.Parallel()
	b := setupConnect(t, func(deps *api.Deps) { deps.ReturnURL = "" })
	require.NotContains(t, b.browser(t).open(t, "/api/smartcar/connect").body, "connect-return")
}

func TestAPanicBehindConnectIsAnswered500(t *testing.T) {
	t.Parallel()
	b := setupConnect(t, func(deps *api.Deps) { deps.Connect = nilURLs{} })
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, b.linkPath(b.link()), nil))
	require.Equal(t, http.StatusInternalServerError, recorder.Code)
	require.True(t, json.Valid(recorder.Body.Bytes()))
	require.NotContains(t, b.logs.String(), owner)
}

type nilURLs struct{ api.ConnectURLs }
