package smartcartest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func (b *platformBundle) read(t *testing.T, pair smartcar.TokenPair, path string, header map[string]string) answered {
	t.Helper()
	return b.ask(t, http.MethodGet, "/v2.0"+path, "Bearer "+pair.AccessToken.Reveal(), header, "")
}

func TestV2ReadsInTheUnitsAskedFor(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	electric, petrol := "/vehicles/"+bundle.cars[0], "/vehicles/"+bundle.cars[1]
	for path, expected := range map[string][2]map[string]any{
		electric + "/odometer":         {{"distance": 18204.6}, {"distance": 11311.8}},
		electric + "/battery":          {{"percentRemaining": 0.71, "range": 355.0}, {"percentRemaining": 0.71, "range": 220.6}},
		electric + "/battery/capacity": {{"capacity": 62.0}, {"capacity": 62.0}},
		electric + "/charge":           {{"isPluggedIn": false, "state": "NOT_CHARGING"}, {"isPluggedIn": false, "state": "NOT_CHARGING"}},
		petrol + "/fuel":               {{"amountRemaining": 32.0, "percentRemaining": 0.64, "range": 320.0}, {"amountRemaining": 8.5, "percentRemaining": 0.64, "range": 198.8}},
		petrol + "/engine/oil":         {{"lifeRemaining": 0.86}, {"lifeRemaining": 0.86}},
		petrol + "/tires/pressure":     {{"frontLeft": 241.3, "frontRight": 241.3, "backLeft": 241.3, "backRight": 241.3}, {"frontLeft": 35.0, "frontRight": 35.0, "backLeft": 35.0, "backRight": 35.0}},
	} {
		for i, system := range []string{"metric", "imperial"} {
			received := bundle.read(t, pair, path, map[string]string{"Sc-Unit-System": system})
			require.Equal(t, http.StatusOK, received.status)
			require.Equal(t, expected[i], received.body, path)
			require.Equal(t, system, received.header.Get("Sc-Unit-System"))
			require.Equal(t, "2026-11-20T11:59:52.000Z", received.header.Get("Sc-Data-Age"))
			require.Equal(t, "2026-11-20T12:00:00.000Z", received.header.Get("Sc-Fetched-At"))
			require.Len(t, received.header.Get("Sc-Request-Id"), 36)
		}
	}
	location := bundle.read(t, pair, electric+"/location", nil)
	require.Len(t, location.body, 2)
	require.Equal(t, 400, bundle.read(t, pair, electric+"/odometer", map[string]string{"Sc-Unit-System": "cubits"}).status)
}

func TestV2DescribesTheUserAndTheVehicle(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair, err := bundle.oauth.Exchange(t.Context(), bundle.authorize(t, smartcartest.ConsentAnswer{}).Code)
	require.NoError(t, err)
	credential := smartcar.Credential{AccessToken: pair.AccessToken, UserID: bundle.userID}
	userID, err := bundle.v2.User(t.Context(), credential)
	require.NoError(t, err)
	require.Equal(t, bundle.userID, userID)
	vehicle, err := bundle.v2.Vehicle(t.Context(), credential, bundle.cars[1])
	require.NoError(t, err)
	require.Len(t, vehicle.VIN, 17)
	vehicle.VIN = ""
	require.Equal(t, smartcar.Vehicle{
		ID: bundle.cars[1], UserID: bundle.userID, Make: "FORD", Model: "F-150", Year: 2021,
		Permissions: []string{"read_odometer", "read_vehicle_info", "read_vin", "read_battery", "read_fuel"},
	}, vehicle)
}

func TestV2Pages(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	for query, expected := range map[string]any{
		"":                  []any{bundle.cars[0], bundle.cars[1]},
		"?limit=1":          []any{bundle.cars[0]},
		"?limit=1&offset=1": []any{bundle.cars[1]},
		"?offset=7":         []any{},
	} {
		received := bundle.read(t, pair, "/vehicles"+query, nil)
		require.Equal(t, expected, received.body["vehicles"], query)
		require.EqualValues(t, 2, received.get("paging.count"))
	}
	for _, query := range []string{"?limit=51", "?limit=0", "?offset=-1", "?limit=x"} {
		require.Equal(t, "VALIDATION", bundle.read(t, pair, "/vehicles"+query, nil).body["type"], query)
	}
}

