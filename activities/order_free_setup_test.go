package activities_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

const (
	fleetSize    = 50
	strangerCar  = "nobody-connected-this-car"
	kmPerMile    = 1.609344
	unitUnknown  = "furlongs"
	unitAbsent   = ""
	longestPause = 36 * time.Hour // between two observations of a car
)

// generatedEvent is one event, with what is to be counted of it later.
type generatedEvent struct {
	original   db.Delivery
	copies     []db.Delivery // the same event delivered again, restamped
	observedAt time.Time
	// hasReading says that a reading in a known unit is to be kept.
	hasReading bool
	failure    string // the class it fails with whatever was observed; "" for none
	isLive     bool
}

// generatedCar is what a car did so far.
type generatedCar struct {
	id         string
	clock      time.Time
	kilometres float64
	sent       []observation
}

// observation is an odometer reading as JSON, and its moment.
type observation struct {
	at          time.Time
	value, unit string
}

// generator makes events from one random source.
type generator struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time // when the last event arrives
	cars   []*generatedCar
	known  map[string]bool
	number int
}

func newGenerator(t *testing.T, seed uint64, events int) *generator {
	t.Helper()
	g := &generator{
		t: t, random: rand.New(rand.NewPCG(seed, seed)),
		now: time.Now().UTC().Truncate(time.Second), known: map[string]bool{},
	}
	perCar := events/5 + 1 // more than the busiest has
	for number := range fleetSize {
		g.cars = append(g.cars, &generatedCar{
			id:         fmt.Sprintf("car-%02d", number),
			clock:      g.now.Add(-time.Duration(perCar) * longestPause),
			kilometres: float64(g.random.IntN(100_000)),
		})
	}
	return g
}

// generate gives exactly so many different events, in no particular order. Some cars
// are far busier than others, so that workers meet over them.
func (g *generator) generate(events int) []generatedEvent {
	generated := make([]generatedEvent, 0, events)
	for len(generated) < events {
		event := g.event(g.cars[g.random.IntN(1+g.random.IntN(len(g.cars)))])
		if g.known[event.original.EventID] {
			continue // two events without an eventId that say the same are one
		}
		g.known[event.original.EventID] = true
		generated = append(generated, event)
	}
	return generated
}

func (g *generator) event(car *generatedCar) generatedEvent {
	g.number++
	kind := g.random.IntN(100)
	switch {
	case kind < 80:
		return g.stateEvent(car, "LIVE")
	case kind < 92:
		return g.errorEvent(car)
	case kind < 95:
		return g.stateEvent(car, []string{"TEST", "SIMULATED"}[g.random.IntN(2)])
	case kind < 97:
		event := g.stateEvent(&generatedCar{id: strangerCar, clock: car.clock}, "LIVE")
		event.hasReading, event.failure = false, "unknown_vehicle"
		return event
	default:
		car.clock = car.clock.Add(time.Minute)
		return g.deliver(car, "VEHICLE_DAYDREAM", `"dream":`+fmt.Sprint(g.number), "LIVE")
	}
}

func (g *generator) stateEvent(car *generatedCar, mode string) generatedEvent {
	car.clock = car.clock.Add(g.pause())
	signals := g.signals(car)
	hasReading, failure := false, ""
	if g.random.IntN(100) < 90 {
		var one observation
		if mode == "LIVE" {
			one = g.observe(car)
		} else {
			one = observation{car.clock, "1", "km"} // invented by whoever tests
		}
		signals = append(signals, g.odometer(one))
		hasReading = mode == "LIVE" && one.unit != unitUnknown
		if mode == "LIVE" && one.unit == unitUnknown {
			failure = "unit_unknown"
		}
	} else if g.random.IntN(2) == 0 {
		signals = append(signals, `{"code":"odometer-traveleddistance","status":{"value":"ERROR","error":{"type":"VEHICLE_STATE","code":"ASLEEP"}}}`)
	}
	event := g.deliver(car, "VEHICLE_STATE", `"signals":[`+strings.Join(signals, ",")+"]", mode)
	event.hasReading, event.failure = hasReading, failure
	return event
}

// pause is often so short that readings fall into one hour.
func (g *generator) pause() time.Duration {
	if g.random.IntN(2) == 0 {
		return time.Duration(g.random.IntN(40)) * time.Minute
	}
	return time.Duration(g.random.Int64N(int64(longestPause))).Truncate(time.Millisecond)
}

