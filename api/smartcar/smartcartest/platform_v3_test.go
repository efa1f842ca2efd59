package smartcartest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

// application is a bundle with all three cars connected, and an application token.
func application(t *testing.T, change func(*smartcartest.PlatformDeps)) (bundle *platformBundle, authorization string) {
	t.Helper()
	bundle = setupPlatform(t, change)
	bundle.issue(t)
	bundle.platform.Issue(bundle.strangerID, nil)
	token, err := bundle.tokens.Token(t.Context())
	require.NoError(t, err)
	return bundle, "Bearer " + token.Reveal()
}

func as(userID string) map[string]string { return map[string]string{"Sc-User-Id": userID} }

func TestV3DescribesAVehicle(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	credential := smartcar.Credential{AccessToken: smartcar.Token(authorization[len("Bearer "):]), UserID: bundle.userID}
	vehicle, err := bundle.v3.Vehicle(t.Context(), credential, bundle.cars[0])
	require.NoError(t, err)
	require.Len(t, vehicle.VIN, 17)
	require.Equal(t, []any{"VOLKSWAGEN", "ID.3", 2023, bundle.userID}, []any{vehicle.Make, vehicle.Model, vehicle.Year, vehicle.UserID})

	received := bundle.ask(t, http.MethodGet, "/v3/vehicles/"+bundle.cars[1], authorization, as(bundle.userID), "")
	require.Equal(t, map[string]any{"make": "FORD", "model": "F-150", "year": 2021.0, "powertrainType": "ICE", "mode": "live"}, received.get("data.attributes"))
}

func TestV3ListsSignals(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	received := bundle.ask(t, http.MethodGet, "/v3/vehicles/"+bundle.cars[1]+"/signals", authorization, as(bundle.userID), "")
	require.Equal(t, http.StatusOK, received.status)
	require.EqualValues(t, 4, received.get("meta.totalCount"))
	require.Contains(t, received.body["included"], "vehicle")
	require.Equal(t, "odometer-traveleddistance", received.get("data.0.id"))
	require.Equal(t, map[string]any{"value": 61025.5, "unit": "mi"}, received.get("data.0.attributes.body"))
	require.Equal(t, map[string]any{
		"ingestedAt": "2026-11-20T12:00:00.000Z", "retrievedAt": "2026-11-20T12:00:00.000Z", "oemUpdatedAt": "2026-11-20T11:59:52.000Z",
	}, received.get("data.0.meta"))
	require.Equal(t, bundle.url+"/v3/vehicles/"+bundle.cars[1]+"/signals/odometer-traveleddistance", received.get("data.0.links.self"))
}

func TestV3ShowsASignalThatIsNotGrantedAsAnError(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	bundle.authorize(t, smartcartest.ConsentAnswer{VehicleIDs: bundle.cars[:1]}) // Without read_location.
	path := "/v3/vehicles/" + bundle.cars[0] + "/signals/"
	received := bundle.ask(t, http.MethodGet, path+"location-preciselocation", authorization, as(bundle.userID), "")
	require.NotContains(t, received.get("data.attributes"), "body")
	const failure = "data.attributes.status.error."
	require.Equal(t, []any{"PERMISSION", "UNKNOWN"}, []any{received.get(failure + "type"), received.get(failure + "code")})

	bundle.platform.UpdateCar(bundle.cars[0], func(car *smartcartest.PlatformCar) { car.Lacks = []string{"read_odometer"} })
	received = bundle.ask(t, http.MethodGet, path+"odometer-traveleddistance", authorization, as(bundle.userID), "")
	require.Equal(t, "COMPATIBILITY", received.get(failure+"type"))
}

