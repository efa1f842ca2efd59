package activities

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// OAuth trades codes and refresh tokens for pairs: smartcar.OAuth.
type OAuth interface {
	Exchange(ctx context.Context, code smartcar.Token) (smartcar.TokenPair, error)
	Refresh(ctx context.Context, refreshToken smartcar.Token) (smartcar.TokenPair, error)
}

// watchedOAuth is an OAuth whose errors somebody is told of, whoever asks.
type watchedOAuth struct {
	OAuth

	refused func(ctx context.Context, err error)
}

// Exchange implements OAuth.
func (w watchedOAuth) Exchange(ctx context.Context, code smartcar.Token) (smartcar.TokenPair, error) {
	pair, err := w.OAuth.Exchange(ctx, code)
	w.refused(ctx, err)
	return pair, err
}

// Refresh implements OAuth.
func (w watchedOAuth) Refresh(ctx context.Context, refreshToken smartcar.Token) (smartcar.TokenPair, error) {
	pair, err := w.OAuth.Refresh(ctx, refreshToken)
	w.refused(ctx, err)
	return pair, err
}

// ApplicationTokens gives the one token that v3 calls carry: smartcar.ApplicationTokens.
type ApplicationTokens interface {
	Token(ctx context.Context) (smartcar.Token, error)
	Drop(token smartcar.Token)
}

// Catalogue says what an owner has connected.
type Catalogue interface {
	Vehicles(ctx context.Context, credential smartcar.Credential) ([]smartcar.VehicleRef, error)
	Vehicle(ctx context.Context, credential smartcar.Credential, vehicleID string) (smartcar.Vehicle, error)
}

// Enrolment begins and ends what Smartcar does for a vehicle.
type Enrolment interface {
	Subscribe(ctx context.Context, credential smartcar.Credential, vehicleID, webhookID string) error
	Disconnect(ctx context.Context, credential smartcar.Credential, vehicleID string) error
}

// UserReader says who a v2 access token belongs to.
type UserReader interface {
	User(ctx context.Context, credential smartcar.Credential) (string, error)
}

// SignalReader says how a vehicle stands.
type SignalReader interface {
	// CallsFor is how many calls Readings makes for the wanted codes.
	CallsFor(wanted []string) int
	Readings(ctx context.Context, credential smartcar.Credential, vehicleID string, wanted []string) (smartcar.Poll, error)
}

// Platform is one generation of Smartcar's API: smartcar.V2Client or smartcar.V3Client.
type Platform interface {
	Catalogue
	Enrolment
	SignalReader
}

var (
	errNotConfigured           = errors.New("no settings for calls to Smartcar: set SMARTCAR_CLIENT_ID and SMARTCAR_CLIENT_SECRET")
	errApplicationTokenRefused = errors.New("application tokens are issued and then refused; check SMARTCAR_IAM_CLIENT_ID")
	// errNeedsOwner: the tokens were refused, so that only the owner can help.
	errNeedsOwner = errors.New("the owner must connect again")
)

const (
	// heartbeatInterval is well below the time after which a silent worker is taken for dead.
	heartbeatInterval = 2 * time.Second
	// tokenReserve is the life that an access token must have left to be used. Source: Smartcar, "Lifetimes and rotation".
	tokenReserve = 5 * time.Minute
)