// observe drives the car on, mostly, and reads its odometer.
func (g *generator) observe(car *generatedCar) observation {
	one := observation{at: car.clock, unit: "km"}
	shown := car.kilometres
	switch kind := g.random.IntN(100); {
	case kind < 8 && len(car.sent) > 0: // the very same observation, in another event
		return car.sent[g.random.IntN(len(car.sent))]
	case kind < 14 && len(car.sent) > 0: // another value at the same moment
		one.at = car.sent[len(car.sent)-1].at
		shown += float64(g.random.IntN(40)) / 10
	case kind < 34: // standing: the same value again, or nearly
		shown += []float64{0, 0, 0.04, -0.04, 0.3, 0.6, -0.6}[g.random.IntN(7)]
	case kind < 40: // lower, sometimes within the slack for rounding
		shown -= []float64{0.4, 1, 1.2, 50, 500}[g.random.IntN(5)]
	case kind < 45: // a jump that nobody drives, which lasts or not
		shown += float64(2_500 + g.random.IntN(20_000))
		if g.random.IntN(3) == 0 {
			car.kilometres = shown
		}
	case kind < 46:
		shown = -5
	default:
		car.kilometres += float64(g.random.IntN(4_000)) / 10
		shown = car.kilometres
	}
	g.putUnit(&one, shown)
	if one.unit != unitUnknown {
		car.sent = append(car.sent, one)
	}
	return one
}

func (g *generator) putUnit(one *observation, kilometres float64) {
	one.value = fmt.Sprintf("%.2f", kilometres)
	switch kind := g.random.IntN(100); {
	case kind < 25:
		one.unit, one.value = []string{"mi", "miles"}[g.random.IntN(2)], fmt.Sprintf("%.3f", kilometres/kmPerMile)
	case kind < 30:
		one.unit = unitAbsent
	case kind < 32:
		one.unit = unitUnknown
	case kind < 40:
		one.unit = "kilometers"
	}
}

// odometer is the signal; its moment stands in one of two members.
func (g *generator) odometer(one observation) string {
	var unit string
	if one.unit != unitAbsent {
		unit = fmt.Sprintf(`,"unit":%q`, one.unit)
	}
	times := fmt.Sprintf(`"oemUpdatedAt":%d,"retrievedAt":%d`, one.at.UnixMilli(), one.at.Add(time.Minute).UnixMilli())
	if g.random.IntN(4) == 0 {
		times = fmt.Sprintf(`"retrievedAt":%d`, one.at.UnixMilli())
	}
	if g.random.IntN(20) == 0 {
		times = "" // then it is taken for observed when it was delivered, or received
	}
	return fmt.Sprintf(`{"code":"odometer-traveleddistance","body":{"value":%s%s},"meta":{%s},"status":{"value":"SUCCESS"}}`,
		one.value, unit, times)
}

// signals are up to two others: readings, static ones without times, and failed ones.
func (g *generator) signals(car *generatedCar) []string {
	codes := []string{"tractionbattery-stateofcharge", "internalcombustionengine-fuellevel", "charge-ischarging"}
	var signals []string
	for range g.random.IntN(3) {
		code, value := codes[g.random.IntN(len(codes))], g.random.IntN(100)
		// Few distinct moments, so that ties are common.
		at := car.clock.Truncate(6 * time.Hour)
		switch g.random.IntN(7) {
		case 0:
			failure := []string{`"SERVER","code":"INTERNAL"`, `"COMPATIBILITY","code":"VEHICLE_NOT_CAPABLE"`}[g.random.IntN(2)]
			signals = append(signals, fmt.Sprintf(`{"code":%q,"status":{"value":"ERROR","error":{"type":%s}}}`, code, failure))
		case 1:
			signals = append(signals, fmt.Sprintf(`{"code":"vehicleidentification-trim","body":{"value":"trim %d"},"status":{"value":"SUCCESS"}}`, value))
		case 2:
			signals = append(signals, fmt.Sprintf(`{"code":"wheel-tires","body":{"values":[{"row":0,"column":0,"tirePressure":%d}],"unit":"bar"},"meta":{"oemUpdatedAt":%d}}`,
				value*10, at.UnixMilli()))
		default:
			signals = append(signals, fmt.Sprintf(`{"code":%q,"body":{"value":%d,"unit":"percent"},"meta":{"oemUpdatedAt":%d}}`,
				code, value, at.UnixMilli()))
		}
	}
	return signals
}