func TestV3RefusesInItsForm(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	signals := "/v3/vehicles/" + bundle.cars[0] + "/signals"
	for name, test := range map[string]struct {
		path, authorization, user string
		status                    int
		code                      string
	}{
		"no token":         {signals, "", bundle.userID, 401, "AUTHENTICATION"},
		"no user":          {signals, authorization, "", 400, "PARAMETER"},
		"a stranger":       {signals, authorization, bundle.strangerID, 404, "RESOURCE_NOT_FOUND"},
		"no such signal":   {signals + "/mood-now", authorization, bundle.userID, 404, "RESOURCE_NOT_FOUND"},
		"no such path":     {"/v3/mood", authorization, bundle.userID, 404, "PATH"},
		"no connection":    {"/v3/connections/x", authorization, "", 404, "RESOURCE_NOT_FOUND"},
		"no webhook":       {"/v3/webhooks/x", authorization, "", 404, "RESOURCE_NOT_FOUND"},
		"no subscription":  {"/v3/subscriptions/x", authorization, "", 404, "RESOURCE_NOT_FOUND"},
		"a page too large": {"/v3/connections?page%5Bsize%5D=101", authorization, "", 400, "PARAMETER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			received := bundle.ask(t, http.MethodGet, test.path, test.authorization, as(test.user), "")
			require.Equal(t, test.status, received.status)
			require.Equal(t, test.code, received.get("errors.0.code"))
		})
	}
	for _, path := range []string{"/v3/connections/x", "/v3/users/x", "/v3/subscriptions/x"} {
		require.Equal(t, 404, bundle.ask(t, http.MethodDelete, path, authorization, nil, "").status, path)
	}
}

func TestV3RefusesTheSignalsOfABlockedUser(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	bundle.platform.BlockUser(bundle.userID)
	received := bundle.ask(t, http.MethodGet, "/v3/vehicles/"+bundle.cars[0]+"/signals", authorization, as(bundle.userID), "")
	require.Equal(t, []any{"CONNECTED_SERVICES_ACCOUNT", "AUTHENTICATION_FAILED"}, []any{received.get("errors.0.type"), received.get("errors.0.code")})
}

func TestV3FiltersAndPagesConnections(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	for query, expected := range map[string][]string{
		"":                                     {bundle.cars[0], bundle.cars[1], bundle.strangersCar},
		"?filter[userId]=" + bundle.userID:     bundle.cars,
		"?filter[vehicleId]=" + bundle.cars[1]: bundle.cars[1:2],
		"?filter[vehicle.mode]=test":           nil,
		"?filter[user.externalId]=x":           nil,
		"?page[size]=2":                        bundle.cars,
		"?page[size]=2&page[number]=2":         {bundle.strangersCar},
	} {
		received := bundle.ask(t, http.MethodGet, "/v3/connections"+query, authorization, nil, "")
		require.Equal(t, expected, received.texts("data.#.relationships.vehicle.data.id"), query)
	}
}

func TestV3EndsAConnection(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	list := bundle.ask(t, http.MethodGet, "/v3/connections", authorization, nil, "")
	path := "/v3/connections/" + list.texts("data.#.id")[0]
	require.Equal(t, list.get("data.0"), bundle.ask(t, http.MethodGet, path, authorization, nil, "").body["data"])
	require.Equal(t, http.StatusNoContent, bundle.ask(t, http.MethodDelete, path, authorization, nil, "").status)
	require.Equal(t, 404, bundle.ask(t, http.MethodGet, path, authorization, nil, "").status)
	require.Equal(t, bundle.cars[1:], bundle.platform.Families()[0].VehicleIDs)
}

func TestV3DeletesAUserWithAllThatIsTheirs(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	pair := bundle.issue(t)
	require.Equal(t, http.StatusNoContent, bundle.ask(t, http.MethodDelete, "/v3/users/"+bundle.userID, authorization, nil, "").status)
	require.False(t, bundle.isValid(pair))
	require.Equal(t, 1, bundle.platform.Status().Connections)
}

