package activities_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/workflows/contract"
)

// sentSignal is a signal in an event of its own.
type sentSignal struct {
	eventID   string
	delivered int    // minutes after noon
	observed  int    // minutes after noon; 0 for static data
	body      string // "" when it failed
	failure   string
}

const stateOfCharge = "tractionbattery-stateofcharge"

func charge(eventID string, delivered, observed, percent int) sentSignal {
	return sentSignal{eventID: eventID, delivered: delivered, observed: observed, body: fmt.Sprintf(`{"value":%d,"unit":"percent"}`, percent)}
}

func without(eventID string, delivered int, errorType, code string) sentSignal {
	return sentSignal{eventID: eventID, delivered: delivered, failure: fmt.Sprintf(`{"type":%q,"code":%q}`, errorType, code)}
}

func (b *bundle) send(vehicle string, signals ...sentSignal) {
	b.t.Helper()
	for _, one := range signals {
		var meta string
		if one.observed != 0 {
			meta = fmt.Sprintf(`"oemUpdatedAt":%d`, noon().Add(time.Duration(one.observed)*time.Minute).UnixMilli())
		}
		content := `"body":` + one.body + `,"status":{"value":"SUCCESS"}`
		if one.failure != "" {
			content = `"status":{"value":"ERROR","error":` + one.failure + `}`
		}
		b.sendState(vehicle, one.eventID, one.delivered, fmt.Sprintf(`{"code":%q,"meta":{%s},%s}`, stateOfCharge, meta, content))
	}
}

// sendState takes an event with these signals through loading and writing.
func (b *bundle) sendState(vehicle, eventID string, delivered int, signals string) {
	b.t.Helper()
	stored := b.receive(fmt.Sprintf(`{"eventId":%q,"eventType":"VEHICLE_STATE","data":{"vehicle":{"id":%q},"signals":[%s]},`+
		`"meta":{"mode":"LIVE","deliveredAt":%d}}`, eventID, vehicle, signals, noon().Add(time.Duration(delivered)*time.Minute).UnixMilli()))
	result, err := b.ProcessAtOnce(b.t.Context(), contract.ProcessAtOnceInput{EventID: stored})
	require.NoError(b.t, err)
	require.NotNil(b.t, result.Written)
}

// signal is how one signal of a vehicle stands: value, observation, failure, available, supported.
func (b *bundle) signal(vehicle, code string) string {
	b.t.Helper()
	return strings.Join(texts(b.t, b.url, fmt.Sprintf(`SELECT concat_ws(' ', coalesce(data_value->>'value', '-'),
			coalesce(normalised_value::text || normalised_unit, '-'), coalesce(to_char(observed_at AT TIME ZONE 'UTC', 'HH24:MI'), '-'),
			coalesce(failure_type || '/' || coalesce(failure_code, ''), '-'),
			CASE WHEN available THEN 'available' ELSE 'unavailable' END, CASE WHEN supported THEN 'supported' ELSE 'unsupported' END)
		FROM vehicle_signals WHERE smartcar_vehicle_id = '%s' AND data_type = '%s'`, vehicle, code)), "; ")
}

func TestTheNewestOfEachSignalWinsInEveryOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sent     []sentSignal
		expected string
	}{
		"the newest observation": {
			[]sentSignal{charge("a", 10, 5, 50), charge("b", 11, 8, 60), charge("c", 12, 3, 70)},
			"60 60percent 12:08 - available supported",
		},
		"the greater event id, between equals": {
			[]sentSignal{charge("a", 10, 5, 50), charge("c", 9, 5, 70), charge("b", 11, 5, 60)},
			"70 70percent 12:05 - available supported",
		},
		"a time of its own, before none": {
			[]sentSignal{charge("a", 10, 5, 50), charge("b", 11, 0, 60)},
			"50 50percent 12:05 - available supported",
		},
		"the latest delivery, among static data": {
			[]sentSignal{charge("a", 11, 0, 50), charge("b", 10, 0, 60)},
			"50 50percent 12:11 - available supported",
		},
		"a failure, beside the last good value": {
			[]sentSignal{charge("a", 10, 5, 50), without("b", 11, "SERVER", "INTERNAL")},
			"50 50percent 12:05 SERVER/INTERNAL unavailable supported",
		},
		"the newest failure": {
			[]sentSignal{without("a", 12, "PERMISSION", ""), without("b", 11, "SERVER", "INTERNAL"), without("c", 12, "VEHICLE_STATE", "ASLEEP")},
			"- - - VEHICLE_STATE/ASLEEP unavailable supported",
		},
		"an old value sent after a failure": {
			[]sentSignal{charge("a", 10, 5, 50), without("b", 11, "SERVER", "INTERNAL"), charge("c", 12, 4, 40)},
			"50 50percent 12:05 SERVER/INTERNAL available supported",
		},
		"a car that is not capable": {
			[]sentSignal{charge("a", 10, 5, 50), without("b", 11, "COMPATIBILITY", "VEHICLE_NOT_CAPABLE"), without("c", 12, "SERVER", "INTERNAL")},
			"50 50percent 12:05 SERVER/INTERNAL unavailable unsupported",
		},
		"a car that is capable after all": {
			[]sentSignal{without("a", 10, "COMPATIBILITY", "MAKE_NOT_COMPATIBLE"), charge("b", 11, 5, 50)},
			"50 50percent 12:05 COMPATIBILITY/MAKE_NOT_COMPATIBLE available supported",
		},
		"no reading, beside the last good value": {
			[]sentSignal{charge("a", 10, 5, 50), {eventID: "b", delivered: 11, observed: 9, body: `{"value":null,"unit":"percent"}`}},
			"50 50percent 12:05 - unavailable supported",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for number, order := range permutations(len(test.sent)) {
				vehicle := fmt.Sprint("car-", number)
				b.connectAnother(vehicle)
				for _, place := range order {
					one := test.sent[place]
					one.eventID = fmt.Sprint(one.eventID, ".of.", number)
					b.send(vehicle, one)
				}
				require.Equal(t, test.expected, b.signal(vehicle, stateOfCharge), "%v", order)
			}
		})
	}
}