func TestV2RefusesInItsForm(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	all := bundle.issue(t)
	few, err := bundle.oauth.Exchange(t.Context(), bundle.authorize(t, smartcartest.ConsentAnswer{VehicleIDs: bundle.cars[:1]}).Code)
	require.NoError(t, err)
	for name, test := range map[string]struct {
		pair       smartcar.TokenPair
		path       string
		status     int
		kind       string
		code       any
		resolution any
	}{
		"no token":          {smartcar.TokenPair{}, "/user", 401, "AUTHENTICATION", nil, nil},
		"not granted":       {few, "/vehicles/" + bundle.cars[0] + "/location", 403, "PERMISSION", nil, "REAUTHENTICATE"},
		"not in the family": {few, "/vehicles/" + bundle.cars[1] + "/odometer", 403, "PERMISSION", nil, "REAUTHENTICATE"},
		"a stranger's":      {all, "/vehicles/" + bundle.strangersCar + "/permissions", 403, "PERMISSION", nil, "REAUTHENTICATE"},
		"not capable":       {all, "/vehicles/" + bundle.cars[0] + "/fuel", 501, "COMPATIBILITY", "VEHICLE_NOT_CAPABLE", nil},
		"no such path":      {all, "/vehicles/" + bundle.cars[0] + "/mood", 404, "RESOURCE_NOT_FOUND", "PATH", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			received := bundle.read(t, test.pair, test.path, nil)
			require.Equal(t, test.status, received.status)
			require.Equal(t, []any{test.kind, test.code}, []any{received.body["type"], received.body["code"]})
			require.Equal(t, map[string]any{"type": test.resolution}, received.body["resolution"])
			require.EqualValues(t, test.status, received.body["statusCode"])
			require.Equal(t, received.header.Get("Sc-Request-Id"), received.body["requestId"])
		})
	}
}

func TestABatchAnswersEachItem(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.RESTLimits.Application = smartcartest.Bucket{Size: 3, Refill: time.Hour}
	})
	pair := bundle.issue(t)
	received := bundle.ask(t, http.MethodPost, "/v2.0/vehicles/"+bundle.cars[0]+"/batch", "Bearer "+pair.AccessToken.Reveal(), nil,
		`{"requests":[{"path":"/odometer"},{"path":"/fuel"},{"path":"/mood"},{"path":"/vin"}]}`)
	require.Equal(t, http.StatusOK, received.status)
	require.Equal(t, []string{"200", "501", "404", "429"}, received.texts("responses.#.code"))
	require.Equal(t, map[string]any{"distance": 18204.6}, received.get("responses.0.body"))
	require.Equal(t, "metric", received.get("responses.0.headers.sc-unit-system"))

	bundle.clock.Advance(time.Hour)
	received = bundle.ask(t, http.MethodPost, "/v2.0/vehicles/"+bundle.cars[0]+"/batch", "Bearer "+pair.AccessToken.Reveal(), nil, `{}`)
	require.Equal(t, "VALIDATION", received.body["type"])
}

func TestTheDocumentedRESTLimitsHold(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.RESTLimits, deps.AccessLife = smartcartest.DocumentedRESTLimits(), 24*time.Hour
	})
	pair := bundle.issue(t)
	odometer := func(car int) answered { return bundle.read(t, pair, "/vehicles/"+bundle.cars[car]+"/odometer", nil) }
	for range 20 {
		require.Equal(t, http.StatusOK, odometer(0).status)
	}
	limited := odometer(0)
	require.Equal(t, []any{429, "VEHICLE", "4320"}, []any{limited.status, limited.body["code"], limited.header.Get("Retry-After")})
	require.Equal(t, http.StatusOK, odometer(1).status, "another vehicle has its own limit")
	for range 120 - 22 {
		require.Equal(t, http.StatusOK, bundle.read(t, pair, "/user", nil).status)
	}
	limited = odometer(1)
	require.Equal(t, []any{429, "SMARTCAR_API", ""}, []any{limited.status, limited.body["code"], limited.header.Get("Retry-After")})
	require.Equal(t, 2, bundle.platform.Limited())
	bundle.clock.Advance(30 * time.Second)
	require.Equal(t, http.StatusOK, odometer(1).status)
}