func TestV3Subscribes(t *testing.T) {
	t.Parallel()
	var subscribed []string
	bundle, authorization := application(t, func(deps *smartcartest.PlatformDeps) {
		deps.OnSubscribed = func(vehicleID string) { subscribed = append(subscribed, vehicleID) }
	})
	webhooks := bundle.ask(t, http.MethodGet, "/v3/webhooks", authorization, nil, "")
	webhookID := webhooks.texts("data.#.id")[0]
	require.EqualValues(t, 25, webhooks.get("meta.pageSize"))
	require.Equal(t, 200, bundle.ask(t, http.MethodGet, "/v3/webhooks/"+webhookID, authorization, nil, "").status)

	subscribe := func(userID, vehicleID string) answered {
		return bundle.ask(t, http.MethodPost, "/v3/subscriptions", authorization, nil,
			`{"data":{"attributes":{"webhookId":"`+webhookID+`","userId":"`+userID+`","vehicleId":"`+vehicleID+`"}}}`)
	}
	received := subscribe(bundle.userID, bundle.cars[0])
	require.Equal(t, http.StatusAccepted, received.status)
	require.Equal(t, map[string]any{"message": "subscription creation in progress"}, received.body["meta"])
	require.Equal(t, http.StatusConflict, subscribe(bundle.userID, bundle.cars[0]).status)
	require.Equal(t, http.StatusNotFound, subscribe(bundle.userID, bundle.strangersCar).status)
	require.Equal(t, http.StatusBadRequest, subscribe("", "").status)
	require.Equal(t, bundle.cars[:1], subscribed)

	list := func(query string) []string {
		return bundle.ask(t, http.MethodGet, "/v3/subscriptions"+query, authorization, nil, "").texts("data.#.id")
	}
	require.Empty(t, list("?filter[userId]="+bundle.strangerID))
	made := list("?filter[vehicleId]=" + bundle.cars[0])
	require.Len(t, made, 1)
	path := "/v3/subscriptions/" + made[0]
	require.Equal(t, bundle.cars[0], bundle.ask(t, http.MethodGet, path, authorization, nil, "").get("data.attributes.vehicleId"))
	require.Equal(t, http.StatusNoContent, bundle.ask(t, http.MethodDelete, path, authorization, nil, "").status)
	require.Empty(t, list(""))
}

func TestManagementV2ListsByCursorAndDeletes(t *testing.T) {
	t.Parallel()
	bundle, _ := application(t, nil)
	management, path := basic("default", platformAMT), "/v2.0/management/connections"
	var listed []string
	cursor := ""
	for range 2 {
		received := bundle.ask(t, http.MethodGet, path+"?limit=2"+cursor, management, nil, "")
		listed = append(listed, received.texts("connections.#.vehicleId")...)
		require.Equal(t, "live", received.get("connections.0.mode"))
		if next, ok := received.get("paging.cursor").(string); ok {
			cursor = "&cursor=" + next
		}
	}
	require.Equal(t, append(bundle.cars[:2:2], bundle.strangersCar), listed)
	require.Len(t, bundle.ask(t, http.MethodGet, path+"?user_id="+bundle.strangerID, management, nil, "").body["connections"], 1)

	require.Equal(t, 401, bundle.ask(t, http.MethodGet, path, basic("other", platformAMT), nil, "").status)
	require.Equal(t, 401, bundle.ask(t, http.MethodDelete, path+"?user_id=x", basic("default", "x"), nil, "").status)
	require.Equal(t, 400, bundle.ask(t, http.MethodGet, path+"?limit=101", management, nil, "").status)
	require.Equal(t, 400, bundle.ask(t, http.MethodDelete, path, management, nil, "").status)
	require.Equal(t, map[string]any{"connections": []any{map[string]any{"vehicleId": bundle.cars[0], "userId": bundle.userID}}},
		bundle.ask(t, http.MethodDelete, path+"?vehicle_id="+bundle.cars[0], management, nil, "").body)
	require.Len(t, bundle.ask(t, http.MethodDelete, path+"?user_id="+bundle.userID, management, nil, "").body["connections"], 1)
}
