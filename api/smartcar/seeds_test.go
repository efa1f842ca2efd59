package smartcar_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// decodeSeeds are bodies in every form: the examples, and what only the text describes.
func decodeSeeds(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "payloads", "*.json"))
	require.NoError(t, err)
	var seeds []string
	for _, file := range files {
		body, err := os.ReadFile(file)
		require.NoError(t, err)
		seeds = append(seeds, string(body))
	}
	for _, body := range malformedBodies() {
		const largest = 4 << 10 // Mutating larger ones is slow and finds no more.
		if len(body) <= largest {
			seeds = append(seeds, body)
		}
	}
	slices.Sort(seeds)
	return append(seeds,
		`{"meta":null}`,
		`{"eventType":"VEHICLE_STATE","mode":"test","webhookId":"w","version":"4.0","meta":{},"triggers":["FIRST_DELIVERY",{"code":"FIRST_DELIVERY"},`+
			`"Odometer.TraveledDistance","odometer-traveleddistance",{"type":"SIGNAL_UPDATED","signal":"Odometer.TraveledDistance"},`+
			`{"type":"SIGNAL_UPDATED","signal":{"name":"N","code":"c-n","group":"C"}},{"type":"NEW_KIND"},null,1]}`,
		`{"eventId":"e-1","eventType":"VEHICLE_STATE","vehicleId":12,"data":{"user":{"id":"u","externalId":"x"},"vehicle":{"id":12,"make":"M",`+
			`"model":"N","year":"2021","vin":null,"mode":"simulated","powertrainType":"BEV"},"signals":[{"code":"odometer-traveleddistance",`+
			`"body":{"value":5,"unit":"mi"},"meta":{"oemUpdatedAt":1795183491000,"fetchedAt":"2026-11-20T14:00:02.355Z"},"status":"success"},`+
			`{"name":"FuelLevel","group":"InternalCombustionEngine","status":{"value":"ERROR","error":{"type":"PERMISSION","code":null}}},`+
			`{"code":"c","body":{"percentage":62}},{"code":"d","body":{"value":null},"status":null}]},"meta":{"deliveryTime":1760000000123}}`,
		`{"eventType":"VEHICLE_STATE","eventId":"reconcile","data":{"odometer":12345,"fresh":{"a":1}},"new":[1]}`,
		`{"eventType":"VEHICLE_ERROR","data":{"error":"Vehicle unreachable","errors":[{"type":"PERMISSION","code":null,"state":"resolved",`+
			`"description":"d","suggestedUserMessage":"m","docURL":"u","resolution":{"type":"REAUTHENTICATE","url":"r"},`+
			`"signals":["InternalCombustionEngine.FuelLevel",{"code":"c","name":"N","group":"G"},7]},{"message":"m","signalPath":"G.N",`+
			`"resolution":"RETRY_LATER"},"text",null]}}`,
		`{"eventType":"VEHICLE_CONNECTION","data":{"signals":{},"status":"UP"},"meta":[]}`,
		`{"eventType":"VERIFY","vehicleId":"a","data":{"challenge":"abcd","vehicle":{"id":"b"}},"eventName":"schedule"}`,
		`{"eventName":"VERIFY","payload":{"challenge":"abcd"}}`,
		`{"version":"2.0","webhookId":"w","eventName":"eventBased","mode":"live","payload":`+
			`{"eventId":"e-9","vehicleId":"v","eventType":"CHARGING_STARTED","eventTime":"2022-01-02T03:04:05Z"}}`,
		`{"eventName":"dynamic","webhookId":"w","mode":"test","payload":{"vehicles":[{"vehicleId":"a","userId":"u","requestId":"r","data":[`+
			`{"path":"/odometer","code":200,"body":{"distance":10},"headers":{"SC-Unit-System":"imperial","SC-Data-Age":"2026-11-20T14:04:51Z"}},`+
			`{"path":"/tires/pressure","code":409,"body":{"type":"VEHICLE_STATE","code":"ASLEEP"}}]},{"vehicleId":"b","data":[]},`+
			`{"vehicleId":"b"},{"vehicleId":"a","requestId":"r"},{"vehicleId":"b","data":[]}]}}`,
		`{"eventId\u0000":"b","eventId":"a","eventType":"VEHICLE_STATE","data\u0000":{"vehicle":{"id\u0000":"v"}}}`,
		`{ "event\u0054ype" : "VEHICLE_STATE" ,"eventId":"first","eventId":"last", "n" : -2.50e1 ,"half \ud800\u0041\u0000" : [ {"a\"":"\"}\\"}]}`,
	)
}

