package smartcar_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

// clock is a time that only the test moves.
type clock struct {
	mutex sync.Mutex
	now   time.Time
}

func (c *clock) Now() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.now
}

func (c *clock) advance(by time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.now = c.now.Add(by)
}

// issuer gives out token-1, token-2 and so on, and can be held.
type issuer struct {
	tokens *smartcar.ApplicationTokens
	clock  *clock
	asked  atomic.Int32
	begun  chan struct{}
	hold   chan struct{}
}

func setupIssuer(t *testing.T, held bool, expiresIn int) *issuer {
	t.Helper()
	issuer := &issuer{
		clock: &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}, begun: make(chan struct{}, 200), hold: make(chan struct{}),
	}
	if !held {
		close(issuer.hold)
	}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		number := issuer.asked.Add(1)
		issuer.begun <- struct{}{}
		<-issuer.hold
		if _, _, hasBasic := r.BasicAuth(); hasBasic || r.URL.Path != "/oauth2/token" || r.ParseForm() != nil ||
			r.PostForm.Encode() != "client_id=client_1&client_secret=s%26e&grant_type=client_credentials" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, number, expiresIn)
	})
	var err error
	issuer.tokens, err = smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{
		Hosts: hostsAt(server.URL), ClientID: "client_1", ClientSecret: "s&e", Clock: issuer.clock.Now,
	})
	require.NoError(t, err)
	return issuer
}

func (i *issuer) requireToken(t *testing.T, expected string) {
	t.Helper()
	token, err := i.tokens.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, expected, token.Reveal())
}

func TestAnApplicationTokenIsKeptUntilShortlyBeforeItExpires(t *testing.T) {
	t.Parallel()
	issuer := setupIssuer(t, false, 3600)
	issuer.requireToken(t, "token-1")
	issuer.clock.advance(59*time.Minute - time.Second)
	issuer.requireToken(t, "token-1")
	issuer.clock.advance(time.Second)
	issuer.requireToken(t, "token-2")
	require.EqualValues(t, 2, issuer.asked.Load())
}

func TestAShortLivedApplicationTokenIsStillKeptForMostOfItsLife(t *testing.T) {
	t.Parallel()
	issuer := setupIssuer(t, false, 10)
	issuer.requireToken(t, "token-1")
	issuer.clock.advance(8 * time.Second)
	issuer.requireToken(t, "token-1")
	issuer.clock.advance(time.Second)
	issuer.requireToken(t, "token-2")
}

func TestAHundredCallersShareOneRequest(t *testing.T) {
	t.Parallel()
	issuer := setupIssuer(t, true, 3600)
	var callers sync.WaitGroup
	results := make(chan string, 100)
	for range 100 {
		callers.Go(func() {
			token, err := issuer.tokens.Token(t.Context())
			if err != nil {
				results <- err.Error()
				return
			}
			results <- token.Reveal()
		})
	}
	<-issuer.begun
	close(issuer.hold)
	callers.Wait()
	close(results)
	for result := range results {
		require.Equal(t, "token-1", result)
	}
	require.EqualValues(t, 1, issuer.asked.Load())
}

func TestACallerWhoGoesAwayDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	issuer := setupIssuer(t, true, 3600)
	first, leave := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := issuer.tokens.Token(first)
		failed <- err
	}()
	<-issuer.begun
	stayed := make(chan error, 1)
	go func() {
		_, err := issuer.tokens.Token(t.Context())
		stayed <- err
	}()

	leave()
	err := <-failed
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.False(t, callError(t, err).UnknownOutcome)

	close(issuer.hold)
	require.NoError(t, <-stayed)
	require.EqualValues(t, 1, issuer.asked.Load())
	_, err = issuer.tokens.Token(first)
	require.NoError(t, err, "a token at hand needs no time")
}

func TestDropForgetsThatTokenOnly(t *testing.T) {
	t.Parallel()
	issuer := setupIssuer(t, false, 3600)
	issuer.tokens.Drop("token-1")
	issuer.requireToken(t, "token-1")
	issuer.tokens.Drop("token-1")
	issuer.requireToken(t, "token-2")
	issuer.tokens.Drop("token-1")
	issuer.tokens.Drop("")
	issuer.requireToken(t, "token-2")
	require.EqualValues(t, 2, issuer.asked.Load())
}

func TestAFailureIsNotKept(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			reply(401, `{"error":"invalid_client"}`)(w, r)
			return
		}
		_, _ = w.Write(payload(t, "iam-token-response-v3"))
	})
	tokens, err := smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{Hosts: hostsAt(server.URL), ClientID: "c", ClientSecret: "s"})
	require.NoError(t, err)

	_, err = tokens.Token(t.Context())
	require.ErrorIs(t, err, smartcar.ErrInvalidClient)
	token, err := tokens.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "example-application-access-token", token.Reveal())
}

func TestAnAnswerWithoutAnApplicationTokenIsNoToken(t *testing.T) {
	t.Parallel()
	server := serve(t, reply(200, `{"expires_in":3600}`))
	tokens, err := smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{Hosts: hostsAt(server.URL), ClientID: "c", ClientSecret: "s"})
	require.NoError(t, err)
	_, err = tokens.Token(t.Context())
	require.ErrorIs(t, err, smartcar.ErrUnavailable)

	_, err = smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{})
	require.ErrorContains(t, err, "client id")
	require.ErrorContains(t, err, "client secret")
}
