package activities_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/keyset"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	// hush is in every secret, and in every text that Smartcar or the application answers: it must not be printed.
	hush         = "hush"
	firstAccess  = hush + "-access-1"
	firstRefresh = hush + "-refresh-1"
	driver       = "driver@milepost.example"
	smartcarUser = "smartcar-user-1"
	webhookID    = "webhook-1"
	managing     = hush + "-management-token"
	car          = "car-1"
	otherCar     = "car-2"
)

// connected is the bundle of activities that call Smartcar: a scripted one, over HTTP, with the real clients.
type connected struct {
	*bundle

	smartcar *scripted
	vault    *db.Vault
	oauth    *countedOAuth
	deps     activities.Deps
	// unreachable lets every connection to Smartcar be refused.
	unreachable atomic.Bool
	// patience is how long a client awaits an answer.
	patience time.Duration
}

// countedOAuth counts what is asked of the real client.
type countedOAuth struct {
	activities.OAuth

	exchanges, refreshes atomic.Int64
}

func (c *countedOAuth) Exchange(ctx context.Context, code smartcar.Token) (smartcar.TokenPair, error) {
	c.exchanges.Add(1)
	return c.OAuth.Exchange(ctx, code)
}

func (c *countedOAuth) Refresh(ctx context.Context, token smartcar.Token) (smartcar.TokenPair, error) {
	c.refreshes.Add(1)
	return c.OAuth.Refresh(ctx, token)
}

// setupSmartcar gives activities that are fully configured, unless a change takes something away.
func setupSmartcar(t *testing.T, changes ...func(*connected)) *connected {
	t.Helper()
	b := &connected{bundle: setup(t), smartcar: newScripted(t), patience: 30 * time.Second}
	b.vault = db.NewVault(b.store, newKeyset(t))
	b.deps = activities.Deps{
		Store: b.store, Vault: b.vault, WebhookID: webhookID, ManagementToken: managing,
		Logger: slog.New(slog.NewJSONHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Jitter: func(wait time.Duration) time.Duration { return wait },
	}
	for _, change := range changes {
		change(b)
	}
	b.addClients()
	var err error
	b.Activities, err = activities.New(b.deps)
	require.NoError(t, err)
	b.smartcar.on("POST /oauth/token", b.smartcar.nextPair)
	b.smartcar.on("POST /oauth2/token", b.smartcar.nextApplicationToken)
	b.smartcar.on("GET /v2.0/user", answer(200, `{"id":"`+smartcarUser+`"}`))
	return b
}

func newKeyset(t *testing.T) *keyset.Keyset {
	t.Helper()
	keys, err := keyset.New()
	require.NoError(t, err)
	return keys
}

func (b *connected) addClients() {
	b.t.Helper()
	client := &http.Client{Timeout: b.patience, Transport: &http.Transport{DialContext: b.dial, DisableKeepAlives: true}}
	hosts := smartcar.Hosts{
		Auth: b.smartcar.URL, IAM: b.smartcar.URL, API: b.smartcar.URL, Vehicle: b.smartcar.URL, Management: b.smartcar.URL,
	}
	oauth, err := smartcar.NewOAuth(smartcar.OAuthConfig{
		Hosts: hosts, ClientID: "client", ClientSecret: hush + "-secret", RedirectURI: "https://milepost.example/callback", HTTP: client,
	})
	require.NoError(b.t, err)
	b.oauth = &countedOAuth{OAuth: oauth}
	v2, err := smartcar.NewV2Client(smartcar.ClientConfig{Hosts: hosts, HTTP: client})
	require.NoError(b.t, err)
	v3, err := smartcar.NewV3Client(smartcar.ClientConfig{Hosts: hosts, HTTP: client})
	require.NoError(b.t, err)
	b.deps.OAuth, b.deps.Platforms = b.oauth, map[string]activities.Platform{db.APIv2: v2, db.APIv3: v3}
	b.deps.ApplicationTokens, err = smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{
		Hosts: hosts, ClientID: "client_1", ClientSecret: hush + "-secret", HTTP: client,
	})
	require.NoError(b.t, err)
}

