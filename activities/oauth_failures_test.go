package activities_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	unavailable     = "smartcar_unavailable"
	credentials     = "smartcar_credentials_refused"
	operatorsTurn   = 15 * time.Minute
	repeatWithin    = 20 * time.Second // so that a token which may be used is sent again within a minute
	tokenEndpoint   = "POST /oauth/token"
	enoughPatience  = 30 * time.Second
	shortPatience   = 3 * time.Second
	refreshAttempts = "SELECT coalesce(outcome, 'unfinished') FROM smartcar_token_refreshes ORDER BY id"
)

// oauthTrouble is an answer of the token endpoint that says nothing about the owner, and what it must come to.
type oauthTrouble struct {
	answer http.HandlerFunc
	// refused and patience replace the answer: no connection, and one that does not come in time.
	refused  bool
	patience time.Duration

	errorType string
	pause     time.Duration
	lastError string
	// unknown: Smartcar may have rotated the token, so it is asked again at once, and the attempt is left without an end.
	unknown bool
}

func oauthTroubles() map[string]oauthTrouble {
	client := func(answer http.HandlerFunc, lastError string) oauthTrouble {
		return oauthTrouble{answer: answer, errorType: credentials, pause: operatorsTurn, lastError: lastError}
	}
	unknown := func(answer http.HandlerFunc, pause time.Duration) oauthTrouble {
		return oauthTrouble{answer: answer, errorType: unavailable, pause: pause, lastError: unavailable, unknown: true}
	}
	limited := func(pause time.Duration, headers ...string) oauthTrouble {
		return oauthTrouble{
			answer:    answer(http.StatusTooManyRequests, `{"error":"slow_down","error_description":"`+hush+`"}`, headers...),
			errorType: "smartcar_rate_limited", pause: pause, lastError: "smartcar_rate_limited",
		}
	}
	dated := limited(5 * time.Minute)
	dated.answer = func(w http.ResponseWriter, r *http.Request) {
		answer(http.StatusTooManyRequests, "", "Retry-After", time.Now().Add(5*time.Minute).UTC().Format(http.TimeFormat))(w, r)
	}
	slow := unknown(silence, 0)
	slow.patience = shortPatience
	return map[string]oauthTrouble{
		"invalid_client with 401": client(oauthFailure(401, "invalid_client"), "invalid_client"),
		"invalid_client with 400": client(oauthFailure(400, "invalid_client"), "invalid_client"),
		"another error with 401":  client(oauthFailure(401, "access_denied"), "invalid_client"),
		"unauthorized_client":     client(oauthFailure(400, "unauthorized_client"), "smartcar_refused"),
		"invalid_request":         client(oauthFailure(400, "invalid_request"), "smartcar_refused"),
		"unsupported_grant_type":  client(oauthFailure(400, "unsupported_grant_type"), "smartcar_refused"),
		"an unknown OAuth error":  client(oauthFailure(400, "weather_too_bad"), "smartcar_refused"),
		"a text as OAuth error":   client(oauthFailure(400, hush+": no such token"), "smartcar_refused"),

		"401 without a body":             unknown(answer(401, ""), 0),
		"403 HTML":                       unknown(page(403), 0),
		"404 HTML":                       unknown(page(404), 0),
		"400 HTML of an edge proxy":      unknown(page(400), 0),
		"400 in the API's error form":    unknown(apiFailure(400, "VALIDATION"), 0),
		"invalid_grant with 500":         unknown(oauthFailure(500, "invalid_grant"), 0),
		"invalid_grant in an HTML page":  unknown(answer(400, "<p>invalid_grant "+hush), 0),
		"an empty 200":                   unknown(answer(200, ""), 0),
		"200 with an HTML page":          unknown(page(200), 0),
		"200 with invalid JSON":          unknown(answer(200, `{"access_token":'`+hush+`'}`), 0),
		"200 with truncated JSON":        unknown(answer(200, `{"access_token":"`+hush+`","refresh_to`), 0),
		"200 without a refresh token":    unknown(answer(200, `{"access_token":"`+hush+`","expires_in":7200}`), 0),
		"200 without an access token":    unknown(answer(200, `{"refresh_token":"`+hush+`","expires_in":7200}`), 0),
		"500":                            unknown(answer(500, hush), 0),
		"502 HTML":                       unknown(page(502), 0),
		"503 with Retry-After":           unknown(page(503, "Retry-After", "120"), 2*time.Minute),
		"504":                            unknown(answer(504, ""), 0),
		"a redirect":                     unknown(page(302, "Location", "/elsewhere"), 0),
		"a reset after the request":      unknown(reset, 0),
		"no answer in time":              slow,
		"a refused connection":           {refused: true, errorType: unavailable, lastError: unavailable},
		"429 without Retry-After":        limited(0),
		"429 with Retry-After":           limited(90*time.Second, "Retry-After", "90"),
		"429 with Retry-After as a date": dated,
	}
}

