package smartcartest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func TestWebhooksPostWhatASimulatorsCarsDo(t *testing.T) {
	t.Parallel()
	var simulator *smartcartest.Simulator
	bundle := setupWebhooks(t, func(deps *smartcartest.WebhooksDeps) {
		deps.CurrentCar = func(vehicleID string) (smartcartest.Car, bool) { return simulator.Car(vehicleID) }
	})
	var err error
	simulator, err = smartcartest.NewSimulator(smartcartest.SimulatorDeps{
		Deliverer: bundle.webhooks, Clock: bundle.clock.Now, Seed: 3, Interval: time.Hour,
	})
	require.NoError(t, err)
	bundle.receiver.set(func(r *hookReceiver) { r.refuses = true })
	require.Error(t, bundle.webhooks.Register(t.Context(), bundle.hook))
	require.ErrorIs(t, simulator.Verify(t.Context()), smartcartest.ErrVerifyFailed)
	bundle.receiver.set(func(r *hookReceiver) { r.refuses = false })
	require.NoError(t, simulator.Verify(t.Context()))
	require.NoError(t, bundle.webhooks.Subscribe(hookID, bundle.cars[1].VehicleID))

	require.NoError(t, simulator.Step(limited(t)))
	received := bundle.receiver.received(t)
	require.Len(t, received, 2, "the other cars are not subscribed")
	require.True(t, isFirst(received[0]))
	first, _ := received[0].Events[0].Odometer()
	driven, _ := received[1].Events[0].Odometer()
	from, _ := first.Number()
	to, _ := driven.Number()
	require.True(t, to.GreaterThan(from))
	cars, isVerified := simulator.Status()
	require.True(t, isVerified)
	require.Equal(t, smartcartest.Counts{Sent: 1, Acknowledged: 1, Attempts: 1}, cars[1].Counts)
}

func TestWebhooksReportAPlatformsCarsAsTheyAreNow(t *testing.T) {
	t.Parallel()
	platform := setupPlatform(t, nil).platform
	bundle := setupWebhooks(t, func(deps *smartcartest.WebhooksDeps) { deps.CurrentCar = platform.CurrentCar })
	require.True(t, platform.UpdateCar(bundle.cars[0].VehicleID, func(car *smartcartest.PlatformCar) { car.OdometerKm = 4711 }))
	bundle.start(t)
	bundle.report(t)
	bundle.idle(t)
	odometer, ok := bundle.receiver.received(t)[0].Events[0].Odometer()
	require.True(t, ok)
	require.JSONEq(t, "4711", string(odometer.Value))
}

func TestPeopleCanControlWebhooks(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	platform := setupPlatform(t, nil).platform
	mux := http.NewServeMux()
	for _, path := range platform.Paths() {
		mux.Handle(path, platform)
	}
	for _, path := range bundle.webhooks.Paths() {
		mux.Handle(path, bundle.webhooks)
	}
	call := func(method, path string) int {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, "/simulator/"+path, nil))
		require.NotContains(t, answer.Body.String(), token)
		return answer.Code
	}
	require.Equal(t, http.StatusNotFound, call(http.MethodPost, "webhooks/test"), "there is none")
	bundle.start(t)

	require.Equal(t, http.StatusOK, call(http.MethodGet, "webhooks"))
	require.Equal(t, http.StatusOK, call(http.MethodGet, "platform"))
	require.Equal(t, http.StatusNotFound, call(http.MethodPost, "webhooks/test?webhookId=other"))
	require.Equal(t, http.StatusOK, call(http.MethodPost, "webhooks/test?webhookId="+hookID))
	require.Equal(t, http.StatusOK, call(http.MethodPost, "webhooks/disable"))
	require.Equal(t, http.StatusConflict, call(http.MethodPost, "webhooks/test"))
	require.Equal(t, http.StatusOK, call(http.MethodPost, "webhooks/enable"))
	require.Equal(t, http.StatusOK, call(http.MethodPost, "webhooks/verify"))
	bundle.receiver.set(func(r *hookReceiver) { r.refuses = true })
	require.Equal(t, http.StatusBadGateway, call(http.MethodPost, "webhooks/verify"))
	require.True(t, bundle.webhooks.Status()[0].Verified, "a failure leaves it as it was")
	bundle.idle(t)

	received := bundle.receiver.received(t)
	require.Len(t, received, 2)
	require.Equal(t, smartcar.ModeTest, received[0].Mode)
	require.True(t, isFirst(received[1]))
}

func TestWebhooksFollowThePlatformsSubscriptions(t *testing.T) {
	t.Parallel()
	var webhooks *smartcartest.Webhooks
	platform := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.WebhookIDs = []string{hookID}
		deps.OnSubscribed = func(vehicleID string) { _ = webhooks.Subscribe(hookID, vehicleID) }
		deps.OnUnsubscribed = func(webhookID, vehicleID string) { _ = webhooks.Unsubscribe(webhookID, vehicleID) }
	})
	bundle := setupWebhooks(t, func(deps *smartcartest.WebhooksDeps) { deps.CurrentCar = platform.platform.CurrentCar })
	webhooks = bundle.webhooks
	require.NoError(t, webhooks.Register(t.Context(), bundle.hook))
	credential := smartcar.Credential{AccessToken: platform.issue(t).AccessToken}
	for _, car := range platform.cars {
		require.NoError(t, platform.v2.Subscribe(t.Context(), credential, car, hookID))
	}
	bundle.idle(t)
	require.Len(t, bundle.receiver.received(t), 2)
	require.Equal(t, platform.cars, platform.platform.SubscribedVehicles(hookID))
	require.Equal(t, platform.cars, webhooks.Status()[0].VehicleIDs)

	path := "/v2.0/vehicles/" + platform.cars[0]
	require.Equal(t, 200, platform.ask(t, http.MethodDelete, path+"/webhooks/"+hookID, "Bearer "+platformAMT, nil, "").status)
	require.Equal(t, platform.cars[1:], webhooks.Status()[0].VehicleIDs)
	path = "/v2.0/vehicles/" + platform.cars[1] + "/application"
	require.Equal(t, 200, platform.ask(t, http.MethodDelete, path, "Bearer "+platformAMT, nil, "").status)
	require.Empty(t, webhooks.Status()[0].VehicleIDs, "the end of a connection ends its subscriptions")
}
