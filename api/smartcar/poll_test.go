package smartcar_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

// poller is what a reconciliation needs of either generation.
type poller interface {
	Readings(ctx context.Context, credential smartcar.Credential, vehicleID string, wanted []string) (smartcar.Poll, error)
	CallsFor(wanted []string) int
}

var (
	_ poller = (*smartcar.V2Client)(nil)
	_ poller = (*smartcar.V3Client)(nil)
)

const (
	batch     = "POST /v2.0/vehicles/" + vehicleID + "/batch"
	signals   = "GET /v3/vehicles/" + vehicleID + "/signals"
	requestID = "26c14915-0c26-43c5-8e42-9edfc2a66a0f"

	codeCharge   = "tractionbattery-stateofcharge"
	codeRange    = "tractionbattery-range"
	codeLocation = "location-preciselocation"
	codeFuel     = "internalcombustionengine-fuellevel"
	codeVIN      = "vehicleidentification-vin"

	metricHeaders = `{"sc-unit-system":"metric","sc-data-age":"2026-11-20T14:04:51.000Z","SC-Fetched-At":"2026-11-20T14:04:59.852Z"}`
)

// allCodes are those behind which v2 has an endpoint.
func allCodes() []string {
	return []string{
		smartcar.CodeOdometer, codeCharge, codeRange, "charge-ischarging", "charge-ischargingcableconnected", "charge-detailedchargingstatus",
		codeFuel, "internalcombustionengine-amountremaining", "internalcombustionengine-range", codeLocation, "wheel-tires",
		"internalcombustionengine-oillife", codeVIN,
	}
}

// observation is what must be equal for two readings to be one.
type observation struct {
	code, name, group, value, unit string
	quantity                       string
	oemUpdatedAt, retrievedAt      time.Time
	failure                        string
}

func observe(signal smartcar.Signal) observation {
	seen := observation{
		code: signal.Code, name: signal.Name, group: signal.Group, value: string(signal.Value), unit: signal.Unit,
		oemUpdatedAt: signal.OEMUpdatedAt, retrievedAt: signal.RetrievedAt,
	}
	if signal.Failure != nil {
		seen.failure = fmt.Sprintf("%+v", *signal.Failure)
	}
	if number, ok := signal.Number(); ok {
		quantity, err := smartcar.Normalise(signal.Code, number, signal.Unit)
		seen.quantity = fmt.Sprint(quantity.Value, quantity.Unit, quantity.Assumed, err)
	}
	return seen
}

