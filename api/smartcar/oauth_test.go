package smartcar_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

const htmlPage = "<html><body>" + secretText + "</body></html>"

// reply always answers the same.
func reply(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// abort ends the connection after the request was read.
func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func oauthAt(t *testing.T, base string, client *http.Client) *smartcar.OAuth {
	t.Helper()
	oauth, err := smartcar.NewOAuth(smartcar.OAuthConfig{
		Hosts: hostsAt(base), ClientID: "app", ClientSecret: "s&e+c", RedirectURI: "https://app.example/callback", HTTP: client,
	})
	require.NoError(t, err)
	return oauth
}

func callError(t *testing.T, err error) *smartcar.CallError {
	t.Helper()
	var failure *smartcar.CallError
	require.ErrorAs(t, err, &failure)
	return failure
}

func TestACodeIsExchangedWithHTTPBasicAndAForm(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		id, secret, _ := r.BasicAuth()
		if r.Method != http.MethodPost || r.URL.String() != "/oauth/token" || id != "app" || secret != "s&e+c" ||
			r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ParseForm() != nil ||
			r.PostForm.Encode() != "code=the-code&grant_type=authorization_code&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = w.Write(payload(t, "oauth-token-response"))
	})
	pair, err := oauthAt(t, server.URL, nil).Exchange(t.Context(), "the-code")
	require.NoError(t, err)
	require.Equal(t, "cf7ba7e9-3c5d-417d-a99d-c386594bd400", pair.AccessToken.Reveal())
	require.Equal(t, "3dab6933-458f-45c0-9f40-dc55eb8b4c25", pair.RefreshToken.Reveal())
	require.Equal(t, 2*time.Hour, pair.ExpiresIn)
	require.EqualValues(t, 1, asked.Load())
}

