package api_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
)

const (
	authorizationCode = "9a1c5c0e-aaaa-4bbb-8ccc-1d2e3f4a5b6c"
	statusPath        = "/api/smartcar/connect/status?id="
)

func requireRandom(t *testing.T, text string) {
	t.Helper()
	bits, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	require.Len(t, bits, 16)
}

func TestAnOwnerIsSentToSmartcarAndBack(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	link := b.link()
	link.Name, link.Make = "Anna Owner", "TESLA"
	asked := web.start(t, link)
	require.Equal(t, "code", asked.Get("response_type"))
	require.Equal(t, "TESLA", asked.Get("make"))
	require.Equal(t, "external-id-of-owner", asked.Get("external_id"))
	require.Empty(t, asked.Get("approval_prompt"))

	begun := b.consents.row(t, 0).new
	require.Equal(t, asked.Get("state"), begun.State)
	require.Equal(t, owner, begun.User)
	require.Equal(t, "Anna Owner", begun.Name)
	require.Empty(t, begun.VehicleID)
	require.Equal(t, b.now().Add(15*time.Minute), begun.ExpiresAt)
	for _, random := range []string{begun.ID, begun.State, begun.Browser} {
		requireRandom(t, random)
	}
	require.NotEqual(t, begun.ID, begun.State)
	require.NotEqual(t, begun.State, begun.Browser)

	got := web.answer(t, asked, "code", authorizationCode, "user_id", "11111111-2222-4333-8444-555555555555")
	require.Equal(t, http.StatusSeeOther, got.status)
	require.Equal(t, statusPath+begun.ID, got.header.Get("Location"))
	answer := b.consents.row(t, 0).answer
	require.NotNil(t, answer)
	require.Equal(t, authorizationCode, answer.Callback.Code.Reveal())
	require.Equal(t, b.now(), answer.ReceivedAt)
	requirePage(t, web.open(t, got.header.Get("Location")), http.StatusOK, "pending", "")
	require.EqualValues(t, 1, b.countedConnect(t, "started"))
	require.EqualValues(t, 1, b.countedConnect(t, "consented"))
}

func TestAnOwnerWhoseCarMissesPermissionsIsShownTheConsentPageAgain(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.consents.missing = true
	require.Equal(t, "force", b.browser(t).start(t, b.link()).Get("approval_prompt"))
}

func TestAnOwnerSignsInAgainForACar(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	link := b.link()
	link.VehicleID = ownersVehicle
	asked := web.start(t, link)
	require.Equal(t, "vehicle_id", asked.Get("response_type"))
	require.Equal(t, ownersVehicle, asked.Get("vehicle_id"))
	require.Equal(t, ownersVehicle, b.consents.row(t, 0).new.VehicleID)
	require.Equal(t, http.StatusSeeOther, web.answer(t, asked, "vehicle_id", ownersVehicle).status)

	link.VehicleID = "somebody-elses-vehicle"
	got := web.open(t, b.linkPath(link))
	requirePage(t, got, http.StatusForbidden, "error", "vehicle_not_connected")
	require.Empty(t, got.header.Get("Set-Cookie"))
}

func TestAStateIsGoodForOneAnswer(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	asked := web.start(t, b.link())
	require.Equal(t, http.StatusSeeOther, web.answer(t, asked, "code", authorizationCode).status)
	requirePage(t, web.answer(t, asked, "code", authorizationCode), http.StatusConflict, "error", "state_used")
	requirePage(t, web.answer(t, asked, "error", "access_denied"), http.StatusConflict, "error", "state_used")
	require.EqualValues(t, 2, b.countedConnect(t, "state_used"))
}

func TestAForgedStateIsRefused(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	asked := web.start(t, b.link())
	for _, state := range []string{"forged", asked.Get("state") + "x", strings.Repeat("A", 22)} {
		got := web.answer(t, url.Values{"state": {state}}, "code", authorizationCode)
		requirePage(t, got, http.StatusForbidden, "error", "state_unknown")
	}
	require.Equal(t, http.StatusSeeOther, web.answer(t, asked, "code", authorizationCode).status)
}

func TestAnExpiredStateIsRefused(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	asked := web.start(t, b.link())
	b.pass(15*time.Minute + time.Second)
	requirePage(t, web.answer(t, asked, "code", authorizationCode), http.StatusGone, "error", "state_expired")
}