// delivered is what a webhook with these signals gives.
func delivered(t *testing.T, signals ...string) map[string]smartcar.Signal {
	t.Helper()
	_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"signals":[`+strings.Join(signals, ",")+`]},"meta":{"version":"4.0"}}`)
	return byCode(event.Signals)
}

func byCode(signals []smartcar.Signal) map[string]smartcar.Signal {
	found := make(map[string]smartcar.Signal)
	for _, signal := range signals {
		found[signal.Code] = signal
	}
	return found
}

// webhookSignal has the times of metricHeaders.
func webhookSignal(code, name, group, body string) string {
	return fmt.Sprintf(`{"code":%q,"name":%q,"group":%q,"body":%s,"meta":{"oemUpdatedAt":1795183491000,"retrievedAt":1795183499852},"status":{"value":"SUCCESS"}}`,
		code, name, group, body)
}

func batchItem(path string, code int, body, headers string) string {
	return fmt.Sprintf(`{"path":%q,"code":%d,"body":%s,"headers":%s}`, path, code, body, headers)
}

func batchAnswer(items ...string) string { return `{"responses":[` + strings.Join(items, ",") + `]}` }

// pollV2 polls a server that answers every batch so.
func pollV2(t *testing.T, body string, wanted ...string) smartcar.Poll {
	t.Helper()
	base, _ := routes(t, map[string]http.HandlerFunc{batch: reply(200, body)})
	poll, err := v2At(t, base).Readings(t.Context(), credential(), vehicleID, wanted)
	require.NoError(t, err)
	return poll
}

func TestTheReadingsOfABatchAreThoseOfAWebhook(t *testing.T) {
	t.Parallel()
	base, asked := routes(t, map[string]http.HandlerFunc{batch: func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		if string(sent) != `{"requests":[{"path":"/odometer"},{"path":"/battery"},{"path":"/location"}]}` || r.Header.Get("Sc-Unit-System") != "metric" {
			t.Errorf("unexpected batch")
		}
		reply(200, string(payload(t, "rest-v2-batch")), "SC-Request-Id", requestID)(w, r)
	}})
	poll, err := v2At(t, base).Readings(t.Context(), credential(), vehicleID, []string{smartcar.CodeOdometer, codeCharge, codeRange, codeLocation, "closure-doors"})
	require.NoError(t, err)
	require.EqualValues(t, 1, asked.Load())
	require.Equal(t, 3, poll.Calls, "every item counts")
	require.Equal(t, requestID, poll.RequestID)
	require.NoError(t, poll.Limited)

	_, event := decodeOne(t, string(payload(t, "vehicle-state-ev-full-v4")))
	webhook := byCode(event.Signals)
	require.Len(t, poll.Signals, 4)
	for _, code := range []string{smartcar.CodeOdometer, codeCharge, codeRange} {
		require.Equal(t, observe(webhook[code]), observe(byCode(poll.Signals)[code]))
	}
	refused := delivered(t, `{"code":"location-preciselocation","name":"PreciseLocation","group":"Location","status":{"value":"ERROR","error":{"type":"PERMISSION","code":null}}}`)
	require.Equal(t, refused[codeLocation], byCode(poll.Signals)[codeLocation])
}

func TestEveryEndpointOfABatchBecomesTheBodyOfAWebhook(t *testing.T) {
	t.Parallel()
	poll := pollV2(t, batchAnswer( // Not in the order of the questions.
		batchItem("/vin", 200, `{"vin":"`+vinText+`"}`, metricHeaders),
		batchItem("/engine/oil", 200, `{"lifeRemaining":0.86}`, metricHeaders),
		batchItem("/tires/pressure", 200, `{"frontLeft":219.3,"frontRight":219,"backLeft":null,"backRight":221}`, metricHeaders),
		batchItem("/location", 200, `{"latitude":1.5,"longitude":2.25}`, metricHeaders),
		batchItem("/fuel", 200, `{"amountRemaining":53.2,"percentRemaining":0.3,"range":40.5}`, metricHeaders),
		batchItem("/charge", 200, `{"isPluggedIn":true,"state":"FULLY_CHARGED"}`, metricHeaders),
		batchItem("/battery", 200, `{"percentRemaining":0.57,"range":40.0}`, metricHeaders),
		batchItem("/odometer", 200, `{"distance":104.32}`, metricHeaders),
	), allCodes()...)
	require.Equal(t, 8, poll.Calls)
	webhook := delivered(t,
		webhookSignal(smartcar.CodeOdometer, "TraveledDistance", "Odometer", `{"value":104.32,"unit":"km"}`),
		webhookSignal(codeCharge, "StateOfCharge", "TractionBattery", `{"value":57,"unit":"percent"}`),
		webhookSignal(codeRange, "Range", "TractionBattery", `{"value":40.0,"unit":"km"}`),
		webhookSignal("charge-ischarging", "IsCharging", "Charge", `{"value":false}`),
		webhookSignal("charge-ischargingcableconnected", "IsChargingCableConnected", "Charge", `{"value":true}`),
		webhookSignal("charge-detailedchargingstatus", "DetailedChargingStatus", "Charge", `{"value":"FULLY_CHARGED"}`),
		webhookSignal(codeFuel, "FuelLevel", "InternalCombustionEngine", `{"value":30,"unit":"percent"}`),
		webhookSignal("internalcombustionengine-amountremaining", "AmountRemaining", "InternalCombustionEngine", `{"value":53.2,"unit":"L"}`),
		webhookSignal("internalcombustionengine-range", "Range", "InternalCombustionEngine", `{"value":40.5,"unit":"km"}`),
		webhookSignal(codeLocation, "PreciseLocation", "Location", `{"latitude":1.5,"longitude":2.25}`),
		webhookSignal("wheel-tires", "Tires", "Wheel", `{"values":[{"row":0,"column":0,"tirePressure":219.3},{"row":0,"column":1,"tirePressure":219},`+
			`{"row":1,"column":1,"tirePressure":221}],"rowCount":2,"columnCount":2,"unit":"kPa"}`),
		webhookSignal("internalcombustionengine-oillife", "OilLife", "InternalCombustionEngine", `{"value":86,"unit":"percent"}`),
		webhookSignal(codeVIN, "VIN", "VehicleIdentification", `{"value":"`+vinText+`"}`),
	)
	require.Len(t, webhook, len(allCodes()))
	require.True(t, sameSignals(webhook, byCode(poll.Signals)))
}

// sameSignals compares without printing, since a VIN must not.
func sameSignals(a, b map[string]smartcar.Signal) bool {
	left, errLeft := json.Marshal(a)
	right, errRight := json.Marshal(b)
	return errLeft == nil && errRight == nil && string(left) == string(right)
}

func TestAFractionBecomesThePercentThatAWebhookHas(t *testing.T) {
	t.Parallel()
	for sent, value := range map[string]string{
		"0.62": "62", "0.6200000000000001": "62", "0.625": "62.5", "0": "0", "1": "100", "0.005": "0.5", "1.0": "100", "62": "62", "null": "", `"x"`: `"x"`,
	} {
		poll := pollV2(t, batchAnswer(batchItem("/battery", 200, `{"percentRemaining":`+sent+`}`, metricHeaders)), codeCharge)
		require.Len(t, poll.Signals, 1, "the range was not asked for")
		require.Nil(t, poll.Signals[0].Failure, "no reading is not a failure")
		require.Equal(t, value, string(poll.Signals[0].Value), sent)
		if number, ok := poll.Signals[0].Number(); ok {
			quantity, err := smartcar.Normalise(codeCharge, number, poll.Signals[0].Unit)
			require.NoError(t, err)
			require.Equal(t, value, quantity.Value.String())
			require.False(t, quantity.Assumed)
		}
	}
}

func TestAVehicleIsChargingOnlyInStatesThatSaySo(t *testing.T) {
	t.Parallel()
	for state, value := range map[string]string{
		`"CHARGING"`: "true", `"NOT_CHARGING"`: "false", `"FULLY_CHARGED"`: "false", `"PREPARING"`: "", "null": "",
	} {
		poll := pollV2(t, batchAnswer(batchItem("/charge", 200, `{"state":`+state+`}`, metricHeaders)), "charge-ischarging")
		require.Nil(t, poll.Signals[0].Failure)
		require.Equal(t, value, string(poll.Signals[0].Value), state)
	}
}

func TestUnitsAreThoseOfTheSystemThatWasSent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		outer, inner          string
		odometer, fuel, tires string
	}{
		"metric":                 {"", `{"sc-unit-system":"metric"}`, "km", "L", "kPa"},
		"imperial":               {"", `{"SC-Unit-System":"Imperial"}`, "mi", "gal", "psi"},
		"imperial for the batch": {"imperial", `{}`, "mi", "gal", "psi"},
		"the item knows better":  {"imperial", `{"sc-unit-system":"metric"}`, "km", "L", "kPa"},
		"unknown":                {"", `{"sc-unit-system":"nautical"}`, "nautical", "nautical", "nautical"},
		"not said":               {"", `null`, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, _ := routes(t, map[string]http.HandlerFunc{batch: reply(200, batchAnswer(
				batchItem("/odometer", 200, `{"distance":100}`, test.inner),
				batchItem("/fuel", 200, `{"amountRemaining":10}`, test.inner),
				batchItem("/tires/pressure", 200, `{"frontLeft":32}`, test.inner),
			), "SC-Unit-System", test.outer)})
			poll, err := v2At(t, base).Readings(t.Context(), credential(), vehicleID, []string{smartcar.CodeOdometer, "internalcombustionengine-amountremaining", "wheel-tires"})
			require.NoError(t, err)
			found := byCode(poll.Signals)
			require.Equal(t, test.odometer, found[smartcar.CodeOdometer].Unit)
			require.Equal(t, test.fuel, found["internalcombustionengine-amountremaining"].Unit)
			require.Equal(t, test.tires, found["wheel-tires"].Unit)
		})
	}
	km, assumed, err := smartcar.Kilometres(decimal.NewFromInt(100), "mi")
	require.NoError(t, err)
	require.False(t, assumed)
	require.Equal(t, "160.934", km.String())
}

func TestWhatABatchLeavesOutIsMissingAndNotFailed(t *testing.T) {
	t.Parallel()
	poll := pollV2(t, batchAnswer(
		batchItem("/fuel", 200, `{"amountRemaining":null,"range":null,"percentRemaining":0.5}`, metricHeaders),
		`null`, `{}`, batchItem("/unasked", 200, `{}`, `{}`), batchItem("/location", 200, `"text"`, `[]`),
	), smartcar.CodeOdometer, codeFuel, "internalcombustionengine-range", codeLocation)
	found := byCode(poll.Signals)
	require.Len(t, poll.Signals, 3)
	require.NotContains(t, found, smartcar.CodeOdometer)
	require.Equal(t, "50", string(found[codeFuel].Value))
	require.Nil(t, found["internalcombustionengine-range"].Failure)
	require.Nil(t, found["internalcombustionengine-range"].Value)
	require.Equal(t, &smartcar.SignalFailure{Status: "ERROR"}, found[codeLocation].Failure)
}

func TestTimesOfAPollAreMillisecondsAsThoseOfAWebhook(t *testing.T) {
	t.Parallel()
	poll := pollV2(t, batchAnswer(batchItem("/odometer", 200, `{"distance":1}`, `{"sc-data-age":"2026-11-20T15:04:51.000987+01:00"}`)), smartcar.CodeOdometer)
	require.Equal(t, time.UnixMilli(1795183491000).UTC(), poll.Signals[0].OEMUpdatedAt)
	require.True(t, poll.Signals[0].RetrievedAt.IsZero())
}

func TestNothingIsSentForWhatCannotBeAsked(t *testing.T) {
	t.Parallel()
	base, asked := routes(t, nil)
	for _, client := range []poller{v2At(t, base), v3At(t, base)} {
		for _, wanted := range [][]string{nil, {}} {
			poll, err := client.Readings(t.Context(), credential(), vehicleID, wanted)
			require.NoError(t, err)
			require.Equal(t, smartcar.Poll{}, poll)
		}
		_, err := client.Readings(t.Context(), credential(), "..", allCodes())
		require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
		poll, err := client.Readings(t.Context(), smartcar.Credential{UserID: "u"}, vehicleID, allCodes())
		require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
		require.Zero(t, poll.Calls)
	}
	poll, err := v2At(t, base).Readings(t.Context(), credential(), vehicleID, []string{"closure-doors"})
	require.NoError(t, err)
	require.Equal(t, smartcar.Poll{}, poll)
	_, err = v3At(t, base).Readings(t.Context(), smartcar.Credential{AccessToken: secretText}, vehicleID, allCodes())
	require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
	require.Zero(t, asked.Load())
}

func TestTheCallsOfAPollAreKnownBefore(t *testing.T) {
	t.Parallel()
	v2, v3 := v2At(t, "http://127.0.0.1"), v3At(t, "http://127.0.0.1")
	for calls, wanted := range [][]string{
		{"closure-doors"}, {smartcar.CodeOdometer}, {smartcar.CodeOdometer, codeCharge, codeRange, "closure-doors"},
	} {
		require.Equal(t, calls, v2.CallsFor(wanted))
		require.Equal(t, 1, v3.CallsFor(wanted))
	}
	require.Equal(t, 8, v2.CallsFor(allCodes()))
	require.Zero(t, v2.CallsFor(nil))
	require.Zero(t, v3.CallsFor(nil))
}

func TestAPollThatFailedCountsItsCalls(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		kind    error
		v2, v3  int
	}{
		"no list":      {reply(200, `{}`), smartcar.ErrUnavailable, 8, 1},
		"HTML":         {reply(200, htmlPage), smartcar.ErrUnavailable, 8, 1},
		"rate limit":   {reply(429, string(payload(t, "rest-v2-error-rate-limit-vehicle")), "Retry-After", "60"), smartcar.ErrRateLimited, 8, 1},
		"token":        {reply(401, string(payload(t, "rest-v2-error-authentication"))), smartcar.ErrUnauthorized, 8, 1},
		"cut off":      {abort, smartcar.ErrUnavailable, 8, 1},
		"a wrong path": {reply(404, `{"errors":[{"status":"404","code":"PATH"}]}`), smartcar.ErrNotFound, 8, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, _ := routes(t, map[string]http.HandlerFunc{batch: test.handler, signals: test.handler})
			poll, err := v2At(t, base).Readings(t.Context(), credential(), vehicleID, allCodes())
			require.ErrorIs(t, err, test.kind)
			require.Equal(t, test.v2, poll.Calls)
			require.Empty(t, poll.Signals)
			poll, err = v3At(t, base).Readings(t.Context(), credential(), vehicleID, allCodes())
			require.ErrorIs(t, err, test.kind)
			require.Equal(t, test.v3, poll.Calls)
			require.Empty(t, poll.Signals)
			requireHidden(t, shown(t, err), secretText)
		})
	}
	server := serve(t, reply(200, ""))
	server.Close()
	for _, client := range []poller{v2At(t, server.URL), v3At(t, server.URL)} {
		poll, err := client.Readings(t.Context(), credential(), vehicleID, allCodes())
		require.ErrorIs(t, err, smartcar.ErrUnavailable)
		require.Zero(t, poll.Calls, "nothing was sent")
	}
}