// TestEveryOAuthFailureOfARefresh: nothing but a confirmed invalid_grant costs an owner the connection.
func TestEveryOAuthFailureOfARefresh(t *testing.T) {
	t.Parallel()
	for name, trouble := range oauthTroubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t, withPatience(cmp.Or(trouble.patience, enoughPatience)))
			b.smartcar.on(tokenEndpoint, trouble.answer)
			b.unreachable.Store(trouble.refused)
			b.requireRefreshFails(trouble)
		})
		if trouble.unknown {
			continue // the second answer says as little as the first
		}
		t.Run(name+" after an answer that was lost", func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t, withPatience(cmp.Or(trouble.patience, enoughPatience)))
			b.smartcar.on(tokenEndpoint, func(w http.ResponseWriter, r *http.Request) {
				b.unreachable.Store(trouble.refused)
				reset(w, r)
			}, trouble.answer)
			both := trouble
			both.unknown = true // whatever the second answer says, the first one may have brought a pair
			b.requireRefreshFails(both)
		})
	}
}

// requireRefreshFails requires that a refresh comes to what the trouble says, and changes nothing.
func (b *connected) requireRefreshFails(trouble oauthTrouble) {
	t := b.t
	t.Helper()
	b.family(car, otherCar)
	status, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: 1})
	calls, attempts, pause := int64(1), []string{"failed"}, trouble.pause
	if trouble.unknown {
		calls, attempts, pause = 2, []string{"unfinished"}, min(trouble.pause, repeatWithin)
	}
	requireTransient(t, err, trouble.errorType, pause)
	require.Empty(t, status)
	b.requireSilence(err.Error())
	require.Contains(t, b.logs.String(), car)
	require.Equal(t, calls, b.oauth.refreshes.Load())
	require.Equal(t, attempts, texts(t, b.url, refreshAttempts))
	for _, vehicle := range []string{car, otherCar} {
		status := b.status(vehicle)
		require.Equal(t, db.StateConnected, status.State)
		require.Equal(t, trouble.lastError, status.LastError)
		require.True(t, status.Valid)
		require.EqualValues(t, 1, status.Generation)
		require.Empty(t, b.notices(vehicle))
	}
	require.Equal(t, firstRefresh, b.nextRefreshToken(car))
}

// nextRefreshToken is the one that the next refresh of a vehicle's family would use.
func (b *connected) nextRefreshToken(vehicle string) (used string) {
	b.t.Helper()
	_, err := b.vault.Refresh(b.t.Context(), db.RefreshRequest{SmartcarVehicleID: vehicle, EvenIfInvalid: true},
		func(_ context.Context, refreshToken string) (db.TokenPair, error) {
			used = refreshToken
			return db.TokenPair{}, errors.New("not now")
		})
	require.Error(b.t, err)
	return used
}

// TestARefreshThatIsRefused: invalid_grant is no error but a state, once nobody else explains it.
func TestARefreshThatIsRefused(t *testing.T) {
	t.Parallel()
	refused := oauthFailure(400, "invalid_grant")
	for name, test := range map[string]struct {
		meanwhile  bool // somebody else refreshes the family while Smartcar is asked
		state      contract.ConnectionState
		notices    []string
		nextToken  string
		generation int64
	}{
		"confirmed":                    {false, contract.ConnectionReauthRequired, []string{db.NoticeReauthRequired}, firstRefresh, 1},
		"explained by another refresh": {true, contract.ConnectionActive, []string{}, hush + "-refresh-other", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t)
			b.family(car, otherCar)
			input := contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: 1}
			b.smartcar.on(tokenEndpoint, refused)
			if test.meanwhile {
				b.smartcar.on(tokenEndpoint, func(w http.ResponseWriter, r *http.Request) {
					b.refreshElsewhere(r.Context())
					refused(w, r)
				}, refused)
				_, err := b.RefreshTokens(t.Context(), input)
				requireTransient(t, err, "database_unavailable", 0)
			}
			for range 3 { // it is told of once, however often it is found
				status, err := b.RefreshTokens(t.Context(), input)
				require.NoError(t, err)
				require.Equal(t, test.state, status.State)
			}
			require.EqualValues(t, 1, b.oauth.refreshes.Load(), "refused tokens are not sent again")
			for _, vehicle := range []string{car, otherCar} {
				require.Equal(t, test.notices, b.notices(vehicle))
				require.Equal(t, test.generation, b.status(vehicle).Generation)
				require.True(t, b.status(vehicle).Active, "readings that still come are still taken")
			}
			require.Equal(t, test.nextToken, b.nextRefreshToken(otherCar))
			b.requireSilence()
		})
	}
}

// loseLocks takes every family's lock away from whoever holds it.
func (b *connected) loseLocks() {
	b.t.Helper()
	texts(b.t, b.url, `SELECT pg_terminate_backend(pid)::text FROM pg_locks JOIN pg_class ON oid = relation
		WHERE relname = 'smartcar_tokens' AND mode = 'RowShareLock'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`)
}