func TestAnAnswerInAnotherBrowserIsRefusedAndUsesNothingUp(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web, other, third := b.browser(t), b.browser(t), b.browser(t)
	asked := web.start(t, b.link())
	third.start(t, b.link())
	for _, stranger := range []*browser{other, third} {
		requirePage(t, stranger.answer(t, asked, "code", authorizationCode), http.StatusForbidden, "error", "other_browser")
	}
	require.Equal(t, http.StatusSeeOther, web.answer(t, asked, "code", authorizationCode).status)
}

func TestTwoTabsOfABrowserBothGetThrough(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	first, second := web.start(t, b.link()), web.start(t, b.link())
	require.NotEqual(t, first.Get("state"), second.Get("state"))
	require.Equal(t, b.consents.row(t, 0).new.Browser, b.consents.row(t, 1).new.Browser)
	require.Equal(t, http.StatusSeeOther, web.answer(t, first, "code", authorizationCode).status)
	require.Equal(t, http.StatusSeeOther, web.answer(t, second, "code", authorizationCode).status)
}

func TestACookieThatWasNotSetHereIsReplaced(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"x", strings.Repeat("A", 21), strings.Repeat("A", 23), strings.Repeat("*", 22), strings.Repeat("A", 21) + "B"} {
		b := setupConnect(t)
		got := b.browser(t).request(t, http.MethodGet, b.linkPath(b.link()), http.Header{"Cookie": {"milepost_connect=" + value}})
		require.Equal(t, http.StatusFound, got.status)
		requireRandom(t, b.consents.row(t, 0).new.Browser)
		require.NotEqual(t, value, b.consents.row(t, 0).new.Browser)
	}
}

func TestTheCookieIsKeptFromScriptsAndOtherSites(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{true, false} {
		b := setupConnect(t, func(deps *api.Deps) { deps.SecureCookies = secure })
		got := b.browser(t).open(t, b.linkPath(b.link()))
		cookies, err := http.ParseSetCookie(got.header.Get("Set-Cookie"))
		require.NoError(t, err)
		require.Equal(t, "milepost_connect", cookies.Name)
		require.Equal(t, b.consents.row(t, 0).new.Browser, cookies.Value)
		require.Equal(t, "/api/smartcar", cookies.Path)
		require.Empty(t, cookies.Domain)
		require.Equal(t, 900, cookies.MaxAge)
		require.True(t, cookies.HttpOnly)
		require.Equal(t, secure, cookies.Secure)
		require.Equal(t, http.SameSiteLaxMode, cookies.SameSite)
	}
}

func TestAMalformedCallbackReachesNoConsent(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	state := web.start(t, b.link()).Get("state")
	for _, query := range []string{
		"", "state=" + state, "code=" + authorizationCode, "code=%zz&state=" + state,
		"code=" + authorizationCode + "&state=" + state + "&state=" + state,
		"code=a&code=b&state=" + state, "code=a&state=" + state + "&x=1&x=2",
	} {
		requirePage(t, web.open(t, "/api/smartcar/callback?"+query), http.StatusBadRequest, "error", "callback_malformed")
	}
	require.Zero(t, b.consents.completions())
}

func TestAHeadRequestUsesNoStateUp(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	asked := web.start(t, b.link())
	callback := "/api/smartcar/callback?code=" + authorizationCode + "&state=" + asked.Get("state")
	for _, path := range []string{callback, b.linkPath(b.link())} {
		for _, method := range []string{http.MethodHead, http.MethodPost} {
			require.Equal(t, http.StatusMethodNotAllowed, web.request(t, method, path, nil).status)
		}
	}
	require.Zero(t, b.consents.completions())
	require.Equal(t, http.StatusSeeOther, web.open(t, callback).status)
}

func TestStorageThatIsDownLosesNothing(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	asked := web.start(t, b.link())
	id := b.consents.row(t, 0).new.ID
	b.consents.set(func(f *fakeConsents) { f.fail = errors.New("no connection to the database") })
	for _, got := range []reply{
		web.answer(t, asked, "code", authorizationCode), web.open(t, b.linkPath(b.link())), web.open(t, statusPath+id),
	} {
		requirePage(t, got, http.StatusServiceUnavailable, "error", "unavailable")
		require.Equal(t, "5", got.header.Get("Retry-After"))
		require.Equal(t, "5", got.header.Get("Refresh"))
		require.Empty(t, got.header.Get("Location"))
		require.Contains(t, got.body, `href=""`)
	}
	require.EqualValues(t, 3, b.countedConnect(t, "unavailable"))
	b.consents.set(func(f *fakeConsents) { f.fail = nil })
	require.Equal(t, http.StatusSeeOther, web.answer(t, asked, "code", authorizationCode).status)
}