func TestSignalsComeToTheSameInRandomOrders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const rounds, orders, events = 3, 4, 25
	for seed := range uint64(rounds) {
		random := rand.New(rand.NewPCG(seed, seed))
		sent := make([]sentSignal, events)
		for i := range sent {
			// Few distinct moments, so that ties are common.
			eventID, delivered := fmt.Sprintf("%02d", i), 30+random.IntN(10)
			switch random.IntN(5) {
			case 0:
				sent[i] = without(eventID, delivered, "SERVER", fmt.Sprint("CODE_", i))
			case 1:
				sent[i] = without(eventID, delivered, "COMPATIBILITY", "SMARTCAR_NOT_CAPABLE")
			default:
				sent[i] = charge(eventID, delivered, random.IntN(8), i)
			}
		}
		newest := newestCharge(sent)
		var expected string
		for order := range orders {
			vehicle := fmt.Sprintf("car-%d-%d", seed, order)
			b.connectAnother(vehicle)
			for _, one := range sent {
				one.eventID = fmt.Sprintf("%s.of.%s", one.eventID, vehicle)
				b.send(vehicle, one)
			}
			if order == 0 {
				expected = b.signal(vehicle, stateOfCharge)
				require.True(t, strings.HasPrefix(expected, newest+" "), "%s: %s", newest, expected)
			}
			require.Equal(t, expected, b.signal(vehicle, stateOfCharge), "seed %d", seed)
			random.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		}
	}
}

// newestCharge is the value that is to win, by a rule of its own.
func newestCharge(sent []sentSignal) string {
	readings := slices.DeleteFunc(slices.Clone(sent), func(one sentSignal) bool { return one.failure != "" || one.observed == 0 })
	best := slices.MaxFunc(readings, func(a, b sentSignal) int {
		return cmp.Or(cmp.Compare(a.observed, b.observed), cmp.Compare(a.eventID, b.eventID))
	})
	return strings.TrimSuffix(strings.TrimPrefix(best.body, `{"value":`), `,"unit":"percent"}`)
}

func TestSignalsAreNormalisedAndKeptAsSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sendState(smartcarVehicle, "one", 1, strings.Join([]string{
		`{"code":"tractionbattery-range","body":{"value":100,"unit":"miles"}}`,
		`{"code":"tractionbattery-stateofcharge","body":{"value":0.5}}`,
		`{"code":"charge-voltage","body":{"value":230,"unit":"furlongs"}}`,
		`{"code":"closure-islocked","body":{"value":true}}`,
		`{"code":"location-preciselocation","body":{"latitude":0,"longitude":0}}`,
		`{"code":"wheel-tires","body":{"value":699.9,"unit":"bar"}}`,
		`{"code":"charge-amperage","body":{"value":1,"unit":"ampere"}}`,
		`{"code":"charge-amperage","status":{"value":"ERROR"}}`,
		`{"body":{"value":1}}`,
	}, ","))
	for code, expected := range map[string]string{
		"tractionbattery-range":         "100 160.9344km 12:01 - available supported",
		"tractionbattery-stateofcharge": "0.5 50percent 12:01 - available supported",
		"charge-voltage":                "230 - 12:01 - available supported",
		"closure-islocked":              "true - 12:01 - available supported",
		"location-preciselocation":      "- - 12:01 - available supported",
		"wheel-tires":                   "- - - - unavailable supported",
		"charge-amperage":               "1 1A 12:01 - available supported",
		"":                              "",
	} {
		require.Equal(t, expected, b.signal(smartcarVehicle, code), code)
	}
	require.Equal(t, []string{"9"}, texts(t, b.url, "SELECT count(*)::text FROM vehicle_data"), "each is kept as it was sent")
	require.Equal(t, []string{"100 miles 160.9344 km"}, texts(t, b.url, `SELECT concat_ws(' ', data_value->>'value', 'miles',
		normalised_value, normalised_unit) FROM vehicle_data WHERE data_type = 'tractionbattery-range' AND unit = 'miles'`))
}