func (g *generator) errorEvent(car *generatedCar) generatedEvent {
	car.clock = car.clock.Add(time.Duration(g.random.IntN(120)) * time.Minute)
	kinds := []string{
		`"CONNECTED_SERVICES_ACCOUNT","code":"AUTHENTICATION_FAILED"`, `"CONNECTED_SERVICES_ACCOUNT","code":"SUBSCRIPTION"`,
		`"COMPATIBILITY","code":"VEHICLE_NOT_CAPABLE"`, `"PERMISSION","code":null`, `"VEHICLE_STATE","code":"ASLEEP"`,
	}
	scopes := []string{
		"", `,"signals":["Odometer.TraveledDistance"]`,
		`,"signals":["TractionBattery.StateOfCharge","Odometer.TraveledDistance"]`,
	}
	var reported []string
	for range 1 + g.random.IntN(2) {
		reported = append(reported, fmt.Sprintf(`{"type":%s,"state":%q%s}`, kinds[g.random.IntN(len(kinds))],
			[]string{"ERROR", "RESOLVED"}[g.random.IntN(2)], scopes[g.random.IntN(len(scopes))]))
	}
	return g.deliver(car, "VEHICLE_ERROR", `"errors":[`+strings.Join(reported, ",")+"]", "LIVE")
}

// deliver makes the deliveries of an event. The moment of a reading without a time
// of its own is that of the delivery which is kept, the first; so the first delivery
// is the same in both streams, and only its repetitions have other stamps. One event
// in twenty names no eventId, and one in twenty no time of delivery.
func (g *generator) deliver(car *generatedCar, eventType, data, mode string) generatedEvent {
	// Whole minutes, so that two events are delivered in one moment now and then.
	deliveredAt := car.clock.Add(time.Duration(g.random.IntN(600)) * time.Minute).Truncate(time.Minute)
	receivedAt := g.now.Add(-time.Duration(g.number) * time.Millisecond)
	eventID, stamped := fmt.Sprintf(`"eventId":"%016x",`, g.random.Uint64()), g.random.IntN(20) > 0
	if g.random.IntN(20) == 0 {
		eventID = ""
	}
	body := func(after time.Duration) db.Delivery {
		var stamp string
		if stamped {
			stamp = fmt.Sprintf(`,"deliveredAt":%d`, deliveredAt.Add(after).UnixMilli())
		}
		return g.delivery(fmt.Sprintf(`{%s"eventType":%q,"data":{"user":{"id":"owner"},"vehicle":{"id":%q},%s},"meta":{"mode":%q,"deliveryId":"%s"%s}}`,
			eventID, eventType, car.id, data, mode, after, stamp), receivedAt.Add(after))
	}
	event := generatedEvent{original: body(0), isLive: mode == "LIVE"}
	event.observedAt = observedAt(g.t, event.original)
	for copied := range max(0, g.random.IntN(6)-3) {
		event.copies = append(event.copies, body(time.Duration(copied+1)*time.Second))
	}
	return event
}

// delivery is a row as the receiver makes it of a body.
func (g *generator) delivery(body string, receivedAt time.Time) db.Delivery {
	g.t.Helper()
	require.True(g.t, json.Valid([]byte(body)))
	delivery, err := smartcar.Decode([]byte(body))
	require.NoError(g.t, err)
	require.Len(g.t, delivery.Events, 1)
	return db.Delivery{
		EventID: delivery.Events[0].ID, EventType: string(delivery.Type), SmartcarVehicleID: delivery.Events[0].VehicleID,
		Mode: string(delivery.Mode), DeliveryID: delivery.DeliveryID, WebhookID: delivery.WebhookID,
		DeliveredAt: delivery.DeliveredAt, ReceivedAt: receivedAt, Payload: []byte(body),
	}
}

// observedAt is when the odometer was read, or the event delivered if it has no reading.
func observedAt(t *testing.T, delivery db.Delivery) time.Time {
	t.Helper()
	decoded, err := smartcar.Decode(delivery.Payload)
	require.NoError(t, err)
	odometer, found := decoded.Events[0].Odometer()
	if !found {
		odometer = smartcar.Signal{}
	}
	at, _ := odometer.ObservedAt(delivery.DeliveredAt, delivery.ReceivedAt)
	return at
}

// sorted is the first stream: each event once, in the order of observation.
func sorted(events []generatedEvent) []db.Delivery {
	inOrder := slices.Clone(events)
	slices.SortStableFunc(inOrder, func(a, b generatedEvent) int { return a.observedAt.Compare(b.observedAt) })
	deliveries := make([]db.Delivery, len(inOrder))
	for i, event := range inOrder {
		deliveries[i] = event.original
	}
	return deliveries
}

// shuffled is the second stream: all deliveries in random order, but that the first
// of an event stays the first of it.
func shuffled(random *rand.Rand, events []generatedEvent) []db.Delivery {
	var places []int
	for number, event := range events {
		for range 1 + len(event.copies) {
			places = append(places, number)
		}
	}
	random.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	seen := make([]int, len(events))
	deliveries := make([]db.Delivery, len(places))
	for i, number := range places {
		deliveries[i] = append([]db.Delivery{events[number].original}, events[number].copies...)[seen[number]]
		seen[number]++
	}
	return deliveries
}
