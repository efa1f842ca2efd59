package activities_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	vin      = "YSMYKEAE5RB000001"
	otherVIN = "YSMYKEAE5RB000002"
)

func (b *connected) summary(vehicle string) db.VehicleSummary {
	b.t.Helper()
	found, err := b.store.ListVehicles(b.t.Context(), db.VehicleFilter{SmartcarVehicleID: vehicle, Limit: 1})
	require.NoError(b.t, err)
	require.Len(b.t, found, 1)
	return found[0]
}

func (b *connected) tokenOf(vehicle string) string {
	b.t.Helper()
	status, err := b.vault.TokenStatus(b.t.Context(), vehicle)
	require.NoError(b.t, err)
	token, err := b.vault.AccessTokenOfFamily(b.t.Context(), status.TokenID)
	require.NoError(b.t, err)
	return token.Token
}

// connectAs takes an owner through Connect, with the cars that Smartcar lists.
func (b *connected) connectAs(owner string, vehicles ...string) contract.ConnectReason {
	b.t.Helper()
	b.smartcar.list(vehicles...)
	return b.connect(b.consent(owner, db.APIv2))
}

func TestAConsentConnectsItsVehiclesWithAllThatFollows(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.describe(car, vin)
	b.smartcar.describe(otherCar, otherVIN)
	require.Empty(t, b.connectAs(driver, car, otherCar))

	for _, vehicle := range []string{car, otherCar} {
		summary := b.summary(vehicle)
		require.Equal(t, driver, summary.Owner)
		require.True(t, summary.Active)
		require.Equal(t, db.StateConnected, summary.State)
		require.Equal(t, []string{"POLESTAR", "Polestar 2", "2023"}, []string{summary.Make, summary.Model, fmt.Sprint(summary.Year)})
		require.Equal(t, []string{"read_odometer", "read_vin"}, summary.Permissions)
		require.Equal(t, smartcarUser, b.status(vehicle).SmartcarUserID)
		require.Equal(t, []string{db.NoticeConnected}, b.notices(vehicle))
		require.Equal(t, []string{db.SignalReconnected}, b.requested(vehicle))
		require.Equal(t, hush+"-access-2", b.tokenOf(vehicle))
	}
	require.Equal(t, "1", b.count("smartcar_tokens"), "one consent gives one family for all its vehicles")
	require.Equal(t, "1", b.count("smartcar_tokens WHERE smartcar_user_id = '"+smartcarUser+"' AND smartcar_vehicle_id = '"+car+"'"))
	require.Equal(t, []string{vin, otherVIN}, texts(t, b.url, "SELECT vin FROM vehicles WHERE vin <> '' ORDER BY id"))
	require.NotContains(t, b.logs.String(), vin)
	b.requireSilence()
}

func TestConnectingAgainChangesNothingMore(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.describe(car, vin)
	consent := b.consent(driver, db.APIv2)
	b.smartcar.list(car)
	_, err := b.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: consent.ID})
	require.NoError(t, err)
	for range 2 { // each activity is run again after an answer that was lost
		exchanged, err := b.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: consent.ID})
		require.NoError(t, err)
		require.Empty(t, exchanged)
		listed, err := b.ListConsentVehicles(t.Context(), contract.ListConsentVehiclesInput{ConsentID: consent.ID})
		require.NoError(t, err)
		require.Equal(t, contract.ListConsentVehiclesResult{SmartcarVehicleIDs: []string{car}}, listed)
		result, err := b.ConnectVehicle(t.Context(), contract.ConnectVehicleInput{ConsentID: consent.ID, SmartcarVehicleID: car})
		require.NoError(t, err)
		require.Empty(t, result)
	}
	require.EqualValues(t, 1, b.oauth.exchanges.Load())
	require.Equal(t, []string{db.NoticeConnected}, b.notices(car))
	require.Equal(t, "1", b.count("vehicles WHERE vin = '"+vin+"'"))
	require.Equal(t, "1", b.count("smartcar_tokens"))
	require.Equal(t, []string{"{" + car + "}"}, texts(t, b.url, "SELECT connected_vehicles::text FROM smartcar_consents"))

	_, err = b.CloseConsent(t.Context(), contract.CloseConsentInput{ConsentID: consent.ID})
	require.NoError(t, err)
	_, err = b.CloseConsent(t.Context(), contract.CloseConsentInput{ConsentID: consent.ID, Reason: contract.ReasonNoVehicles})
	require.NoError(t, err)
	status, err := b.store.ConsentStatus(t.Context(), consent.ID)
	require.NoError(t, err)
	require.Equal(t, db.ConsentStatus{
		Phase: db.ConsentConnected, Cars: []db.ConsentCar{{Make: "POLESTAR", Model: "Polestar 2", Year: 2023}},
	}, status, "a consent is closed once")
}