func TestARefreshSendsTheRefreshToken(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id != "app" || secret != "s&e+c" || r.ParseForm() != nil || r.PostForm.Encode() != "grant_type=refresh_token&refresh_token=old" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"a","refresh_token":"r","expires_in":60,"scope":"x"}`))
	})
	pair, err := oauthAt(t, server.URL, nil).Refresh(t.Context(), "old")
	require.NoError(t, err)
	require.Equal(t, smartcar.TokenPair{AccessToken: "a", RefreshToken: "r", ExpiresIn: time.Minute}, pair)
}

func TestAPairIsNotLostToAnOddLifetime(t *testing.T) {
	t.Parallel()
	for sent, expected := range map[string]time.Duration{
		`7200`: 2 * time.Hour, `"90"`: 90 * time.Second, `99999999999`: 30 * 24 * time.Hour, `0`: 2 * time.Hour, `-1`: 2 * time.Hour,
		`null`: 2 * time.Hour, `{}`: 2 * time.Hour, `1e999`: 2 * time.Hour,
	} {
		t.Run(sent, func(t *testing.T) {
			t.Parallel()
			server := serve(t, reply(http.StatusOK, `{"access_token":"a","refresh_token":"r","expires_in":`+sent+`}`))
			pair, err := oauthAt(t, server.URL, nil).Refresh(t.Context(), "old")
			require.NoError(t, err)
			require.Equal(t, expected, pair.ExpiresIn)
		})
	}
}

func TestEveryAnswerOfATokenEndpointHasItsKind(t *testing.T) {
	t.Parallel()
	oauthBody := func(name string) string { return `{"error":"` + name + `","error_description":"` + secretText + `"}` }
	apiBody := string(payload(t, "rest-v2-error-authentication"))
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		kind    error
		code    string
		unknown bool
		wait    time.Duration
	}{
		"invalid_grant":               {handler: reply(400, string(payload(t, "oauth-error-invalid-grant"))), kind: smartcar.ErrInvalidGrant, code: "invalid_grant"},
		"invalid_grant as 401":        {handler: reply(401, oauthBody("invalid_grant")), kind: smartcar.ErrInvalidGrant, code: "invalid_grant"},
		"invalid_client":              {handler: reply(401, oauthBody("invalid_client")), kind: smartcar.ErrInvalidClient, code: "invalid_client"},
		"invalid_client as 400":       {handler: reply(400, oauthBody("invalid_client")), kind: smartcar.ErrInvalidClient, code: "invalid_client"},
		"unauthorized_client as 401":  {handler: reply(401, oauthBody("unauthorized_client")), kind: smartcar.ErrInvalidClient, code: "unauthorized_client"},
		"unauthorized_client":         {handler: reply(400, oauthBody("unauthorized_client")), kind: smartcar.ErrClientRefused, code: "unauthorized_client"},
		"invalid_request":             {handler: reply(400, oauthBody("invalid_request")), kind: smartcar.ErrClientRefused, code: "invalid_request"},
		"unsupported_grant_type":      {handler: reply(400, oauthBody("unsupported_grant_type")), kind: smartcar.ErrClientRefused, code: "unsupported_grant_type"},
		"invalid_scope":               {handler: reply(400, oauthBody("invalid_scope")), kind: smartcar.ErrClientRefused, code: "invalid_scope"},
		"an error with a sentence":    {handler: reply(400, oauthBody("Not a name: "+secretText)), kind: smartcar.ErrClientRefused},
		"HTML with 400":               {handler: reply(400, htmlPage), kind: smartcar.ErrUnavailable, unknown: true},
		"HTML with 401":               {handler: reply(401, htmlPage), kind: smartcar.ErrUnavailable, unknown: true},
		"HTML with 403":               {handler: reply(403, htmlPage), kind: smartcar.ErrUnavailable, unknown: true},
		"HTML naming invalid_grant":   {handler: reply(400, `<p>{"error":"invalid_grant"}</p>`), kind: smartcar.ErrUnavailable, unknown: true},
		"error that is an object":     {handler: reply(400, `{"error":{"invalid_grant":1}}`), kind: smartcar.ErrUnavailable, unknown: true},
		"errors in an array":          {handler: reply(400, `[{"error":"invalid_grant"}]`), kind: smartcar.ErrUnavailable, unknown: true},
		"the form of the API":         {handler: reply(401, apiBody), kind: smartcar.ErrUnavailable, unknown: true},
		"cut off JSON":                {handler: reply(400, `{"error":"invalid_grant"`), kind: smartcar.ErrUnavailable, unknown: true},
		"empty 400":                   {handler: reply(400, ""), kind: smartcar.ErrUnavailable, unknown: true},
		"500":                         {handler: reply(500, ""), kind: smartcar.ErrUnavailable, unknown: true},
		"502 with HTML":               {handler: reply(502, htmlPage), kind: smartcar.ErrUnavailable, unknown: true},
		"503 with Retry-After":        {handler: reply(503, "", "Retry-After", "5"), kind: smartcar.ErrUnavailable, unknown: true, wait: 5 * time.Second},
		"500 with invalid_grant":      {handler: reply(500, oauthBody("invalid_grant")), kind: smartcar.ErrUnavailable, code: "invalid_grant", unknown: true},
		"429 with seconds":            {handler: reply(429, htmlPage, "Retry-After", "17"), kind: smartcar.ErrRateLimited, wait: 17 * time.Second},
		"429 for ever":                {handler: reply(429, "", "Retry-After", "99999999999999999999"), kind: smartcar.ErrRateLimited, wait: 24 * time.Hour},
		"429 with a negative wait":    {handler: reply(429, "", "Retry-After", "-5"), kind: smartcar.ErrRateLimited},
		"429 with nonsense":           {handler: reply(429, "", "Retry-After", "soon"), kind: smartcar.ErrRateLimited},
		"429 with a far date":         {handler: reply(429, "", "Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT"), kind: smartcar.ErrRateLimited, wait: 24 * time.Hour},
		"429 with a past date":        {handler: reply(429, "", "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"), kind: smartcar.ErrRateLimited},
		"429 naming invalid_grant":    {handler: reply(429, oauthBody("invalid_grant")), kind: smartcar.ErrRateLimited, code: "invalid_grant"},
		"200 with HTML":               {handler: reply(200, htmlPage), kind: smartcar.ErrUnavailable, unknown: true},
		"200 without a body":          {handler: reply(200, ""), kind: smartcar.ErrUnavailable, unknown: true},
		"200 with cut off JSON":       {handler: reply(200, `{"access_token":"`+secretText), kind: smartcar.ErrUnavailable, unknown: true},
		"200 without refresh token":   {handler: reply(200, `{"access_token":"`+secretText+`","expires_in":7200}`), kind: smartcar.ErrUnavailable, unknown: true},
		"200 without access token":    {handler: reply(200, `{"refresh_token":"`+secretText+`","expires_in":7200}`), kind: smartcar.ErrUnavailable, unknown: true},
		"200 with empty tokens":       {handler: reply(200, `{"access_token":"","refresh_token":""}`), kind: smartcar.ErrUnavailable, unknown: true},
		"200 with a number for token": {handler: reply(200, `{"access_token":1,"refresh_token":"r"}`), kind: smartcar.ErrUnavailable, unknown: true},
		"200 with a header in token":  {handler: reply(200, `{"access_token":"a\r\nX: y","refresh_token":"r"}`), kind: smartcar.ErrUnavailable, unknown: true},
		"200 of two megabytes":        {handler: reply(200, `{"pad":"`+strings.Repeat("x", 2<<20)+`"}`), kind: smartcar.ErrUnavailable, unknown: true},
		"200 cut off in its body":     {handler: reply(200, `{"access`, "Content-Length", "100"), kind: smartcar.ErrUnavailable, unknown: true},
		"redirect":                    {handler: reply(302, "", "Location", "/elsewhere?"+secretText), kind: smartcar.ErrUnavailable, unknown: true},
		"reset after the request":     {handler: abort, kind: smartcar.ErrUnavailable, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, test.handler)
			oauth := oauthAt(t, server.URL, nil)
			for operation, request := range map[string]func() (smartcar.TokenPair, error){
				"refresh tokens": func() (smartcar.TokenPair, error) { return oauth.Refresh(t.Context(), secretText) },
				"exchange code":  func() (smartcar.TokenPair, error) { return oauth.Exchange(t.Context(), secretText) },
			} {
				pair, err := request()
				require.ErrorIs(t, err, test.kind)
				require.Zero(t, pair)
				failure := callError(t, err)
				require.Equal(t, operation, failure.Operation)
				require.Equal(t, test.code, failure.Code)
				require.Equal(t, test.unknown, failure.UnknownOutcome)
				require.Equal(t, test.wait, failure.RetryAfter)
				requireHidden(t, shown(t, err), secretText)
				require.NotContains(t, shown(t, err), server.URL)
			}
		})
	}
}