// refreshElsewhere takes the lock away from the refresh that is under way, as a lost connection does, and stores another pair.
func (b *connected) refreshElsewhere(ctx context.Context) {
	b.loseLocks()
	_, err := b.vault.Refresh(ctx, db.RefreshRequest{SmartcarVehicleID: otherCar, Generation: 1},
		func(context.Context, string) (db.TokenPair, error) {
			return db.TokenPair{AccessToken: hush, RefreshToken: hush + "-refresh-other", ExpiresIn: time.Hour}, nil
		})
	if err != nil {
		b.t.Errorf("refresh elsewhere: %v", err)
	}
}

// TestEveryOAuthFailureOfAnExchange: a code is sent until Smartcar says clearly that it is no good.
func TestEveryOAuthFailureOfAnExchange(t *testing.T) {
	t.Parallel()
	for name, trouble := range oauthTroubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t, withPatience(cmp.Or(trouble.patience, enoughPatience)))
			consent := b.consent(driver, db.APIv2)
			input := contract.ExchangeCodeInput{ConsentID: consent.ID}
			b.smartcar.on(tokenEndpoint, trouble.answer)
			b.unreachable.Store(trouble.refused)

			_, err := b.ExchangeCode(t.Context(), input)
			requireTransient(t, err, trouble.errorType, trouble.pause)
			b.requireSilence(err.Error())
			require.EqualValues(t, 1, b.oauth.exchanges.Load())
			require.Equal(t, "0", b.count("smartcar_tokens"))

			b.unreachable.Store(false)
			b.smartcar.on(tokenEndpoint, b.smartcar.nextPair)
			b.smartcar.forget()
			result, err := b.ExchangeCode(t.Context(), input)
			require.NoError(t, err)
			require.Empty(t, result)
			require.Contains(t, b.smartcar.requests(tokenEndpoint)[0].body, "code="+hush+"-code", "the code was still there")
			require.Equal(t, "1", b.count("smartcar_tokens"))
			require.Equal(t, "0", b.count("smartcar_consents WHERE code IS NOT NULL"))
		})
	}
}

func TestACodeThatIsNotTakenIsShownToTheOwner(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.on(tokenEndpoint, oauthFailure(400, "invalid_grant"))
	consent := b.consent(driver, db.APIv2)
	result, err := b.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: consent.ID})
	require.NoError(t, err)
	require.Equal(t, contract.ReasonCodeExpired, result.Refused)
	_, err = b.CloseConsent(t.Context(), contract.CloseConsentInput{ConsentID: consent.ID, Reason: result.Refused})
	require.NoError(t, err)
	status, err := b.store.ConsentStatus(t.Context(), consent.ID)
	require.NoError(t, err)
	require.Equal(t, db.ConsentStatus{Phase: db.ConsentFailed, Reason: "code_expired"}, status)
	require.Equal(t, "0", b.count("smartcar_consents WHERE code IS NOT NULL"))
	b.requireSilence(fmt.Sprint(result))
}

// TestACodeThatAnotherTryHasUsedIsNotExpired: whoever loses its lock with its connection may find the code used.
func TestACodeThatAnotherTryHasUsedIsNotExpired(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	consent := b.consent(driver, db.APIv2)
	b.smartcar.on(tokenEndpoint, func(w http.ResponseWriter, r *http.Request) {
		texts(t, b.url, `SELECT pg_terminate_backend(pid)::text FROM pg_locks JOIN pg_class ON oid = relation
			WHERE relname = 'smartcar_consents' AND mode = 'RowShareLock'
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`)
		err := b.vault.ExchangeCode(r.Context(), consent.ID, func(context.Context, string) (db.TokenPair, error) {
			return db.TokenPair{AccessToken: hush, RefreshToken: hush + "-refresh-other", ExpiresIn: time.Hour}, nil
		})
		if err != nil {
			t.Errorf("exchange elsewhere: %v", err)
		}
		oauthFailure(400, "invalid_grant")(w, r)
	})
	result, err := b.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: consent.ID})
	require.NoError(t, err)
	require.Empty(t, result)
	require.EqualValues(t, 1, b.oauth.exchanges.Load())
	consent, err = b.vault.Consent(t.Context(), consent.ID)
	require.NoError(t, err)
	require.NotZero(t, consent.TokenID)
}

// TestARefusalThatIsInDoubtIsConfirmedLater: the pair that the token was refused for may still be stored.
func TestARefusalThatIsInDoubtIsConfirmedLater(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	input := contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: 1}
	b.smartcar.on(tokenEndpoint, answer(500, hush))
	_, err := b.RefreshTokens(t.Context(), input)
	requireTransient(t, err, unavailable, 0)
	b.smartcar.on(tokenEndpoint, oauthFailure(400, "invalid_grant"))
	_, err = b.RefreshTokens(t.Context(), input)
	requireTransient(t, err, "smartcar_refused", db.RefusalDoubt)
	require.Equal(t, db.StateConnected, b.status(car).State)
	b.execute("UPDATE smartcar_token_refreshes SET finished_at = finished_at - interval '1 minute'")
	status, err := b.RefreshTokens(t.Context(), input)
	require.NoError(t, err)
	require.Equal(t, contract.ConnectionReauthRequired, status.State)
	b.requireSilence()
}
