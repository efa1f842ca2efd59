package activities_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	endCar      = "DELETE /v2.0/vehicles/" + car + "/application"
	endOtherCar = "DELETE /v2.0/vehicles/" + otherCar + "/application"
)

func (b *connected) disconnect(vehicle string) error {
	b.t.Helper()
	status, err := b.store.ListVehicles(b.t.Context(), db.VehicleFilter{SmartcarVehicleID: vehicle, State: db.StateConnected, Limit: 1})
	require.NoError(b.t, err)
	if len(status) == 1 {
		require.NoError(b.t, b.store.DisconnectVehicle(b.t.Context(), vehicle))
	}
	_, err = b.EndConnection(b.t.Context(), contract.EndConnectionInput{SmartcarVehicleID: vehicle})
	return err
}

func (b *connected) requireDisconnected() {
	b.t.Helper()
	status := b.status(car)
	require.Equal(b.t, db.StateDisconnected, status.State)
	require.False(b.t, status.Active)
	require.Zero(b.t, status.TokenID)
	require.Equal(b.t, []string{db.NoticeDisconnected}, b.notices(car))
}

func TestADisconnectionIsToldToSmartcarWhicheverWayItAnswers(t *testing.T) {
	t.Parallel()
	done := answer(200, `{"status":"success"}`)
	owners := []string{managing, firstAccess}
	for name, test := range map[string]struct {
		change  func(*connected)
		times   int // that Smartcar refuses before it does it
		refused int
		kind    string
		bearers []string
	}{
		"done":                               {asItIs, 0, 0, "", []string{managing}},
		"not found is done":                  {asItIs, 1, 404, "RESOURCE_NOT_FOUND", []string{managing}},
		"a forbidden management token":       {asItIs, 1, 403, "PERMISSION", owners},
		"a management token that is no good": {asItIs, 1, 401, "AUTHENTICATION", owners},
		"no management token":                {withoutManagementToken, 0, 0, "", []string{firstAccess}},
		"an owner's token that is no good":   {withoutManagementToken, 1, 401, "AUTHENTICATION", []string{firstAccess, hush + "-access-2"}},
		"neither token is accepted":          {asItIs, 3, 401, "AUTHENTICATION", []string{managing, firstAccess, hush + "-access-2"}},
		"neither token is allowed":           {asItIs, 2, 403, "PERMISSION", owners},
		"what Smartcar refuses for good":     {asItIs, 1, 400, "VALIDATION", []string{managing}},
		"an account that needs its owner":    {withoutManagementToken, 1, 400, "CONNECTED_SERVICES_ACCOUNT", []string{firstAccess}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t, test.change)
			b.family(car)
			b.smartcar.on(endCar, append(slices.Repeat([]http.HandlerFunc{apiFailure(test.refused, test.kind)}, test.times), done)...)
			require.NoError(t, b.disconnect(car))
			require.Equal(t, test.bearers, b.smartcar.bearers(endCar))
			b.requireDisconnected()
			require.Equal(t, "0", b.count("smartcar_tokens"))
			require.Equal(t, []string{db.SignalDisconnect}, b.requested(car)[:1])

			require.NoError(t, b.disconnect(car), "the second time nothing is left to be done")
			require.Equal(t, test.bearers, b.smartcar.bearers(endCar))
			b.requireDisconnected()
			b.requireSilence()
		})
	}
}

func TestADisconnectionWaitsForSmartcar(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	for name, trouble := range map[string]struct {
		answer    int
		errorType string
	}{"a proxy's 404": {404, unavailable}, "a proxy's 403": {403, unavailable}, "502": {502, unavailable}, "429": {429, "smartcar_rate_limited"}} {
		b.smartcar.on(endCar, page(trouble.answer))
		requireTransient(t, b.disconnect(car), trouble.errorType, 0)
		require.Equal(t, db.StateDisconnecting, b.status(car).State, name)
		require.Equal(t, "1", b.count("smartcar_tokens"), name)
	}
	b.unreachable.Store(true)
	requireTransient(t, b.disconnect(car), unavailable, 0)
	b.unreachable.Store(false)
	b.smartcar.on(endCar, answer(200, `{}`))
	require.NoError(t, b.disconnect(car))
	b.requireDisconnected()
}

func TestTokensOfARefusedFamilyDoNotKeepAVehicleFromBeingDisconnected(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t, withoutManagementToken)
	b.family(car)
	b.smartcar.on(endCar, apiFailure(401, "AUTHENTICATION"))
	b.smartcar.on(tokenEndpoint, oauthFailure(400, "invalid_grant"))
	require.NoError(t, b.disconnect(car))
	b.requireDisconnected()
	require.Equal(t, "0", b.count("smartcar_tokens"))
}

func TestAVehicleThatWasConnectedAgainMeanwhileIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.describe(car, vin)
	require.Empty(t, b.connectAs(driver, car))
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), car))
	require.Empty(t, b.connectAs(driver, car))
	_, err := b.EndConnection(t.Context(), contract.EndConnectionInput{SmartcarVehicleID: car})
	require.NoError(t, err)
	require.Empty(t, b.smartcar.requests(endCar))
	require.Equal(t, db.StateConnected, b.status(car).State)
	require.Equal(t, hush+"-access-3", b.tokenOf(car))

	_, err = b.EndConnection(t.Context(), contract.EndConnectionInput{SmartcarVehicleID: "unheard-of"})
	require.NoError(t, err)
}

func TestTokensThatAnotherVehicleNeedsOutliveADisconnection(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car, otherCar)
	b.smartcar.on(endCar, answer(200, `{}`))
	b.smartcar.on(endOtherCar, answer(200, `{}`))
	require.NoError(t, b.disconnect(car))
	require.Equal(t, firstAccess, b.tokenOf(otherCar))
	require.NoError(t, b.disconnect(otherCar))
	require.Equal(t, "0", b.count("smartcar_tokens"))
}

func TestAV3VehicleIsDisconnectedByItsConnections(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.connectV3(car)
	b.smartcar.on(connectionsV3, answer(200, `{"data":[`+connectionOf{user: smartcarUser, vehicle: car}.json()+`],"meta":{"totalCount":1}}`))
	b.smartcar.on("DELETE /v3/connections/connection-of-"+car, answer(204, ""))
	require.NoError(t, b.disconnect(car))
	require.Len(t, b.smartcar.requests("DELETE /v3/connections/connection-of-"+car), 1)
	require.Equal(t, smartcarUser, b.smartcar.requests(connectionsV3)[0].query.Get("filter[userId]"))
	b.requireDisconnected()
	b.requireSilence()
}