func TestRetryAfterIsReadFromADate(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		reply(429, "", "Retry-After", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))(w, r)
	})
	_, err := oauthAt(t, server.URL, nil).Refresh(t.Context(), "old")
	require.InDelta(t, 10*time.Minute, callError(t, err).RetryAfter, float64(30*time.Second))
}

func TestAConnectionThatWasNeverMadeCannotHaveTakenEffect(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	base := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())

	_, err = oauthAt(t, base, nil).Refresh(t.Context(), secretText)
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	failure := callError(t, err)
	require.False(t, failure.UnknownOutcome)
	require.Zero(t, failure.HTTPStatus)
	require.NotContains(t, shown(t, err), listener.Addr().String())
}

func TestARequestThatTimesOutMayHaveTakenEffect(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // Before the server is closed, which waits for its handlers.

	_, err := oauthAt(t, server.URL, &http.Client{Timeout: 2 * time.Second}).Refresh(t.Context(), "old")
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller had time left")
	require.True(t, callError(t, err).UnknownOutcome)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = oauthAt(t, server.URL, nil).Refresh(ctx, "old")
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, callError(t, err).UnknownOutcome)

	_, err = oauthAt(t, server.URL, nil).Refresh(ctx, "old")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, callError(t, err).UnknownOutcome, "nothing is sent for a caller who is gone")
}

func TestATransportThatDoesNotSayWhetherItSentIsTakenToHave(t *testing.T) {
	t.Parallel()
	silent := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New(secretText) })}
	_, err := oauthAt(t, "https://sim.example", silent).Refresh(t.Context(), "old")
	require.True(t, callError(t, err).UnknownOutcome)
	requireHidden(t, shown(t, err), secretText)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestARedirectIsNotFollowedEvenWithAClientThatWould(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	})
	given := &http.Client{}
	_, err := oauthAt(t, server.URL, given).Exchange(t.Context(), "code")
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.EqualValues(t, 1, asked.Load())
	require.Nil(t, given.CheckRedirect, "the client that was given is not changed")
	require.Zero(t, given.Timeout)
}

func TestATokenThatCannotBeSentIsNotSentAndEndsNothing(t *testing.T) {
	t.Parallel()
	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("nothing must be sent") })
	oauth := oauthAt(t, server.URL, nil)
	for _, token := range []smartcar.Token{"", "a b", "a\nb", "é", smartcar.Token(strings.Repeat("x", 8<<10+1))} {
		_, err := oauth.Refresh(t.Context(), token)
		require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
		require.NotErrorIs(t, err, smartcar.ErrInvalidGrant)
		require.False(t, callError(t, err).UnknownOutcome)
		_, err = oauth.Exchange(t.Context(), token)
		require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
	}
}

func TestEveryFaultOfTheOAuthSettingsIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := smartcar.NewOAuth(smartcar.OAuthConfig{Hosts: smartcar.Hosts{Auth: "nowhere"}, ClientSecret: secretText + "\n"})
	for _, part := range []string{"host Auth", "client id", "client secret", "redirect URI"} {
		require.ErrorContains(t, err, part)
	}
	requireHidden(t, fmt.Sprint(err), secretText)
	_, err = smartcar.NewOAuth(smartcar.OAuthConfig{ClientID: "a:b", ClientSecret: "s", RedirectURI: "https://app.example/"})
	require.ErrorContains(t, err, "client id")
}

func TestTheTextOfACallErrorSaysWhatAPersonNeeds(t *testing.T) {
	t.Parallel()
	server := serve(t, reply(400, string(payload(t, "oauth-error-invalid-grant")), "SC-Request-Id", "26c14915-0c26-43c5-8e42-9edfc2a66a0f"))
	_, err := oauthAt(t, server.URL, nil).Refresh(t.Context(), "old")
	require.EqualError(t, err, "smartcar: the code or refresh token is not valid any more (refresh tokens, HTTP 400, invalid_grant)")
	require.Equal(t, "26c14915-0c26-43c5-8e42-9edfc2a66a0f", callError(t, err).RequestID)
}