func TestANewConsentReplacesTheTokensAndKeepsAFamilyThatAnotherVehicleNeeds(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.describe(car, vin)
	b.smartcar.describe(otherCar, otherVIN)
	require.Empty(t, b.connectAs(driver, car, otherCar))
	require.Empty(t, b.connectAs(driver, car))
	require.Equal(t, hush+"-access-3", b.tokenOf(car))
	require.Equal(t, hush+"-access-2", b.tokenOf(otherCar), "the other vehicle needs the first family")
	require.Equal(t, "2", b.count("smartcar_tokens"))

	require.Empty(t, b.connectAs(driver, otherCar))
	require.Equal(t, hush+"-access-4", b.tokenOf(otherCar))
	require.Equal(t, "2", b.count("smartcar_tokens"), "now nobody needs it")
	require.Equal(t, []string{db.NoticeConnected}, b.notices(car), "it was connected all along")
	require.Equal(t, []string{db.SignalReconnected, db.SignalReconnected}, b.requested(car), "its workflow looks again")
}

func TestANewConsentEndsTheWaitForTheOwner(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	b.smartcar.on(tokenEndpoint, oauthFailure(400, "invalid_grant"))
	_, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car})
	require.NoError(t, err)
	require.Equal(t, db.StateReauthRequired, b.status(car).State)
	b.smartcar.on(tokenEndpoint, b.smartcar.nextPair)
	b.smartcar.describe(car, vin)
	require.Empty(t, b.connectAs(driver, car))
	require.Equal(t, db.StateConnected, b.status(car).State)
	require.Equal(t, []string{db.NoticeReauthRequired, db.NoticeReauthResolved}, b.notices(car))
	require.Equal(t, "1", b.count("smartcar_tokens"), "the refused family is of no use")
}

func TestTheSameCarUnderANewSmartcarIDContinuesItsHistory(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.describe(smartcarVehicle, vin)
	require.Empty(t, b.connectAs("owner@milepost.example", smartcarVehicle))
	b.arrive("before", "100", noon())
	b.smartcar.describe(car, vin)
	require.Empty(t, b.connectAs("owner@milepost.example", car))
	require.Equal(t, b.vehicleID, b.summary(car).VehicleID)

	b.smartcar.describe(otherCar, vin)
	require.Empty(t, b.connectAs(driver, otherCar))
	require.NotEqual(t, b.vehicleID, b.summary(otherCar).VehicleID, "a car that changed hands begins a history of its own")
	require.Equal(t, []string{"100.000 at 0.00"}, b.entries())
	require.Equal(t, fmt.Sprint(b.vehicleID), texts(t, b.url, "SELECT vehicle_id::text FROM meter_entries")[0])
}

func TestAConnectionInUseIsNotTakenOverByAnotherOwner(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.describe(car, vin)
	require.Empty(t, b.connectAs(driver, car))
	require.Equal(t, contract.ReasonOtherOwner, b.connectAs("thief@milepost.example", car))
	require.Equal(t, driver, b.summary(car).Owner)
	require.Equal(t, hush+"-access-2", b.tokenOf(car))
	require.Equal(t, []string{db.NoticeConnected}, b.notices(car))

	require.NoError(t, b.store.DisconnectVehicle(t.Context(), car))
	require.Empty(t, b.connectAs("buyer@milepost.example", car), "nobody uses it any more")
	require.Equal(t, "buyer@milepost.example", b.summary(car).Owner)
	require.Equal(t, []string{db.NoticeConnected, db.NoticeDisconnected, db.NoticeConnected}, b.notices(car))
}