// heartbeat tells Temporal that this worker is alive until stop is called. An
// activity of smartcarCall that does not is taken away from it.
func heartbeat(ctx context.Context) (stop func()) {
	if !activity.IsActivity(ctx) {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(heartbeatInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				activity.RecordHeartbeat(ctx)
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

func (a *Activities) platform(api string) (Platform, error) { //nolint:ireturn // v2 or v3
	platform, found := a.deps.Platforms[api]
	if !found {
		return nil, errNotConfigured
	}
	return platform, nil
}

// grant is whose access a call to Smartcar uses: a token family, or under v3 a user.
type grant struct {
	api            string
	tokenID        int64
	smartcarUserID string
}

// withCountedCredential is withCredential for what is no poll: its calls are counted, and none is kept back.
func (a *Activities) withCountedCredential(
	ctx context.Context, grant grant, call func(ctx context.Context, platform Platform, credential smartcar.Credential) error,
) error {
	var sent atomic.Int64
	counted := smartcar.CountCalls(ctx, &sent)
	err := a.withCredential(ctx, grant, func(platform Platform, credential smartcar.Credential) error {
		return call(counted, platform, credential)
	})
	if sent.Load() == 0 {
		return err
	}
	if observed := a.observeCalls(ctx, int(sent.Load()), err); observed != nil {
		return errors.Join(err, observed)
	}
	return err
}

// withCredential calls Smartcar with a credential that is good for some minutes. When
// Smartcar does not accept it, it is renewed once and the call is repeated once.
func (a *Activities) withCredential(
	ctx context.Context, grant grant, call func(platform Platform, credential smartcar.Credential) error,
) error {
	platform, err := a.platform(grant.api)
	if err != nil {
		return err
	}
	watched := func(platform Platform, credential smartcar.Credential) error {
		err := call(platform, credential)
		a.operatorNeeded(ctx, err)
		return err
	}
	if grant.api == db.APIv3 {
		return a.withApplicationToken(ctx, grant, platform, watched)
	}
	token, err := a.freshToken(ctx, grant, false)
	if err != nil {
		return err
	}
	err = watched(platform, smartcar.Credential{AccessToken: smartcar.Token(token.Token), UserID: grant.smartcarUserID})
	if !errors.Is(err, smartcar.ErrUnauthorized) {
		return err
	}
	if token, err = a.freshToken(ctx, grant, true); err != nil {
		return err
	}
	return watched(platform, smartcar.Credential{AccessToken: smartcar.Token(token.Token), UserID: grant.smartcarUserID})
}

func (a *Activities) withApplicationToken(
	ctx context.Context, grant grant, platform Platform, call func(Platform, smartcar.Credential) error,
) error {
	if a.deps.ApplicationTokens == nil {
		return errNotConfigured
	}
	var err error
	for range 2 {
		var token smartcar.Token
		if token, err = a.deps.ApplicationTokens.Token(ctx); err != nil {
			a.operatorNeeded(ctx, err)
			return err
		}
		err = call(platform, smartcar.Credential{AccessToken: token, UserID: grant.smartcarUserID})
		if !errors.Is(err, smartcar.ErrUnauthorized) {
			return err
		}
		a.deps.ApplicationTokens.Drop(token)
	}
	a.operatorNeeded(ctx, errApplicationTokenRefused)
	return errApplicationTokenRefused
}

// freshToken gives the stored access token, refreshed before when it is about to
// expire, or when refuse says that Smartcar did not accept it.
func (a *Activities) freshToken(ctx context.Context, grant grant, refused bool) (db.AccessToken, error) {
	if a.deps.Vault == nil {
		return db.AccessToken{}, errNotConfigured
	}
	token, err := a.deps.Vault.AccessTokenOfFamily(ctx, grant.tokenID)
	if err != nil {
		return db.AccessToken{}, err
	}
	if !refused && a.deps.Clock().Add(tokenReserve).Before(token.ExpiresAt) {
		return token, nil
	}
	if a.deps.OAuth == nil {
		return db.AccessToken{}, errNotConfigured
	}
	if err := a.deps.Vault.RefreshFamily(ctx, grant.tokenID, token.Generation, a.exchangeRefreshToken); err != nil {
		return db.AccessToken{}, err
	}
	token, err = a.deps.Vault.AccessTokenOfFamily(ctx, grant.tokenID)
	if err == nil && !token.Valid {
		err = errNeedsOwner
	}
	return token, err
}

// exchangeRefreshToken trades a refresh token for a new pair. A call whose outcome is
// unknown is repeated at once with the same token, which Smartcar takes for a minute
// after its use. What the repetition is answered says nothing of the first call.
// Source: Smartcar, "Lifetimes and rotation".
func (a *Activities) exchangeRefreshToken(ctx context.Context, refreshToken string) (db.TokenPair, error) {
	pair, err := a.deps.OAuth.Refresh(ctx, smartcar.Token(refreshToken))
	call, isCall := errors.AsType[*smartcar.CallError](err)
	mayBeUsed := isCall && call.UnknownOutcome
	if mayBeUsed {
		pair, err = a.deps.OAuth.Refresh(ctx, smartcar.Token(refreshToken))
	}
	if err != nil {
		fault := refreshFault(err)
		fault.UnknownOutcome = fault.UnknownOutcome || mayBeUsed
		return db.TokenPair{}, fault
	}
	return tokenPair(pair), nil
}

func tokenPair(pair smartcar.TokenPair) db.TokenPair {
	return db.TokenPair{
		AccessToken: pair.AccessToken.Reveal(), RefreshToken: pair.RefreshToken.Reveal(), ExpiresIn: pair.ExpiresIn,
	}
}

// consent loads the consent that an activity is about.
func (a *Activities) consent(ctx context.Context, id string) (db.Consent, error) {
	if a.deps.Vault == nil {
		return db.Consent{}, errNotConfigured
	}
	consent, err := a.deps.Vault.Consent(ctx, id)
	if err != nil {
		return db.Consent{}, fmt.Errorf("load consent: %w", err)
	}
	return consent, nil
}
