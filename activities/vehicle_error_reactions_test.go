package activities_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
)

// TestEveryVehicleErrorGetsItsReaction goes through the whole table of reactions, each row with a vehicle of its own.
func TestEveryVehicleErrorGetsItsReaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const odometer, location = `"signals":[{"code":"odometer-traveleddistance"}]`, `"signals":[{"code":"location-preciselocation"}]`
	const reauthenticate = `"resolution":{"type":"REAUTHENTICATE"}`
	type reaction = db.Reaction
	for i, row := range []struct {
		error    string
		reaction reaction
		reason   string // of the notice, "" for none
	}{
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"AUTHENTICATION_FAILED"`, db.ReactionReauthenticate, "authentication_failed"},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"AUTHENTICATION_FAILED",` + location, db.ReactionReauthenticate, "authentication_failed"},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"ACCOUNT_ISSUE"`, db.ReactionOwnerAction, ""},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"ACCOUNT_ISSUE",` + reauthenticate, db.ReactionReauthenticate, "account_issue"},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"PERMISSION","resolution":{"type":"USER_ACTION_REQUIRED"}`, db.ReactionOwnerAction, ""},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"SUBSCRIPTION",` + odometer, db.ReactionOwnerAction, ""},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"VIRTUAL_KEY_REQUIRED"`, db.ReactionOwnerAction, ""},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"NO_VEHICLES"`, db.ReactionOwnerAction, ""},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":"VEHICLE_MISSING"`, db.ReactionOwnerAction, ""},
		{`"type":"CONNECTED_SERVICES_ACCOUNT","code":null`, db.ReactionOwnerAction, ""},
		{`"type":"VEHICLE_STATE","code":"UNREACHABLE","resolution":{"type":"RETRY_LATER"},` + odometer, db.ReactionWait, ""},
		{`"type":"VEHICLE_STATE","code":"ASLEEP"`, db.ReactionWait, ""},
		{`"type":"VEHICLE_STATE","code":"REMOTE_ACCESS_DISABLED"`, db.ReactionOwnerAction, ""},
		{`"type":"VEHICLE_STATE","code":"NOT_CHARGING"`, db.ReactionWait, ""},
		{`"type":"COMPATIBILITY","code":"VEHICLE_NOT_CAPABLE","resolution":{"type":null},` + odometer, db.ReactionUnsupportedSignals, ""},
		{`"type":"COMPATIBILITY","code":"SMARTCAR_NOT_CAPABLE","resolution":{"type":"CONTACT_SUPPORT"},` + odometer, db.ReactionUnsupportedSignals, ""},
		{`"type":"COMPATIBILITY","code":"MAKE_NOT_COMPATIBLE",` + odometer, db.ReactionUnsupportedSignals, ""},
		{`"type":"COMPATIBILITY","code":"MAKE_NOT_COMPATIBLE"`, db.ReactionUnsupportedSignals, ""},
		{`"type":"COMPATIBILITY","code":"SOMETHING_NEW",` + odometer, db.ReactionWait, ""},
		{`"type":"PERMISSION","code":null,` + reauthenticate + "," + odometer, db.ReactionReconsent, "permission"},
		{`"type":"PERMISSION","code":null,` + reauthenticate + "," + location, db.ReactionIgnore, ""},
		{`"type":"PERMISSION","code":null`, db.ReactionReconsent, "permission"},
		{`"type":"PERMISSION","code":"UNKNOWN","signals":["Odometer.TraveledDistance"]`, db.ReactionReconsent, "unknown"},
		{`"type":"PERMISSION","code":null,"signals":[{"name":"Odometer","group":"TraveledDistance"}]`, db.ReactionReconsent, "permission"},
		{`"type":"PERMISSION","code":null,"signals":["VehicleUserAccount.Role"]`, db.ReactionIgnore, ""},
		{`"type":"SERVER","code":"INTERNAL"`, db.ReactionWait, ""},
		{`"type":"UPSTREAM","code":"NO_RESPONSE"`, db.ReactionWait, ""},
		{`"type":"RATE_LIMIT","code":null`, db.ReactionWait, ""},
		{`"type":"SOMETHING_NEW","code":"X"`, db.ReactionWait, ""},
		{`"type":"SOMETHING_NEW","code":"X",` + reauthenticate, db.ReactionReauthenticate, "x"},
		{`"type":"VEHICLE_NOT_CAPABLE","signalPath":"Odometer.TraveledDistance","message":"m"`, db.ReactionUnsupportedSignals, ""},
		{`"type":"PERMISSION_ERROR","signalPath":"Odometer.TraveledDistance"`, db.ReactionReconsent, "permission_error"},
		{`"type":"PERMISSION_ERROR","signalPath":"InternalCombustionEngine.FuelLevel"`, db.ReactionIgnore, ""},
		{`"type":"UPSTREAM_ERROR"`, db.ReactionWait, ""},
	} {
		vehicle := fmt.Sprint("car-", i)
		b.connectAnother(vehicle)
		b.fail(vehicle, report{"{" + row.error + "}", 1})

		where := fmt.Sprintf(" WHERE smartcar_vehicle_id = '%s'", vehicle)
		require.Equal(t, []string{string(row.reaction) + " open"},
			texts(t, b.url, "SELECT reaction || ' ' || state FROM vehicle_errors"+where), row.error)
		connection := db.StateConnected + " false"
		switch {
		case row.reason != "":
			connection = db.StateReauthRequired + " false"
		case row.reaction == db.ReactionOwnerAction:
			connection = db.StateConnected + " true"
		}
		require.Equal(t, []string{connection},
			texts(t, b.url, "SELECT connection_state || ' ' || degraded FROM smartcar_vehicles"+where), row.error)
		var reasons []string
		if row.reason != "" {
			reasons = []string{row.reason}
		}
		require.ElementsMatch(t, reasons, b.reauthReasons(vehicle), row.error)
		var unsupported []string
		if row.reaction == db.ReactionUnsupportedSignals && strings.Contains(row.error, "ignal") { // otherwise all of them
			unsupported = []string{"odometer-traveleddistance"}
		}
		require.ElementsMatch(t, unsupported, texts(t, b.url, "SELECT data_type FROM vehicle_signals"+where+" AND NOT supported"), row.error)
		require.Equal(t, row.reaction == db.ReactionUnsupportedSignals, b.obstacle(vehicle) == "not_supported", row.error)
	}
}

// obstacle is what will stand in the way of polling a vehicle of which nothing is heard for a year.
func (b *bundle) obstacle(vehicle string) string {
	b.t.Helper()
	candidates, err := b.store.PollCandidates(b.t.Context(), activities.OdometerSignal(), time.Now().AddDate(1, 0, 0))
	require.NoError(b.t, err)
	for _, candidate := range candidates {
		if candidate.SmartcarVehicleID == vehicle {
			return candidate.Obstacle
		}
	}
	return "not silent"
}

// reauthReasons are the reasons that the application was given for asking a vehicle's owner.
func (b *bundle) reauthReasons(vehicle string) (reasons []string) {
	b.t.Helper()
	for _, body := range texts(b.t, b.url, fmt.Sprintf(
		`SELECT body FROM notices WHERE notice_type = 'vehicle.reauth_required' AND smartcar_vehicle_id = '%s' ORDER BY created_at`, vehicle)) {
		var notice struct {
			Data struct {
				Reason string `json:"reason"`
			} `json:"data"`
		}
		require.NoError(b.t, json.NewDecoder(strings.NewReader(body)).Decode(&notice))
		reasons = append(reasons, notice.Data.Reason)
	}
	return reasons
}
