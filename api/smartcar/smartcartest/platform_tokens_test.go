package smartcartest_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestACodeServesOnce(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	code := bundle.authorize(t, smartcartest.ConsentAnswer{}).Code
	pair, err := bundle.oauth.Exchange(t.Context(), code)
	require.NoError(t, err)
	require.Equal(t, 2*time.Hour, pair.ExpiresIn)
	_, err = bundle.oauth.Exchange(t.Context(), code)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
	require.Equal(t, 1, bundle.platform.Families()[0].Refused)
	require.True(t, bundle.isValid(pair))
}

func TestACodeLivesTenMinutes(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	inTime, late := bundle.authorize(t, smartcartest.ConsentAnswer{}).Code, bundle.authorize(t, smartcartest.ConsentAnswer{}).Code
	bundle.clock.Advance(10*time.Minute - time.Nanosecond)
	_, err := bundle.oauth.Exchange(t.Context(), inTime)
	require.NoError(t, err)
	bundle.clock.Advance(time.Nanosecond)
	_, err = bundle.oauth.Exchange(t.Context(), late)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
}

func TestACodeIsForTheRedirectURIOfItsVisit(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	code := bundle.authorize(t, smartcartest.ConsentAnswer{}).Code
	values := url.Values{"grant_type": {"authorization_code"}, "code": {code.Reveal()}, "redirect_uri": {"https://other.example/"}}
	received := bundle.ask(t, http.MethodPost, "/oauth/token", basic(applicationID, platformSecret), form(), values.Encode())
	require.Equal(t, http.StatusBadRequest, received.status)
	require.Equal(t, map[string]any{"error": "invalid_grant", "error_description": "Unauthorized redirect_uri"}, received.body)
	_, err := bundle.oauth.Exchange(t.Context(), code)
	require.NoError(t, err)
}

func TestTheTokenEndpointsRefuseAsOAuthDoes(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	good, api := basic(applicationID, platformSecret), basic(apiClientID, platformSecret)
	for name, test := range map[string]struct {
		path, authorization, body string
		status                    int
		code                      string
	}{
		"no client":              {"/oauth/token", "", "grant_type=refresh_token&refresh_token=x", 401, "invalid_client"},
		"a wrong secret":         {"/oauth/token", basic(applicationID, "x"), "grant_type=refresh_token&refresh_token=x", 401, "invalid_client"},
		"the client in the form": {"/oauth/token", "", "grant_type=refresh_token&refresh_token=x&client_id=" + applicationID + "&client_secret=" + platformSecret, 400, "invalid_grant"},
		"an unknown token":       {"/oauth/token", good, "grant_type=refresh_token&refresh_token=x", 400, "invalid_grant"},
		"no token":               {"/oauth/token", good, "grant_type=refresh_token", 400, "invalid_request"},
		"no redirect URI":        {"/oauth/token", good, "grant_type=authorization_code&code=x", 400, "invalid_request"},
		"no grant":               {"/oauth/token", good, "", 400, "invalid_request"},
		"another grant":          {"/oauth/token", good, "grant_type=password", 400, "unsupported_grant_type"},
		"a parameter twice":      {"/oauth/token", good, "grant_type=refresh_token&grant_type=refresh_token", 400, "invalid_request"},
		"a UUID at iam":          {"/oauth2/token", "", "grant_type=client_credentials&client_id=" + applicationID + "&client_secret=" + platformSecret, 401, "invalid_client"},
		"no grant at iam":        {"/oauth2/token", api, "", 400, "invalid_request"},
		"another grant at iam":   {"/oauth2/token", api, "grant_type=refresh_token", 400, "unsupported_grant_type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			received := bundle.ask(t, http.MethodPost, test.path, test.authorization, form(), test.body)
			require.Equal(t, test.status, received.status)
			require.Equal(t, test.code, received.body["error"])
		})
	}
	received := bundle.ask(t, http.MethodPost, "/oauth/token", good, map[string]string{"Content-Type": "application/json"}, "{}")
	require.Equal(t, "invalid_request", received.body["error"])
	require.NotEmpty(t, received.header.Get("Sc-Request-Id"))
}

func TestWithoutAnAPIClientThereIsNoApplicationToken(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.APIClientID, deps.APIClientSecret, deps.ManagementToken = "", "", ""
	})
	received := bundle.ask(t, http.MethodPost, "/oauth2/token", "", form(), "grant_type=client_credentials")
	require.Equal(t, http.StatusUnauthorized, received.status)
	require.Equal(t, http.StatusUnauthorized, bundle.ask(t, http.MethodGet, "/v2.0/management/connections", basic("default", ""), nil, "").status)
}

func TestAnApplicationTokenLivesAnHour(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	token, err := bundle.tokens.Token(t.Context())
	require.NoError(t, err)
	status := func() int {
		return bundle.ask(t, http.MethodGet, "/v3/connections", "Bearer "+token.Reveal(), nil, "").status
	}
	bundle.clock.Advance(time.Hour - time.Nanosecond)
	require.Equal(t, http.StatusOK, status())
	bundle.clock.Advance(time.Nanosecond)
	require.Equal(t, http.StatusUnauthorized, status())
}

