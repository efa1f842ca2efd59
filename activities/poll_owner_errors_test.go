package activities_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// finish takes all events through processing that wait for it, as their workflows would.
func (b *polling) finish() {
	b.t.Helper()
	for _, id := range texts(b.t, b.url, "SELECT event_id FROM smartcar_webhook_events WHERE status = 'received' ORDER BY created_at, event_id") {
		result, err := b.ProcessAtOnce(b.t.Context(), contract.ProcessAtOnceInput{EventID: id})
		require.NoError(b.t, err)
		if result.Loaded.Kind == contract.KindVehicleError {
			b.recordError(id)
		}
	}
}

// accountFails has a webhook report an error of the car, so long before now.
func (b *polling) accountFails(code string, signals string, ago time.Duration) {
	b.t.Helper()
	b.recordError(b.receive(fmt.Sprintf(`{"eventId":"%s %s","eventType":"VEHICLE_ERROR","data":{"vehicle":{"id":%q},"errors":[`+
		`{"type":"CONNECTED_SERVICES_ACCOUNT","code":%q%s}]},"meta":{"mode":"LIVE","deliveredAt":%d}}`,
		code, b.now, car, code, signals, b.now.Add(-ago).UnixMilli())))
}

func TestAnErrorOfTheOwnersThatOnlyAPollFoundIsSeenToLikeAWebhook(t *testing.T) {
	t.Parallel()
	const accountOfV3 = `{"errors":[{"status":"400","type":"CONNECTED_SERVICES_ACCOUNT","code":"AUTHENTICATION_FAILED","detail":"` + hush + `"}]}`
	account := failure(400, "CONNECTED_SERVICES_ACCOUNT", "AUTHENTICATION_FAILED")
	for name, test := range map[string]struct {
		v3      bool
		reply   http.HandlerFunc
		state   string
		notices []string
		open    string
	}{
		"the whole answer":   {false, answer(400, account), db.StateReauthRequired, []string{db.NoticeReauthRequired}, "*"},
		"the odometer":       {false, batch(400, account), db.StateReauthRequired, []string{db.NoticeReauthRequired}, smartcar.CodeOdometer},
		"the account":        {false, answer(400, failure(400, "CONNECTED_SERVICES_ACCOUNT", "SUBSCRIPTION")), db.StateConnected, nil, "*"},
		"remote access":      {false, answer(409, failure(409, "VEHICLE_STATE", "REMOTE_ACCESS_DISABLED")), db.StateConnected, nil, "*"},
		"v3":                 {true, answer(400, accountOfV3), db.StateReauthRequired, []string{db.NoticeReauthRequired}, "*"},
		"the odometer of v3": {true, signals(failedSignal(smartcar.CodeOdometer, "CONNECTED_SERVICES_ACCOUNT", "AUTHENTICATION_FAILED")), db.StateReauthRequired, []string{db.NoticeReauthRequired}, smartcar.CodeOdometer},
		"another signal": {
			true, signals(
				signal(smartcar.CodeOdometer, `{"value":1000,"unit":"km"}`, noon()), failedSignal(chargeSignal, "CONNECTED_SERVICES_ACCOUNT", "PERMISSION"),
			), db.StateConnected, nil, "",
		},
		"nothing of owners'":  {false, answer(409, failure(409, "VEHICLE_STATE", "ASLEEP")), db.StateConnected, nil, ""},
		"the token, not them": {false, answer(401, failure(401, "AUTHENTICATION", "")), db.StateConnected, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			if test.v3 {
				b.ownV3(car)
				b.execute("DELETE FROM notices")
			} else {
				b.own(car)
			}
			b.smartcar.on(batchOf(car), test.reply)
			b.smartcar.on(signalsOf(car), test.reply)
			first := b.poll(car)
			b.finish()
			require.Equal(t, test.open, b.openErrors(car))
			require.Equal(t, test.state, b.connectionState(car))
			require.Equal(t, append([]string{}, test.notices...), append([]string{}, b.notices(car)...))
			if test.open == "" {
				return
			}
			require.Equal(t, contract.PollNeedsOwner, first.Outcome)
			events := b.count("smartcar_webhook_events WHERE payload::text LIKE '%VEHICLE_ERROR%'")
			b.now = b.now.Add(25 * time.Hour)
			require.Equal(t, contract.PollNeedsOwner, b.poll(car).Outcome)
			b.finish()
			require.Equal(t, events, b.count("smartcar_webhook_events WHERE payload::text LIKE '%VEHICLE_ERROR%'"), "it is known")
			require.Equal(t, append([]string{}, test.notices...), append([]string{}, b.notices(car)...), "and the owner is asked once")
		})
	}
}