func TestAnOwnerWhoLeavesIsNotCountedAsAFaultOfStorage(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.consents.fail = errors.New("canceled")
	ctx, leave := context.WithCancel(t.Context())
	leave()
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, b.linkPath(b.link()), nil))
	require.Equal(t, http.StatusServiceUnavailable, recorder.Code)
	require.EqualValues(t, 1, b.countedConnect(t, "aborted"))
	require.Zero(t, b.countedConnect(t, "unavailable"))
}

func TestRequestsToConnectAreLimited(t *testing.T) {
	t.Parallel()
	b := setupConnect(t, func(deps *api.Deps) { deps.ConnectRate, deps.ConnectBurst = 0.0001, 1 })
	web := b.browser(t)
	asked := web.start(t, b.link())
	for _, got := range []reply{
		web.answer(t, asked, "code", authorizationCode), web.open(t, b.linkPath(b.link())), web.open(t, statusPath+"x"),
	} {
		requirePage(t, got, http.StatusTooManyRequests, "error", "rate_limited")
		require.NotEmpty(t, got.header.Get("Retry-After"))
		require.NotEmpty(t, got.header.Get("Refresh"))
	}
	require.Zero(t, b.consents.completions())
}

func TestTheLogTellsStepsAndNoSecrets(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	web := b.browser(t)
	link := b.link()
	link.Name = "Anna Mustermann"
	good := b.linkPath(link)
	asked := web.start(t, link)
	web.answer(t, asked, "code", authorizationCode, "user_id", "user-of-smartcar")
	web.answer(t, asked, "code", authorizationCode)
	web.answer(t, url.Values{"state": {"forged-state-of-someone"}}, "code", authorizationCode)
	b.browser(t).answer(t, web.start(t, link), "code", authorizationCode)
	web.open(t, "/api/smartcar/callback?code="+authorizationCode+"&code=%zz&state="+asked.Get("state"))
	web.open(t, good+"1")
	web.open(t, good+"&user=someone")
	web.answer(t, web.start(t, link), "error", "access_denied")
	web.open(t, statusPath+strings.Repeat("A", 22))
	b.consents.set(func(f *fakeConsents) { f.fail = errors.New("no connection to the database") })
	web.open(t, good)

	logs := b.logs.String()
	first := b.consents.row(t, 0).new
	require.Equal(t, 3, strings.Count(logs, `"msg":"connect.started"`))
	require.Equal(t, 2, strings.Count(logs, `"msg":"connect.answered"`))
	require.Equal(t, 8, strings.Count(logs, `"msg":"connect.refused"`))
	require.Contains(t, logs, `"msg":"connect.answered","consentId":"`+first.ID[:8]+`","reason":"consented"`)
	require.Contains(t, logs, `"reason":"access_denied"`)
	for _, secret := range []string{
		first.ID, first.State, first.Browser, owner, url.QueryEscape(owner), "anna.owner", "Mustermann", authorizationCode,
		"forged-state", "user-of-smartcar", "external-id-of-owner", connectSecret, parameters(t, good).Get("signature"),
	} {
		require.NotContains(t, logs, secret)
	}
}

func TestWithoutConsentsThePathsSayWhatToSet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/api/smartcar/connect", "/api/smartcar/callback?code=x&state=y", statusPath + "x"} {
		got := b.do(t, http.MethodGet, path, nil, nil)
		require.Equal(t, http.StatusNotFound, got.status)
		for _, name := range []string{"SMARTCAR_CLIENT_ID", "SMARTCAR_CLIENT_SECRET", "SMARTCAR_REDIRECT_URI", "MILEPOST_CONNECT_SECRET"} {
			require.Contains(t, got.body, name)
		}
	}
}

func TestWhatConnectNeedsIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := api.NewHandler(api.Deps{Consents: &fakeConsents{}, ReturnURL: "javascript:alert(1)", ConnectRate: -1, ConnectBurst: -1})
	for _, name := range []string{"Connect is missing", "ConnectSecrets is empty", "ReturnURL", "ConnectRate", "ConnectBurst"} {
		require.ErrorContains(t, err, "Deps."+name)
	}
	_, err = api.NewHandler(api.Deps{Consents: &fakeConsents{}, ConnectSecrets: []string{connectSecret, "of-15-characters"[:15]}})
	require.ErrorContains(t, err, "Deps.ConnectSecrets has one of less than 16 bytes")
	require.NotContains(t, err.Error(), "of-15")
}
