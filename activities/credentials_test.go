package activities_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	subscribeV2      = "POST /v2.0/vehicles/" + car + "/webhooks/" + webhookID
	subscribeV3      = "POST /v3/subscriptions"
	applicationToken = "POST /oauth2/token"
)

func (b *connected) subscribe() error {
	b.t.Helper()
	_, err := b.SubscribeVehicle(b.t.Context(), contract.SubscribeVehicleInput{SmartcarVehicleID: car})
	return err
}

// connectV3 gives the driver a vehicle that is called through the application token.
func (b *connected) connectV3(vehicle string) {
	b.t.Helper()
	_, err := b.store.ConnectVehicle(b.t.Context(), db.ConnectedVehicle{
		SmartcarVehicleID: vehicle, SmartcarUserID: smartcarUser, OwnerEmail: driver, API: db.APIv3,
	})
	require.NoError(b.t, err)
	b.execute("DELETE FROM notices")
}

func TestATokenThatIsNotAcceptedIsRefreshedOnceAndTheCallRepeatedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		accepted   bool
		subscribed string
	}{
		"and accepted then": {true, webhookID},
		"and still not":     {false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t)
			b.family(car)
			refused := apiFailure(401, "AUTHENTICATION")
			b.smartcar.on(subscribeV2, refused)
			if test.accepted {
				b.smartcar.on(subscribeV2, refused, answer(200, `{}`))
			}
			require.NoError(t, b.subscribe())
			require.Equal(t, []string{firstAccess, hush + "-access-2"}, b.smartcar.bearers(subscribeV2))
			require.Len(t, b.smartcar.requests(tokenEndpoint), 1)
			require.Equal(t, []string{test.subscribed}, texts(t, b.url,
				"SELECT subscribed_webhook_id FROM smartcar_vehicles WHERE smartcar_vehicle_id = '"+car+"'"))
			require.Equal(t, db.StateConnected, b.status(car).State)
			b.requireSilence()
		})
	}
}

func TestATokenThatIsAboutToExpireIsRefreshedBeforeItIsUsed(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t, func(b *connected) {
		b.deps.Clock = func() time.Time { return time.Now().Add(2*time.Hour - 4*time.Minute) }
	})
	b.family(car)
	b.smartcar.on(subscribeV2, answer(200, `{}`))
	require.NoError(t, b.subscribe())
	require.Equal(t, []string{hush + "-access-2"}, b.smartcar.bearers(subscribeV2))
}

func TestATokenThatSomebodyElseRefreshedMeanwhileIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	_, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: 1})
	require.NoError(t, err)
	b.smartcar.on(subscribeV2, answer(200, `{}`))
	require.NoError(t, b.subscribe())
	require.Equal(t, []string{hush + "-access-2"}, b.smartcar.bearers(subscribeV2))

	status, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: 1})
	require.NoError(t, err)
	require.EqualValues(t, 2, status.Generation)
	require.Len(t, b.smartcar.requests(tokenEndpoint), 1)
}

func TestAnApplicationTokenThatIsNotAcceptedIsDroppedAndAskedForOnceMore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		accepted   bool
		subscribed string
	}{
		"and accepted then": {true, webhookID},
		"and still not":     {false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t)
			b.connectV3(car)
			refused := answer(401, `{"errors":[{"status":"401","code":"AUTHENTICATION","detail":"`+hush+`"}]}`)
			b.smartcar.on(subscribeV3, refused)
			if test.accepted {
				b.smartcar.on(subscribeV3, refused, answer(202, `{"meta":{}}`))
			}
			err := b.subscribe()
			if test.accepted {
				require.NoError(t, err)
			} else {
				requireTransient(t, err, "smartcar_credentials_refused", 15*time.Minute)
			}
			require.Equal(t, []string{hush + "-application-1", hush + "-application-2"}, b.smartcar.bearers(subscribeV3))
			require.Len(t, b.smartcar.requests(applicationToken), 2)
			require.Equal(t, []string{test.subscribed}, texts(t, b.url,
				"SELECT subscribed_webhook_id FROM smartcar_vehicles WHERE smartcar_vehicle_id = '"+car+"'"))
			require.Empty(t, b.smartcar.requests(tokenEndpoint), "v3 has no token of the owner's")
			b.requireSilence()
		})
	}
}

func TestWithoutSettingsEverythingWaitsForTheOperator(t *testing.T) {
	t.Parallel()
	plain := setup(t)
	vehicle := contract.LoadTokenStatusInput{SmartcarVehicleID: smartcarVehicle}
	for name, run := range map[string]func() error{
		contract.LoadTokenStatusActivity: func() error { _, err := plain.LoadTokenStatus(t.Context(), vehicle); return err },
		contract.RefreshTokensActivity: func() error {
			_, err := plain.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: smartcarVehicle})
			return err
		},
		contract.EndConnectionActivity: func() error {
			_, err := plain.EndConnection(t.Context(), contract.EndConnectionInput(vehicle))
			return err
		},
		contract.ResumeVehicleActivity: func() error {
			_, err := plain.ResumeVehicle(t.Context(), contract.ResumeVehicleInput(vehicle))
			return err
		},
		contract.ExchangeCodeActivity: func() error {
			_, err := plain.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: "consent"})
			return err
		},
		contract.ListConsentVehiclesActivity: func() error {
			_, err := plain.ListConsentVehicles(t.Context(), contract.ListConsentVehiclesInput{ConsentID: "consent"})
			return err
		},
		contract.ConnectVehicleActivity: func() error {
			_, err := plain.ConnectVehicle(t.Context(), contract.ConnectVehicleInput{ConsentID: "consent", SmartcarVehicleID: car})
			return err
		},
		contract.CheckFleetActivity: func() error { _, err := plain.CheckFleet(t.Context()); return err },
	} {
		t.Run(name, func(t *testing.T) { requireTransient(t, run(), "connect_not_configured", operatorsTurn) })
	}
	subscribing, err := activities.New(activities.Deps{Store: plain.store, Logger: slog.New(slog.DiscardHandler), WebhookID: webhookID})
	require.NoError(t, err)
	_, err = subscribing.SubscribeVehicle(t.Context(), contract.SubscribeVehicleInput(vehicle))
	requireTransient(t, err, "connect_not_configured", operatorsTurn)
}

func TestTokensUnderAnotherKeysetWaitForTheOperator(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	b.deps.Vault = db.NewVault(b.store, newKeyset(t))
	a, err := activities.New(b.deps)
	require.NoError(t, err)
	_, err = a.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car})
	requireTransient(t, err, "wrong_keyset", operatorsTurn)
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
	require.True(t, b.status(car).Valid)
}