func TestAReadingEndsTheErrorsOfTheOwnersWhoseEndWasLost(t *testing.T) {
	t.Parallel()
	const elsewhere = `,"signals":["Location.PreciseLocation"]`
	for name, test := range map[string]struct {
		v3       bool
		observed time.Duration // how long before the poll Smartcar got the reading
		code     string
		signals  string
		open     string
	}{
		"who signed in":                      {false, 0, "AUTHENTICATION_FAILED", "", ""},
		"who signed in, v3":                  {true, time.Hour, "AUTHENTICATION_FAILED", "", ""},
		"who signed in, for something else":  {false, 0, "AUTHENTICATION_FAILED", elsewhere, ""},
		"who subscribed":                     {false, 0, "SUBSCRIPTION", "", ""},
		"but not by a reading from before":   {true, 3 * time.Hour, "AUTHENTICATION_FAILED", "", "*"},
		"but not those of something else":    {false, 0, "SUBSCRIPTION", elsewhere, "location-preciselocation"},
		"those of the odometer, of them all": {false, 0, "SUBSCRIPTION", `,"signals":["Odometer.TraveledDistance","A.B"]`, "a-b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			if test.v3 {
				b.ownV3(car)
				b.execute("DELETE FROM notices")
			} else {
				b.own(car)
			}
			b.accountFails(test.code, test.signals, 2*time.Hour)
			asked := b.notices(car)
			b.smartcar.on(batchOf(car), shown("1000", b.now.Add(-test.observed)))
			b.smartcar.on(signalsOf(car), signals(signal(smartcar.CodeOdometer, `{"value":1000,"unit":"km"}`, b.now.Add(-test.observed))))
			for range 2 {
				b.poll(car)
				b.finish()
				b.now = b.now.Add(pollInterval)
			}
			require.Equal(t, test.open, b.openErrors(car))
			if test.open == "" {
				require.Equal(t, []string{"connected false"}, texts(t, b.url,
					"SELECT connection_state || ' ' || degraded FROM smartcar_vehicles WHERE smartcar_vehicle_id = '"+car+"'"))
			}
			if len(asked) > 0 && test.open == "" {
				require.Equal(t, []string{db.NoticeReauthRequired, db.NoticeReauthResolved}, b.notices(car))
			}
			require.Len(t, b.written(), 1)
		})
	}
}

// TestAReadingWithAnEndOfAnErrorIsReportedAsTheReading: the answer made two events.
func TestAReadingWithAnEndOfAnErrorIsReportedAsTheReading(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.accountFails("SUBSCRIPTION", "", 2*time.Hour)
	b.smartcar.on(batchOf(car), shown("1000", b.now))
	result := b.poll(car)
	require.Len(t, b.polledEvents(), 2)
	require.True(t, strings.HasPrefix(result.EventID, smartcar.PollEventPrefix))
	b.finish()
	vehicles, err := b.store.ReconciledVehicles(t.Context(), []string{car}, activities.OdometerSignal(), b.now.Add(-time.Minute))
	require.NoError(t, err)
	require.Len(t, vehicles, 1)
	require.Equal(t, string(contract.OutcomeMeterEntry), vehicles[0].EventOutcome)
	require.Equal(t, string(contract.OutcomeMeterEntry), *b.event(result.EventID).Outcome)
}