func TestV2SubscribesAndUnsubscribes(t *testing.T) {
	t.Parallel()
	var subscribed []string
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.WebhookIDs = []string{"webhook-1"}
		deps.OnSubscribed = func(vehicleID string) { subscribed = append(subscribed, vehicleID) }
	})
	credential := smartcar.Credential{AccessToken: bundle.issue(t).AccessToken}
	for range 2 {
		require.NoError(t, bundle.v2.Subscribe(t.Context(), credential, bundle.cars[0], "webhook-1"))
	}
	require.Equal(t, bundle.cars[:1], subscribed, "once")
	require.ErrorIs(t, bundle.v2.Subscribe(t.Context(), credential, bundle.cars[0], "webhook-2"), smartcar.ErrNotFound)
	require.ErrorIs(t, bundle.v2.Subscribe(t.Context(), credential, bundle.strangersCar, "webhook-1"), smartcar.ErrForbidden)

	path := "/v2.0/vehicles/" + bundle.cars[0] + "/webhooks/webhook-1"
	require.Equal(t, 401, bundle.ask(t, http.MethodDelete, path, "Bearer "+credential.AccessToken.Reveal(), nil, "").status)
	require.Equal(t, map[string]any{"status": "success"}, bundle.ask(t, http.MethodDelete, path, "Bearer "+platformAMT, nil, "").body)
	require.Equal(t, 404, bundle.ask(t, http.MethodDelete, path, "Bearer "+platformAMT, nil, "").status)
}

func TestV2DisconnectsByEitherToken(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	bundle.platform.Issue(bundle.strangerID, nil)
	strangers := "/v2.0/vehicles/" + bundle.strangersCar + "/application"
	require.Equal(t, 404, bundle.ask(t, http.MethodDelete, strangers, "Bearer "+pair.AccessToken.Reveal(), nil, "").status)
	require.NoError(t, bundle.v2.Disconnect(t.Context(), smartcar.Credential{AccessToken: pair.AccessToken}, bundle.cars[0]))
	require.Equal(t, bundle.cars[1:], bundle.platform.Families()[0].VehicleIDs)
	require.True(t, bundle.isValid(pair))
	path := "/v2.0/vehicles/" + bundle.cars[0] + "/application"
	require.Equal(t, 404, bundle.ask(t, http.MethodDelete, path, "Bearer "+pair.AccessToken.Reveal(), nil, "").status)

	require.NoError(t, bundle.v2.Disconnect(t.Context(), smartcar.Credential{AccessToken: platformAMT}, bundle.cars[1]))
	_, err := bundle.v2.User(t.Context(), smartcar.Credential{AccessToken: pair.AccessToken})
	require.ErrorIs(t, err, smartcar.ErrUnauthorized)
	_, err = bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
	require.Equal(t, 401, bundle.ask(t, http.MethodDelete, path, "Bearer "+pair.AccessToken.Reveal(), nil, "").status)

	bundle.issue(t)
	require.False(t, bundle.isValid(pair), "a new consent does not revive the old family")
}

func TestARotatedManagementTokenReplacesTheOld(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	rotated := bundle.platform.RotateManagementToken()
	list := func(token string) int {
		return bundle.ask(t, http.MethodGet, "/v2.0/management/connections", basic("default", token), nil, "").status
	}
	require.Equal(t, []int{401, 200}, []int{list(platformAMT), list(rotated)})
}

func TestCompatibilityKnowsThePlatformsCars(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	bundle.platform.UpdateCar(bundle.cars[0], func(car *smartcartest.PlatformCar) { car.VIN = "MADEUP" })
	client := basic(applicationID, platformSecret)
	received := bundle.ask(t, http.MethodGet, "/v2.0/compatibility?vin=MADEUP&scope=read_fuel%20read_odometer", client, nil, "")
	require.Equal(t, map[string]any{"compatible": true, "reason": nil, "capabilities": []any{
		map[string]any{"permission": "read_fuel", "endpoint": "/fuel", "capable": false, "reason": "VEHICLE_NOT_CAPABLE"},
		map[string]any{"permission": "read_odometer", "endpoint": "/odometer", "capable": true, "reason": nil},
	}}, received.body)
	require.Equal(t, false, bundle.ask(t, http.MethodGet, "/v2.0/compatibility?vin=OTHER&scope=read_vin", client, nil, "").body["compatible"])
	require.Equal(t, 400, bundle.ask(t, http.MethodGet, "/v2.0/compatibility", client, nil, "").status)
	require.Equal(t, 401, bundle.ask(t, http.MethodGet, "/v2.0/compatibility", "", nil, "").status)
}

func TestDataCanBeAsOldAsATestWants(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	observed := time.Date(2026, time.November, 19, 7, 30, 0, 0, time.UTC)
	bundle.platform.UpdateCar(bundle.cars[0], func(car *smartcartest.PlatformCar) { car.ObservedAt, car.OdometerKm = observed, 20000 })
	received := bundle.read(t, pair, "/vehicles/"+bundle.cars[0]+"/odometer", nil)
	require.Equal(t, "2026-11-19T07:30:00.000Z", received.header.Get("Sc-Data-Age"))
	require.Equal(t, map[string]any{"distance": 20000.0}, received.body)
}