func TestARefreshRotatesAndTheOldAccessTokenLivesOn(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	bundle.clock.Advance(time.Hour)
	second, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	require.True(t, second.RefreshToken != first.RefreshToken && second.AccessToken != first.AccessToken)
	require.True(t, bundle.isValid(second))
	require.False(t, bundle.platform.ValidPair(first.AccessToken.Reveal(), second.RefreshToken.Reveal()), "halves of two pairs")

	read := func(pair smartcar.TokenPair) error {
		_, err := bundle.v2.User(t.Context(), smartcar.Credential{AccessToken: pair.AccessToken})
		return err
	}
	bundle.clock.Advance(time.Hour - time.Nanosecond)
	require.NoError(t, read(first))
	bundle.clock.Advance(time.Nanosecond)
	require.ErrorIs(t, read(first), smartcar.ErrUnauthorized)
	require.NoError(t, read(second))
}

func TestASupersededTokenGivesAFreshPairWithinTheGraceOnly(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	second, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	bundle.clock.Advance(time.Minute)
	third, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	isFresh := third.RefreshToken != second.RefreshToken
	require.True(t, isFresh)
	require.True(t, bundle.isValid(second), "its own grace has begun")
	bundle.clock.Advance(time.Nanosecond)
	_, err = bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
	bundle.clock.Advance(time.Minute)
	require.False(t, bundle.isValid(second), "only the last pair stays good")
	require.True(t, bundle.isValid(third))

	status := bundle.platform.Families()[0]
	require.Equal(t, []int{2, 1, 1, 1}, []int{status.Refreshes, status.Reuses, status.Refused, status.MaxInFlight})
	require.True(t, status.CurrentRefresh)
}

func TestTheGraceCanBeTenMinutes(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) { deps.Grace = 10 * time.Minute })
	first := bundle.issue(t)
	_, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	bundle.clock.Advance(10 * time.Minute)
	_, err = bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
}

func TestAnIdleFamilyDiesAfterSixtyDaysAndARefreshKeepsItAlive(t *testing.T) {
	t.Parallel()
	const days = 24 * time.Hour
	bundle := setupPlatform(t, nil)
	idle, kept := bundle.issue(t), bundle.issue(t)
	bundle.clock.Advance(59 * days)
	kept, err := bundle.oauth.Refresh(t.Context(), kept.RefreshToken)
	require.NoError(t, err)
	bundle.clock.Advance(days)
	_, err = bundle.oauth.Refresh(t.Context(), idle.RefreshToken)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
	_, err = bundle.oauth.Refresh(t.Context(), kept.RefreshToken)
	require.NoError(t, err)
	require.False(t, bundle.platform.Families()[0].CurrentRefresh)
}

func TestAHundredRefreshesAtOnceWithinTheGraceAllSucceed(t *testing.T) {
	t.Parallel()
	const calls = 100
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	pairs := make([]smartcar.TokenPair, calls)
	errs := make([]error, calls)
	var group sync.WaitGroup
	for i := range calls {
		group.Go(func() { pairs[i], errs[i] = bundle.oauth.Refresh(t.Context(), first.RefreshToken) })
	}
	group.Wait()
	distinct := make(map[string]bool)
	for i := range calls {
		require.NoError(t, errs[i])
		distinct[pairs[i].RefreshToken.Reveal()] = true
	}
	require.Len(t, distinct, calls)
	families := bundle.platform.Families()
	require.Len(t, families, 1)
	require.Equal(t, calls, families[0].Refreshes)
	require.Equal(t, calls-1, families[0].Reuses)
	bundle.clock.Advance(2 * time.Minute)
	good := 0
	for _, pair := range pairs {
		if bundle.isValid(pair) {
			good++
		}
	}
	require.Equal(t, 1, good)
	require.Len(t, bundle.platform.IssuedTokens(), 2+2*calls)
}

func TestARevokedUserMustConnectAnew(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair, code := bundle.issue(t), bundle.authorize(t, smartcartest.ConsentAnswer{}).Code
	stranger, strangers := bundle.platform.Issue(bundle.strangerID, nil)
	require.True(t, bundle.platform.RevokeUser(bundle.userID))
	require.False(t, bundle.platform.RevokeUser("nobody"))
	_, err := bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
	_, err = bundle.oauth.Exchange(t.Context(), code)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
	require.True(t, bundle.platform.ValidPair(stranger, strangers))
	_, err = bundle.v2.User(t.Context(), smartcar.Credential{AccessToken: pair.AccessToken})
	require.NoError(t, err, "the access token lives until its expiry")

	renewed, err := bundle.oauth.Exchange(t.Context(), bundle.authorize(t, smartcartest.ConsentAnswer{}).Code)
	require.NoError(t, err)
	require.True(t, bundle.isValid(renewed))
	require.False(t, bundle.isValid(pair))
}

func TestANewConnectAlsoEndsABlock(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	bundle.platform.BlockUser(bundle.userID)
	bundle.authorize(t, smartcartest.ConsentAnswer{})
	require.True(t, bundle.isValid(pair))
}
