package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestAVehicleIsSubscribedOnceOrNeedsNoSubscription(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	b.smartcar.on(subscribeV2, answer(200, `{}`), apiFailure(409, "CONFLICT"))
	for range 2 { // the second time it is there already
		require.NoError(t, b.subscribe())
		require.Equal(t, webhookID, b.summary(car).SubscribedWebhookID)
	}

	without := setupSmartcar(t, func(b *connected) { b.deps.WebhookID = "" })
	without.family(car)
	require.NoError(t, without.subscribe(), "the webhook enrols vehicles by itself")
	require.Empty(t, without.summary(car).SubscribedWebhookID)
	require.Empty(t, without.smartcar.asked)
}

func TestAVehicleThatWasDisconnectedMeanwhileIsNotSubscribed(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), car))
	require.NoError(t, b.store.DisconnectEnded(t.Context(), car, b.status(car).TokenID))
	require.NoError(t, b.subscribe())
	require.Empty(t, b.smartcar.asked)
}

func TestAV3SubscriptionNamesUserAndVehicle(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.connectV3(car)
	b.smartcar.on(subscribeV3, answer(202, `{"meta":{}}`))
	require.NoError(t, b.subscribe())
	require.JSONEq(t, `{"data":{"attributes":{"webhookId":"`+webhookID+`","userId":"`+smartcarUser+`","vehicleId":"`+car+`"}}}`,
		b.smartcar.requests(subscribeV3)[0].body)
	require.Equal(t, webhookID, b.summary(car).SubscribedWebhookID)
}

func TestARefusedSubscriptionLeavesTheVehicleConnected(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	for status, kind := range map[int]string{400: "VALIDATION", 403: "PERMISSION", 404: "RESOURCE_NOT_FOUND", 501: "COMPATIBILITY"} {
		b.smartcar.on(subscribeV2, apiFailure(status, kind))
		require.NoError(t, b.subscribe(), kind)
	}
	require.Empty(t, b.summary(car).SubscribedWebhookID, "`milepost vehicles list` shows it")
	require.Equal(t, db.StateConnected, b.status(car).State)
	require.Contains(t, b.logs.String(), "vehicle.not_subscribed")
	b.requireSilence()
}

func TestASubscriptionWaitsForSmartcar(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	b.smartcar.on(subscribeV2, page(403))
	requireTransient(t, b.subscribe(), unavailable, 0)
	b.smartcar.on(subscribeV2, answer(429, `{"type":"RATE_LIMIT","code":"SMARTCAR_API"}`, "Retry-After", "60"))
	requireTransient(t, b.subscribe(), "smartcar_rate_limited", time.Minute)
	b.smartcar.on(subscribeV2, apiFailure(430, "BILLING"))
	requireTransient(t, b.subscribe(), credentials, operatorsTurn)
	b.smartcar.on(subscribeV2, apiFailure(401, "AUTHENTICATION"))
	b.smartcar.on(tokenEndpoint, page(502))
	requireTransient(t, b.subscribe(), unavailable, 0)
	require.Equal(t, db.StateConnected, b.status(car).State)
	b.requireSilence()
}
