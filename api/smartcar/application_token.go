package smartcar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// An application token is not used in the last minute of its life, or the last tenth if that is shorter.
	expiryMargin      = time.Minute
	expiryMarginParts = 10
)

// ApplicationTokensConfig says for which application of v3 tokens are asked.
type ApplicationTokensConfig struct {
	Hosts Hosts
	// ClientID ("client_…") and ClientSecret are those of the v3 API, which differ from the application id of Connect.
	ClientID     string
	ClientSecret Token
	// HTTP is optional; it is copied. One without a timeout gets 30 seconds for each call.
	HTTP *http.Client
	// Clock is optional and tells when a token is about to expire.
	Clock func() time.Time
}

// ApplicationTokens holds the application token of v3 in memory and asks for another when it is about to expire. It is
// for use by many goroutines at once. Source: Smartcar, "v3 application token".
type ApplicationTokens struct {
	client             client
	endpoint, clientID string
	// A function, since fmt prints what an unexported field holds without asking its methods.
	secret func() Token
	clock  func() time.Time
	flight singleflight.Group

	mutex sync.Mutex
	// A function, for the same reason; nil when there is no token.
	cached      func() Token
	usableUntil time.Time
}

// NewApplicationTokens checks the configuration and reports all its faults at once. It asks for no token yet.
func NewApplicationTokens(config ApplicationTokensConfig) (*ApplicationTokens, error) {
	hosts, err := config.Hosts.resolve()
	if err := errors.Join(err, validateClient(config.ClientID, config.ClientSecret)); err != nil {
		return nil, err
	}
	tokens := &ApplicationTokens{
		client: newClient(config.HTTP, tokenTimeout), endpoint: hosts.IAM + "/oauth2/token",
		clientID: config.ClientID, secret: func() Token { return config.ClientSecret }, clock: config.Clock,
	}
	if tokens.clock == nil {
		tokens.clock = time.Now
	}
	return tokens, nil
}

// Token returns a token that is not about to expire. However many callers wait, one request is under way; it goes on
// when the context of the caller that began it ends. Every error is a *CallError.
func (a *ApplicationTokens) Token(ctx context.Context) (Token, error) {
	const operation = "application token"
	if token, ok := a.fresh(); ok {
		return token, nil
	}
	if ctx.Err() != nil {
		return "", &CallError{Operation: operation, Kind: ErrUnavailable, cause: ctx.Err()}
	}
	obtained := a.flight.DoChan("", func() (any, error) {
		if token, ok := a.fresh(); ok { // Another flight landed since the first look.
			return token, nil
		}
		return a.obtain(context.WithoutCancel(ctx), operation)
	})
	select {
	case <-ctx.Done():
		return "", &CallError{Operation: operation, Kind: ErrUnavailable, cause: ctx.Err()}
	case result := <-obtained:
		token, _ := result.Val.(Token)
		return token, result.Err
	}
}

// Drop forgets a token that an API answered 401 to. One that has been replaced meanwhile stays forgotten, and its
// successor stays.
func (a *ApplicationTokens) Drop(token Token) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.cached != nil && a.cached() == token {
		a.cached = nil
	}
}

// Format prints no more than what this is. Without it fmt would read, unlocked, what other goroutines are changing.
func (a *ApplicationTokens) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "smartcar.ApplicationTokens(masked)")
}

func (a *ApplicationTokens) fresh() (Token, bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.cached == nil || !a.clock().Before(a.usableUntil) {
		return "", false
	}
	return a.cached(), true
}

func (a *ApplicationTokens) obtain(ctx context.Context, operation string) (Token, error) {
	asked := a.clock()
	received, err := a.client.token(ctx, form(operation, a.endpoint, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {a.clientID}, "client_secret": {a.secret().Reveal()},
	}))
	if err != nil {
		return "", err
	}
	token := sentToken(member(received.object, "access_token"))
	if token == "" {
		return "", received.unusable(operation)
	}
	lives := lifetime(member(received.object, "expires_in"), applicationTokenLifetime)
	usable := lives - min(expiryMargin, lives/expiryMarginParts)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.cached, a.usableUntil = func() Token { return token }, asked.Add(usable)
	return token, nil
}