func (b *connected) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if b.unreachable.Load() {
		closed := httptest.NewServer(nil)
		address = closed.Listener.Addr().String()
		closed.Close()
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func asItIs(*connected) {}

func withoutManagementToken(b *connected) { b.deps.ManagementToken = "" }

func withPatience(patience time.Duration) func(*connected) {
	return func(b *connected) { b.patience = patience }
}

// family gives the driver connected vehicles that share tokens.
func (b *connected) family(vehicles ...string) (tokenID int64) {
	b.t.Helper()
	consent := b.consent(driver, db.APIv2)
	tokenID, err := b.vault.AddTokens(b.t.Context(), consent.OwnerID, db.TokenPair{
		AccessToken: firstAccess, RefreshToken: firstRefresh, ExpiresIn: 2 * time.Hour,
	})
	require.NoError(b.t, err)
	for _, vehicle := range vehicles {
		_, err := b.store.ConnectVehicle(b.t.Context(), db.ConnectedVehicle{
			SmartcarVehicleID: vehicle, SmartcarUserID: smartcarUser, OwnerID: consent.OwnerID, TokenID: tokenID,
		})
		require.NoError(b.t, err)
	}
	b.execute("DELETE FROM notices")
	b.execute("DELETE FROM workflow_requests")
	return tokenID
}

// consent is one that an owner has been asked for and has given.
func (b *connected) consent(owner, api string) db.Consent {
	b.t.Helper()
	return b.consentOf(db.NewConsent{OwnerEmail: owner, API: api})
}

func (b *connected) consentOf(asked db.NewConsent) db.Consent {
	b.t.Helper()
	asked.ID = fmt.Sprint("consent-", time.Now().UnixNano())
	asked.State, asked.Browser, asked.ExpiresAt = "state of "+asked.ID, "browser", time.Now().Add(time.Minute)
	_, err := b.vault.BeginConsent(b.t.Context(), asked)
	require.NoError(b.t, err)
	given := db.ConsentAnswer{State: asked.State, Browser: asked.Browser, SmartcarUserID: smartcarUser, ReceivedAt: time.Now()}
	if asked.API == db.APIv2 && asked.SmartcarVehicleID == "" {
		given.Code = hush + "-code"
	}
	_, err = b.vault.AnswerConsent(b.t.Context(), given)
	require.NoError(b.t, err)
	consent, err := b.vault.Consent(b.t.Context(), asked.ID)
	require.NoError(b.t, err)
	return consent
}

// status is how a vehicle stands in the database.
func (b *connected) status(vehicle string) db.TokenStatus {
	b.t.Helper()
	status, err := b.vault.TokenStatus(b.t.Context(), vehicle)
	require.NoError(b.t, err)
	return status
}

// notices are those about a vehicle, in order.
func (b *connected) notices(vehicle string) []string {
	b.t.Helper()
	return texts(b.t, b.url, "SELECT notice_type FROM notices WHERE smartcar_vehicle_id = '"+vehicle+"' ORDER BY created_at, id")
}

// requested are the signals that were asked for a vehicle's TokenRefresh.
func (b *connected) requested(vehicle string) []string {
	b.t.Helper()
	return texts(b.t, b.url, "SELECT signal FROM workflow_requests WHERE kind = 'token_refresh' AND subject = '"+vehicle+"' ORDER BY id")
}

func (b *connected) count(table string) string {
	b.t.Helper()
	return texts(b.t, b.url, "SELECT count(*)::text FROM "+table)[0]
}

func (b *connected) execute(statement string) {
	b.t.Helper()
	texts(b.t, b.url, "WITH done AS ("+statement+" RETURNING 1) SELECT count(*)::text FROM done")
}

// requireSilence requires that neither the logs nor the given texts hold what must not be printed.
func (b *connected) requireSilence(printed ...string) {
	b.t.Helper()
	for _, text := range append(printed, b.logs.String()) {
		require.NotContains(b.t, text, hush)
		require.NotContains(b.t, text, strings.TrimPrefix(b.smartcar.URL, "http://"))
		require.NotContains(b.t, text, "127.0.0.1")
	}
}

// requireTransient requires an error that is tried again, after the pause if there is one.
func requireTransient(t *testing.T, err error, errorType string, pause time.Duration) {
	t.Helper()
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.False(t, application.NonRetryable())
	require.Equal(t, errorType, application.Type())
	require.NoError(t, application.Unwrap(), "the original error's text may hold anything")
	if pause == 0 {
		require.Zero(t, application.NextRetryDelay())
		return
	}
	require.InDelta(t, pause.Seconds(), application.NextRetryDelay().Seconds(), 20)
}

// connect takes a consent through the activities of ConnectVehicles, and gives why it came to nothing.
func (b *connected) connect(consent db.Consent) (reason contract.ConnectReason) {
	b.t.Helper()
	ctx := b.t.Context()
	exchanged, err := b.ExchangeCode(ctx, contract.ExchangeCodeInput{ConsentID: consent.ID})
	require.NoError(b.t, err)
	require.Empty(b.t, exchanged.Refused)
	listed, err := b.ListConsentVehicles(ctx, contract.ListConsentVehiclesInput{ConsentID: consent.ID})
	require.NoError(b.t, err)
	reason = listed.Refused
	for _, vehicle := range listed.SmartcarVehicleIDs {
		result, err := b.ConnectVehicle(ctx, contract.ConnectVehicleInput{ConsentID: consent.ID, SmartcarVehicleID: vehicle})
		require.NoError(b.t, err)
		reason = result.Refused
	}
	_, err = b.CloseConsent(ctx, contract.CloseConsentInput{ConsentID: consent.ID, Reason: reason})
	require.NoError(b.t, err)
	return reason
}
