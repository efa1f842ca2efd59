package smartcar

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// Smartcar documents two hours for v2 and one for v3.
	accessTokenLifetime      = 2 * time.Hour
	applicationTokenLifetime = time.Hour
	maxTokenLifetime         = 30 * 24 * time.Hour
)

// OAuthConfig says whose tokens are asked for.
type OAuthConfig struct {
	Hosts Hosts
	// ClientID and ClientSecret are those of v2, both UUIDs.
	ClientID     string
	ClientSecret Token
	// RedirectURI must be the one at which the code was received, to the byte.
	RedirectURI string
	// HTTP is optional; it is copied. One without a timeout gets 30 seconds for each call.
	HTTP *http.Client
}

// OAuth obtains and refreshes the token pairs of v2. Source: Smartcar, "v2 code exchange", "refresh".
type OAuth struct {
	client                        client
	endpoint, clientID, returnURI string
	// A function, since fmt prints what an unexported field holds without asking its methods.
	secret func() Token
}

// NewOAuth checks the configuration and reports all its faults at once.
func NewOAuth(config OAuthConfig) (*OAuth, error) {
	hosts, err := config.Hosts.resolve()
	faults := []error{err, validateClient(config.ClientID, config.ClientSecret)}
	if strings.Contains(config.ClientID, ":") {
		faults = append(faults, errNoClientID) // It would end there in HTTP Basic.
	}
	if !isRedirectURI(config.RedirectURI) {
		faults = append(faults, errRedirectURI)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &OAuth{
		client: newClient(config.HTTP, tokenTimeout), endpoint: hosts.Auth + "/oauth/token",
		clientID: config.ClientID, returnURI: config.RedirectURI, secret: func() Token { return config.ClientSecret },
	}, nil
}

func validateClient(id string, secret Token) error {
	var faults []error
	if !isPrintable(id, maxClientIDLength) {
		faults = append(faults, errNoClientID)
	}
	if !secret.isSendable() {
		faults = append(faults, errNoClientSecret)
	}
	return errors.Join(faults...)
}

// Exchange turns the code of a callback into the first pair of a token family. A code serves once, within 10 minutes.
// Every error is a *CallError; ErrInvalidGrant means that the owner must start Connect again.
func (o *OAuth) Exchange(ctx context.Context, code Token) (TokenPair, error) {
	const operation = "exchange code"
	if !code.isSendable() {
		return TokenPair{}, refused(operation, "no code, or one that cannot be sent")
	}
	return o.request(ctx, operation, url.Values{
		"grant_type": {"authorization_code"}, "code": {code.Reveal()}, "redirect_uri": {o.returnURI},
	})
}

// Refresh turns a refresh token into the next pair of its family. The old refresh token dies within minutes of its use,
// so the new pair must be stored before it is used, and there must be one refresh of a family at a time.
// Every error is a *CallError. After UnknownOutcome repeat at once with the same token; ErrInvalidGrant is final
// unless another pair has been stored meanwhile.
// Source: Smartcar, "lifetimes and rotation".
func (o *OAuth) Refresh(ctx context.Context, refreshToken Token) (TokenPair, error) {
	const operation = "refresh tokens"
	if !refreshToken.isSendable() {
		return TokenPair{}, refused(operation, "no refresh token, or one that cannot be sent")
	}
	return o.request(ctx, operation, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken.Reveal()}})
}

func (o *OAuth) request(ctx context.Context, operation string, values url.Values) (TokenPair, error) {
	call := form(operation, o.endpoint, values)
	basic := http.Request{Header: call.header}
	basic.SetBasicAuth(o.clientID, o.secret().Reveal())
	received, err := o.client.token(ctx, call)
	if err != nil {
		return TokenPair{}, err
	}
	pair := TokenPair{
		AccessToken: sentToken(member(received.object, "access_token")), RefreshToken: sentToken(member(received.object, "refresh_token")),
		ExpiresIn: lifetime(member(received.object, "expires_in"), accessTokenLifetime),
	}
	if pair.AccessToken == "" || pair.RefreshToken == "" {
		return TokenPair{}, received.unusable(operation)
	}
	return pair, nil
}

// token sends a call to a token endpoint and returns its 2xx, whose object is then set.
func (c client) token(ctx context.Context, call call) (answer, error) {
	received, err := c.do(ctx, call)
	if err != nil {
		return answer{}, err
	}
	if !received.isSuccess() {
		return answer{}, oauthError(call.operation, received)
	}
	if received.object, err = oneObject(received.body); err != nil {
		return answer{}, received.unusable(call.operation)
	}
	return received, nil
}

func sentToken(raw []byte) Token {
	if kindOf(raw) != kindString {
		return ""
	}
	if token := Token(unquote(raw)); token.isSendable() {
		return token
	}
	return ""
}

// lifetime reads expires_in. One that is missing or senseless is taken as documented, since refusing the answer would
// lose the tokens in it; a token that dies earlier than thought shows as a 401.
func lifetime(raw []byte, documented time.Duration) time.Duration {
	seconds, ok := integer(raw)
	if !ok || seconds <= 0 {
		return documented
	}
	return time.Duration(min(seconds, int(maxTokenLifetime/time.Second))) * time.Second
}