func TestConnectingReceivesAgainWhatFailedForWantOfTheVehicle(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	for eventID, class := range map[string]contract.FailureClass{
		"unknown": contract.FailureUnknownVehicle, "inactive": contract.FailureVehicleInactive, "unit": contract.FailureUnitUnknown,
	} {
		_, err := b.RecordFailure(t.Context(), contract.RecordFailureInput{EventID: b.receive(state(eventID, "1", noon())), Class: class})
		require.NoError(t, err)
	}
	b.execute("UPDATE smartcar_webhook_events SET smartcar_vehicle_id = '" + car + "'")
	b.smartcar.describe(car, vin)
	require.Empty(t, b.connectAs(driver, car))
	require.Equal(t, db.StatusReceived, b.event("unknown").Status)
	require.Equal(t, db.StatusReceived, b.event("inactive").Status)
	require.Equal(t, db.StatusFailed, b.event("unit").Status)
	require.Equal(t, "2", b.count("smartcar_webhook_event_audits"))
}

func TestAVehicleThatSmartcarWillNotDescribeIsAReason(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	for name, test := range map[string]struct {
		answer int
		kind   string
		want   contract.ConnectReason
	}{
		"not found":    {404, "RESOURCE_NOT_FOUND", contract.ReasonVehicleRefused},
		"not granted":  {403, "PERMISSION", contract.ReasonVehicleRefused},
		"not capable":  {501, "COMPATIBILITY", contract.ReasonVehicleRefused},
		"account":      {400, "CONNECTED_SERVICES_ACCOUNT", contract.ReasonVehicleRefused},
		"unauthorized": {401, "AUTHENTICATION", contract.ReasonVehicleRefused},
	} {
		b.smartcar.on("GET /v2.0/vehicles/"+car, apiFailure(test.answer, test.kind))
		require.Equal(t, test.want, b.connectAs(driver, car), name)
	}
	require.Equal(t, "0", b.count("smartcar_vehicles WHERE smartcar_vehicle_id = '"+car+"'"))
	require.Empty(t, b.notices(car))
	b.requireSilence()
}

func TestSmartcarBeingAwayIsNoReason(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.list(car)
	consent := b.consent(driver, db.APIv2)
	_, err := b.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: consent.ID})
	require.NoError(t, err)
	list, connect := contract.ListConsentVehiclesInput{ConsentID: consent.ID}, contract.ConnectVehicleInput{ConsentID: consent.ID, SmartcarVehicleID: car}
	b.smartcar.on("GET /v2.0/vehicles/"+car, page(404))
	_, err = b.ConnectVehicle(t.Context(), connect)
	requireTransient(t, err, unavailable, 0)
	b.smartcar.on("GET /v2.0/vehicles/"+car, apiFailure(430, "BILLING"))
	_, err = b.ConnectVehicle(t.Context(), connect)
	requireTransient(t, err, credentials, operatorsTurn)
	b.smartcar.on("GET /v2.0/vehicles", answer(429, `{"type":"RATE_LIMIT","code":"SMARTCAR_API"}`, "Retry-After", "60"))
	_, err = b.ListConsentVehicles(t.Context(), list)
	requireTransient(t, err, "smartcar_rate_limited", time.Minute)
	b.smartcar.on("GET /v2.0/user", page(503))
	_, err = b.ListConsentVehicles(t.Context(), list)
	requireTransient(t, err, unavailable, 0)
	require.Equal(t, db.ConsentAnswered, texts(t, b.url, "SELECT phase FROM smartcar_consents")[0])
	b.requireSilence(err.Error())
}
