package smartcartest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func TestV2ReadsWhatCommandsChange(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	vehicle := "/vehicles/" + bundle.cars[0]
	post := func(path, body string) answered {
		return bundle.ask(t, http.MethodPost, "/v2.0"+vehicle+path, "Bearer "+pair.AccessToken.Reveal(), nil, body)
	}
	capacity := bundle.read(t, pair, vehicle+"/battery/nominal_capacity", nil)
	require.Equal(t, map[string]any{
		"capacity":            map[string]any{"nominal": 62.0, "source": "SMARTCAR"},
		"availableCapacities": []any{map[string]any{"capacity": 62.0, "description": nil}}, "url": nil,
	}, capacity.body)

	for _, step := range []struct {
		path, command string
		read          string
		want          any
	}{
		{"/charge", `{"action":"START"}`, "state", "CHARGING"},
		{"/charge", `{"action":"STOP"}`, "state", "NOT_CHARGING"},
		{"/security", `{"action":"UNLOCK"}`, "isLocked", false},
		{"/security", `{"action":"LOCK"}`, "doors.3.status", "LOCKED"},
		{"/charge/limit", `{"limit":0.65}`, "limit", 0.65},
	} {
		done := post(step.path, step.command)
		require.Equal(t, http.StatusOK, done.status, step.command)
		require.Equal(t, "success", done.body["status"])
		require.NotEmpty(t, done.body["message"])
		require.Equal(t, step.want, bundle.read(t, pair, vehicle+step.path, nil).get(step.read), step.command)
	}
	require.Empty(t, bundle.read(t, pair, vehicle+"/security", nil).body["sunroof"])
	for path, body := range map[string]string{
		"/charge": `{"action":"LOCK"}`, "/security": `{"action":"lock"}`, "/charge/limit": `{"limit":80}`,
	} {
		require.Equal(t, []any{400, "VALIDATION"}, []any{post(path, body).status, post(path, body).body["type"]})
	}
}

func TestCommandsNeedTheirPermissionAndACapableCar(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.RESTLimits.Vehicle = smartcartest.Bucket{Size: 1, Refill: time.Hour}
	})
	all := bundle.issue(t)
	few, err := bundle.oauth.Exchange(t.Context(), bundle.authorize(t, smartcartest.ConsentAnswer{}).Code)
	require.NoError(t, err)
	charge := func(pair smartcar.TokenPair, car string) answered {
		return bundle.ask(t, http.MethodPost, "/v2.0/vehicles/"+car+"/charge", "Bearer "+pair.AccessToken.Reveal(), nil, `{"action":"START"}`)
	}
	require.Equal(t, http.StatusForbidden, charge(few, bundle.cars[0]).status)
	require.Equal(t, http.StatusForbidden, charge(all, bundle.strangersCar).status)
	require.Equal(t, http.StatusNotImplemented, charge(all, bundle.cars[1]).status, "it has an engine")
	require.Equal(t, http.StatusOK, charge(all, bundle.cars[0]).status)
	require.Equal(t, http.StatusTooManyRequests, charge(all, bundle.cars[0]).status)
}

func TestV3TakesCommands(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	command := func(car, path string) answered {
		return bundle.ask(t, http.MethodPost, "/v3/vehicles/"+car+"/commands/"+path, authorization, as(bundle.userID), "")
	}
	done := command(bundle.cars[0], "charge/start")
	require.Equal(t, []any{http.StatusOK, "command", "SUCCESS"}, []any{done.status, done.get("data.type"), done.get("data.attributes.status.value")})
	require.Equal(t, true, bundle.read(t, bundle.issue(t), "/vehicles/"+bundle.cars[0]+"/charge", nil).body["isPluggedIn"])
	require.Equal(t, http.StatusNotImplemented, command(bundle.cars[1], "charge/start").status)
	require.Equal(t, http.StatusNotFound, command(bundle.strangersCar, "charge/start").status)
	require.Equal(t, "PATH", command(bundle.cars[0], "mood/lift").get("errors.0.code"))
}

func TestV3ShowsAFailedSignalWithItsLastBody(t *testing.T) {
	t.Parallel()
	bundle, authorization := application(t, nil)
	bundle.platform.UpdateCar(bundle.cars[0], func(car *smartcartest.PlatformCar) { car.Stale = []string{smartcar.CodeOdometer} })
	received := bundle.ask(t, http.MethodGet, "/v3/vehicles/"+bundle.cars[0]+"/signals/"+smartcar.CodeOdometer, authorization, as(bundle.userID), "")
	require.Equal(t, []any{"ERROR", "UNREACHABLE"}, []any{
		received.get("data.attributes.status.value"), received.get("data.attributes.status.error.code"),
	})
	require.Equal(t, map[string]any{"value": 18204.6, "unit": "km"}, received.get("data.attributes.body"))
	require.Equal(t, "2026-11-20T10:59:52.000Z", received.get("data.meta.oemUpdatedAt"))

	credential := smartcar.Credential{AccessToken: smartcar.Token(authorization[len("Bearer "):]), UserID: bundle.userID}
	poll, err := bundle.v3.Readings(t.Context(), credential, bundle.cars[0], []string{smartcar.CodeOdometer})
	require.NoError(t, err)
	require.NotEmpty(t, poll.Signals[0].Body)
	require.Equal(t, &smartcar.SignalFailure{Status: "ERROR", Type: "VEHICLE_STATE", Code: "UNREACHABLE"}, poll.Signals[0].Failure)
}