// words are the dictionary of what stands in bodies, and of what may stand where something else is expected.
func words() []string {
	return []string{
		`null`, `{}`, `[]`, `""`, `0`, `true`, `-2.5e1`, `1e999`, `1795183500994`, `"2026-11-20T14:00:02.355Z"`, `"\u0000"`, `"\ud800"`,
		`"VERIFY"`, `"verify"`, `"VEHICLE_STATE"`, `"VEHICLE_ERROR"`, `"schedule"`, `"eventBased"`, `"FIRST_DELIVERY"`, `"LIVE"`, `"TEST"`,
		`"SUCCESS"`, `"ERROR"`, `"Odometer.TraveledDistance"`, `[null]`, `[{}]`, `{"id":"x"}`, `{"value":1,"unit":"km"}`, `{"mode":"TEST"}`,
	}
}

// withWord is body with the word in place of one of its values; body itself when there is no such place or word. An engine
// that changes bytes hardly ever puts one whole value in place of another.
func withWord(body []byte, place, word int) []byte {
	all, places := words(), placesIn(body)
	if place >= len(places) || word >= len(all) {
		return body
	}
	return slices.Concat(body[:places[place][0]], []byte(all[word]), body[places[place][1]:])
}

// placesIn gives begin and end of each value within an object, but for those that are nested very deep.
func placesIn(body []byte) [][2]int {
	const deepest = 8
	var (
		places [][2]int
		walk   func(begin, end, depth int)
	)
	walk = func(begin, end, depth int) {
		value := gjson.ParseBytes(body[begin:end])
		if depth > deepest || !value.IsObject() && !value.IsArray() {
			return
		}
		value.ForEach(func(_, inner gjson.Result) bool {
			from := begin + inner.Index
			places = append(places, [2]int{from, from + len(inner.Raw)})
			walk(from, from+len(inner.Raw), depth+1)
			return true
		})
	}
	if gjson.ValidBytes(body) {
		walk(0, len(body), 0)
	}
	return places
}

func manyVehicles() string {
	vehicles := make([]string, 0, 501)
	for i := range cap(vehicles) {
		vehicles = append(vehicles, fmt.Sprintf(`{"vehicleId":"vehicle-%d"}`, i))
	}
	return strings.Join(vehicles, ",")
}

func malformedBodies() map[string]string {
	return map[string]string{
		"nothing":                    ``,
		"no JSON":                    `{"eventType":`,
		"two values":                 `{"eventType":"VERIFY"}{}`,
		"an array":                   `[{"eventType":"VERIFY"}]`,
		"a string":                   `"challenge"`,
		"no event type":              `{"eventId":"e-1","data":{}}`,
		"an event type of no text":   `{"eventType":{}}`,
		"2.0 without a name":         `{"version":"2.0","payload":{}}`,
		"2.0 without vehicles":       `{"eventName":"schedule","payload":{}}`,
		"2.0 with no vehicle":        `{"eventName":"schedule","payload":{"vehicles":[]}}`,
		"2.0 with a vehicle of text": `{"eventName":"dynamic","payload":{"vehicles":[{"vehicleId":"a"},"b"]}}`,
		"2.0 event without a type":   `{"eventName":"eventBased","payload":{"eventId":"e-1"}}`,
		"2.0 with too many vehicles": `{"eventName":"schedule","payload":{"vehicles":[` + manyVehicles() + `]}}`,
		"two different vehicles":     `{"eventType":"VEHICLE_STATE","vehicleId":"a","data":{"vehicle":{"id":"b"}}}`,
		"signals as a map":           `{"eventType":"VEHICLE_STATE","data":{"signals":{"odometer":{"value":1}}}}`,
		"a signal that is a number":  `{"eventType":"VEHICLE_STATE","data":{"signals":[1]}}`,
		"data that is text":          `{"eventType":"VEHICLE_STATE","data":"text"}`,
		"errors as a map":            `{"eventType":"VEHICLE_ERROR","data":{"errors":{"type":"SERVER"}}}`,
		"invalid numbers":            `{"eventType":"VEHICLE_STATE","data":{"odometer":01}}`,
		"2.0 event that says VERIFY": `{"eventName":"eventBased","payload":{"eventType":"VERIFY"}}`,
		"nesting beyond the parser":  strings.Repeat(`{"a":`, 20_000) + `1` + strings.Repeat(`}`, 20_000),
	}
}
