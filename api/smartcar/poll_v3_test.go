package smartcar_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

// pollV3 polls a server that answers every list so.
func pollV3(t *testing.T, body string, wanted ...string) smartcar.Poll {
	t.Helper()
	base, _ := routes(t, map[string]http.HandlerFunc{signals: reply(200, body)})
	poll, err := v3At(t, base).Readings(t.Context(), credential(), vehicleID, wanted)
	require.NoError(t, err)
	return poll
}

func TestTheStoredSignalsAreThoseOfAWebhook(t *testing.T) {
	t.Parallel()
	base, asked := routes(t, map[string]http.HandlerFunc{signals: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Sc-User-Id") != credential().UserID {
			t.Errorf("the user is not named")
		}
		reply(200, string(payload(t, "rest-v3-signals")), "SC-Request-Id", requestID)(w, r)
	}})
	wanted := []string{smartcar.CodeOdometer, codeCharge, codeRange, "charge-chargerate", codeLocation, codeFuel, codeVIN, "closure-doors"}
	poll, err := v3At(t, base).Readings(t.Context(), credential(), vehicleID, wanted)
	require.NoError(t, err)
	require.EqualValues(t, 1, asked.Load())
	require.Equal(t, 1, poll.Calls)
	require.Equal(t, requestID, poll.RequestID)
	require.NoError(t, poll.Limited)

	found := byCode(poll.Signals)
	require.Len(t, poll.Signals, 7, "a signal that is not there is missing")
	_, event := decodeOne(t, string(payload(t, "vehicle-state-ev-full-v4")))
	webhook := byCode(event.Signals)
	for _, code := range []string{smartcar.CodeOdometer, codeCharge, codeRange, codeVIN} {
		same := observe(webhook[code]) == observe(found[code])
		require.True(t, same, code) // Not printed: a VIN is among them.
	}
	failed := delivered(t,
		`{"code":"location-preciselocation","name":"PreciseLocation","group":"Location","status":{"value":"ERROR","error":{"type":"PERMISSION","code":null}}}`,
		`{"code":"internalcombustionengine-fuellevel","name":"FuelLevel","group":"InternalCombustionEngine","status":{"value":"ERROR","error":{"type":"COMPATIBILITY","code":"VEHICLE_NOT_CAPABLE"}}}`,
	)
	require.Equal(t, failed[codeLocation], found[codeLocation])
	require.Equal(t, failed[codeFuel], found[codeFuel])

	rate := found["charge-chargerate"]
	require.Equal(t, &smartcar.SignalFailure{Status: "ERROR", Type: "VEHICLE_STATE", Code: "NOT_CHARGING"}, rate.Failure)
	require.Equal(t, "53", string(rate.Value), "the last body is kept, and is not current")
}

func TestOnlyWantedSignalsAreReturned(t *testing.T) {
	t.Parallel()
	poll := pollV3(t, string(payload(t, "rest-v3-signals")), smartcar.CodeOdometer)
	require.Len(t, poll.Signals, 1)
	require.Equal(t, smartcar.CodeOdometer, poll.Signals[0].Code)
	require.Empty(t, pollV3(t, string(payload(t, "rest-v3-signals")), "closure-doors").Signals)
}

func TestASignalIsReadWhereverItsMetaStands(t *testing.T) {
	t.Parallel()
	const attributes = `"code":"odometer-traveleddistance","name":"TraveledDistance","group":"Odometer","status":{"value":"SUCCESS"},"body":{"value":42506.3,"unit":"km"}`
	want := observe(delivered(t, webhookSignal(smartcar.CodeOdometer, "TraveledDistance", "Odometer", `{"value":42506.3,"unit":"km"}`))[smartcar.CodeOdometer])
	for name, element := range map[string]string{
		"beside, ISO":       `{"attributes":{` + attributes + `},"meta":{"oemUpdatedAt":"2026-11-20T14:04:51.000Z","retrievedAt":"2026-11-20T14:04:59.852Z"}}`,
		"inside, numbers":   `{"attributes":{` + attributes + `,"meta":{"oemUpdatedAt":1795183491000,"retrievedAt":1795183499852}}}`,
		"bare":              `{` + attributes + `,"meta":{"oemUpdatedAt":1795183491000,"fetchedAt":1795183499852}}`,
		"code as id only":   `{"id":"odometer-traveleddistance","attributes":{` + strings.Replace(attributes, `"code":"odometer-traveleddistance",`, "", 1) + `},"meta":{"oemUpdatedAt":1795183491000,"retrievedAt":1795183499852}}`,
		"finer than needed": `{"attributes":{` + attributes + `},"meta":{"oemUpdatedAt":"2026-11-20T14:04:51.000400Z","retrievedAt":"2026-11-20T14:04:59.852999Z"}}`,
	} {
		poll := pollV3(t, `{"data":[null,{},`+element+`]}`, smartcar.CodeOdometer)
		require.Len(t, poll.Signals, 1, name)
		require.Equal(t, want, observe(poll.Signals[0]), name)
	}
}

func TestEveryPageOfSignalsIsReadAndCounted(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		number := max(1, atoi(r.URL.Query().Get("page[number]")))
		var elements []string
		for i := (number - 1) * 25; i < min(60, number*25); i++ {
			elements = append(elements, fmt.Sprintf(`{"attributes":{"code":"code-%d","body":{"value":%d}}}`, i, i))
		}
		_, _ = fmt.Fprintf(w, `{"data":[%s],"meta":{"totalCount":60,"pageSize":25,"pageNumber":%d}}`, strings.Join(elements, ","), number)
	})
	poll, err := v3At(t, server.URL).Readings(t.Context(), credential(), vehicleID, []string{"code-0", "code-59"})
	require.NoError(t, err)
	require.Len(t, poll.Signals, 2)
	require.Equal(t, 3, poll.Calls)
	require.EqualValues(t, 3, asked.Load())
}

func atoi(text string) int {
	number, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return number
}

func TestAVehicleWithoutSignalsIsNotProvisioned(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"404":            reply(404, string(payload(t, "rest-v3-error"))),
		"an empty list":  reply(200, `{"data":[],"meta":{"totalCount":0}}`),
		"without counts": reply(200, `{"data":[]}`),
		"of no use":      reply(200, `{"data":[null,{}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, _ := routes(t, map[string]http.HandlerFunc{signals: handler})
			poll, err := v3At(t, base).Readings(t.Context(), credential(), vehicleID, allCodes())
			require.ErrorIs(t, err, smartcar.ErrNotProvisioned)
			require.NotErrorIs(t, err, smartcar.ErrForbidden)
			require.Equal(t, smartcar.ReactionRetryLater, smartcar.ReactionTo(err))
			require.Equal(t, 1, poll.Calls)
		})
	}
}
