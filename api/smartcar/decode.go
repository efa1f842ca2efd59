package smartcar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Decode reads a webhook body in any form: 4.0 as on the wire and as documented, autumn 2025, 3.0, 2.0 (verify,
// schedule, dynamic, event-based) and the seed style. It checks no signature.
//
// Members of an unexpected kind are parsed when possible; those and other members that are not understood are kept, under
// Unknown of their Event, Signal or VehicleError, but for those of a VERIFY and the headers of 2.0 items. It returns an
// error wrapping ErrMalformed, with a reason that repeats nothing of the body, when the body is not exactly one JSON
// object, names no event type, contradicts itself about the vehicle, or has data or signals of a wrong shape.
// The Delivery then holds what could be read and exactly one Event with an ID, so that it can be stored.
//
// Source: Smartcar, "envelope of 4.0 events", "VEHICLE_STATE", "VEHICLE_ERROR", "legacy 2.0".
func Decode(body []byte) (Delivery, error) {
	object, err := oneObject(body)
	if err != nil {
		return Delivery{Events: []Event{{ID: idOfBytes(body), Derived: true}}}, err
	}
	envelope := readEnvelope(object)
	delivery, err := envelope.decode()
	if len(delivery.Events) == 0 {
		delivery.Events = []Event{{}}
	}
	for i := range delivery.Events {
		if event := &delivery.Events[i]; event.ID == "" {
			event.ID, event.Derived = idOfBody(object), true
		}
	}
	return delivery, err
}

// ReadChallenge reports whether body is a VERIFY delivery, 4.0 or 2.0, and its challenge ("" when that is not a
// string). It is the cheap look that an endpoint may afford before it knows who is speaking: unlike Decode it
// reads nothing else, and hashes nothing.
// Source: Smartcar, "VERIFY".
func ReadChallenge(body []byte) (challenge string, isVerify bool) {
	object, err := oneObject(body)
	if err != nil {
		return "", false
	}
	envelope := readEnvelope(object)
	if !envelope.isVerify() {
		return "", false
	}
	return envelope.challenge(), true
}

func malformed(reason string) error { return fmt.Errorf("%w: %s", ErrMalformed, reason) }

func oneObject(body []byte) (json.RawMessage, error) {
	trimmed := bytes.Trim(body, " \t\r\n")
	if kindOf(trimmed) != kindObject {
		return nil, malformed("the body is not a JSON object")
	}
	if !json.Valid(trimmed) {
		return nil, malformed("the body is not one valid JSON value")
	}
	return trimmed, nil
}

// envelope holds the top-level members of every form, undecoded.
type envelope struct {
	eventID, eventType, vehicleID, data, triggers, meta json.RawMessage
	// Members of the 2.0 form.
	version, webhookID, eventName, mode, payload json.RawMessage
	unknown                                      map[string]json.RawMessage
}

func readEnvelope(object json.RawMessage) envelope {
	var read envelope
	for name, value := range members(object) {
		if field := read.field(string(name)); field != nil {
			*field = value
			continue
		}
		keep(&read.unknown, string(name), value)
	}
	return read
}

func (e *envelope) field(name string) *json.RawMessage {
	switch name {
	case "eventId":
		return &e.eventID
	case "eventType":
		return &e.eventType
	case "vehicleId":
		return &e.vehicleID
	case "data":
		return &e.data
	case "triggers":
		return &e.triggers
	case "meta":
		return &e.meta
	case "version":
		return &e.version
	case "webhookId":
		return &e.webhookID
	case "eventName":
		return &e.eventName
	case "mode":
		return &e.mode
	case "payload":
		return &e.payload
	default:
		return nil
	}
}

func (e *envelope) isLegacy() bool { return text(e.eventType) == "" && text(e.eventName) != "" }

func (e *envelope) isVerify() bool {
	if e.isLegacy() {
		return strings.EqualFold(text(e.eventName), "verify")
	}
	return EventType(text(e.eventType)) == TypeVerify
}

func (e *envelope) challenge() string {
	holder := e.data
	if e.isLegacy() {
		holder = e.payload
	}
	if sent := member(holder, "challenge"); kindOf(sent) == kindString {
		return unquote(sent)
	}
	return ""
}

func (e *envelope) decode() (Delivery, error) {
	delivery := Delivery{
		Version:   text(e.version),
		Mode:      combinedMode(e.mode),
		WebhookID: text(e.webhookID),
	}
	if e.isLegacy() {
		return e.decodeLegacy(delivery)
	}
	delivery.Type = EventType(text(e.eventType))
	event := Event{Unknown: e.unknown}
	delivery.readMeta(e.meta, &event.Unknown)
	keepPresent(&event.Unknown, "eventName", e.eventName)
	keepPresent(&event.Unknown, "payload", e.payload)
	keepUnlessObject(&event.Unknown, "meta", e.meta)
	e.keepTexts(&event.Unknown)
	if event.ID = eventID(e.eventID); event.ID == "" {
		keepPresent(&event.Unknown, "eventId", e.eventID)
	}
	err := e.decodeEvent(&delivery, &event)
	delivery.Events = []Event{event}
	return delivery, err
}

// keepTexts keeps those members that ought to be text, and are not.
func (e *envelope) keepTexts(unknown *map[string]json.RawMessage) {
	keepUnlessText(unknown, "eventType", e.eventType)
	keepUnlessText(unknown, "vehicleId", e.vehicleID)
	keepUnlessText(unknown, "version", e.version)
	keepUnlessText(unknown, "mode", e.mode)
	keepUnlessText(unknown, "webhookId", e.webhookID)
}

func (e *envelope) decodeEvent(delivery *Delivery, event *Event) error {
	data := event.readData(e.data)
	delivery.Mode = combinedMode(e.mode, member(e.meta, "mode"), data.vehicleMode)
	delivery.readTriggers(e.triggers, "triggers", &event.Unknown)
	delivery.readTriggers(data.triggers, "data.triggers", &event.Unknown)
	if delivery.Type == TypeVerify {
		delivery.Challenge = e.challenge()
		return nil
	}
	if sent := text(e.vehicleID); event.VehicleID == "" {
		event.VehicleID = sent
	} else if sent != "" && sent != event.VehicleID {
		return malformed("data.vehicle.id and vehicleId name two vehicles")
	}
	if delivery.Type == "" {
		return malformed("the event type is missing")
	}
	if delivery.Type.isVehicleEvent() && !isAbsent(e.data) && kindOf(e.data) != kindObject {
		return malformed("data is not an object")
	}
	return event.readReport(delivery.Type, data)
}

func (t EventType) isVehicleEvent() bool { return t == TypeVehicleState || t == TypeVehicleError }

func (d *Delivery) readMeta(meta json.RawMessage, unknown *map[string]json.RawMessage) {
	var deliveryTime time.Time
	for name, value := range members(meta) {
		understood := false
		switch string(name) {
		case "deliveredAt":
			d.DeliveredAt, understood = timeOf(value)
		case "deliveryTime":
			deliveryTime, understood = timeOf(value)
		case "signalCount":
			d.SignalCount, understood = integer(value)
		case "sequence":
			if understood = kindOf(value) == kindNumber && len(value) <= maxNumberLength; understood {
				d.Sequence = json.Number(value)
			}
		case "mode":
			_, understood = textOf(value)
		default:
			if field := d.metaText(string(name)); field != nil {
				*field, understood = textOf(value)
			}
		}
		if !understood {
			keepPresent(unknown, "meta."+string(name), value)
		}
	}
	if d.DeliveredAt.IsZero() {
		d.DeliveredAt = deliveryTime
	}
}

func (d *Delivery) metaText(name string) *string {
	switch name {
	case "version":
		return &d.Version
	case "webhookId":
		return &d.WebhookID
	case "webhookName":
		return &d.WebhookName
	case "deliveryId":
		return &d.DeliveryID
	default:
		return nil
	}
}

// combinedMode takes the first mode that is not live, since invented values must not be stored whichever member
// says so; live when some member says so; "" when none says anything.
func combinedMode(sent ...json.RawMessage) Mode {
	var combined Mode
	for _, raw := range sent {
		mode := Mode(strings.ToUpper(strings.TrimSpace(sentText(raw))))
		if !mode.IsLive() {
			return mode
		}
		combined = max(combined, mode)
	}
	return combined
}

func keep(unknown *map[string]json.RawMessage, path string, value json.RawMessage) {
	if *unknown == nil {
		*unknown = make(map[string]json.RawMessage)
	}
	(*unknown)[path] = value
}

func keepPresent(unknown *map[string]json.RawMessage, path string, value json.RawMessage) {
	if !isAbsent(value) {
		keep(unknown, path, value)
	}
}

func keepUnlessText(unknown *map[string]json.RawMessage, path string, value json.RawMessage) {
	if _, understood := textOf(value); !understood {
		keepPresent(unknown, path, value)
	}
}

func keepUnlessObject(unknown *map[string]json.RawMessage, path string, value json.RawMessage) {
	if kindOf(value) != kindObject {
		keepPresent(unknown, path, value)
	}
}
