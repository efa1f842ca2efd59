package smartcar

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// One delivery is at most 50 KB, which holds fewer vehicles than this. Each becomes an event of its own, so the
// number must be bounded.
const maxVehicles = 500

// decodeLegacy reads the forms of version 2.0. Source: Smartcar, "legacy 2.0".
func (e *envelope) decodeLegacy(delivery Delivery) (Delivery, error) {
	keepPresent(&e.unknown, "eventId", e.eventID)
	keepPresent(&e.unknown, "vehicleId", e.vehicleID)
	keepPresent(&e.unknown, "data", e.data)
	keepPresent(&e.unknown, "meta", e.meta)
	keepPresent(&e.unknown, "triggers", e.triggers)
	e.keepTexts(&e.unknown)
	eventName := text(e.eventName)
	switch strings.ToLower(eventName) {
	case "verify":
		delivery.Type = TypeVerify
		delivery.Challenge = e.challenge()
		return delivery, nil
	case "schedule", "scheduled", "dynamic":
		delivery.Type = TypeVehicleState
		return e.decodeVehicles(delivery)
	case "eventbased":
		eventName = text(member(e.payload, "eventType"))
	}
	delivery.Type = EventType(eventName)
	delivery.Events = []Event{e.legacyEvent()}
	switch delivery.Type {
	case "":
		return delivery, malformed("payload.eventType is missing")
	case TypeVerify:
		// Only eventName asks to verify. An event with the type VERIFY would be answered as a challenge, and not stored.
		delivery.Type = ""
		return delivery, malformed("payload.eventType is VERIFY")
	default:
		return delivery, nil
	}
}

func (e *envelope) legacyEvent() Event {
	event := Event{Unknown: maps.Clone(e.unknown)}
	keepUnlessObject(&event.Unknown, "payload", e.payload)
	for name, value := range members(e.payload) {
		understood := false
		switch string(name) {
		case "eventId":
			event.ID = eventID(value)
			understood = event.ID != "" || isAbsent(value)
		case "vehicleId":
			event.VehicleID, understood = textOf(value)
		case "userId":
			event.UserID, understood = textOf(value)
		case "eventType":
			_, understood = textOf(value)
		}
		if !understood {
			keep(&event.Unknown, "payload."+string(name), value)
		}
	}
	return event
}

func (e *envelope) decodeVehicles(delivery Delivery) (Delivery, error) {
	var vehicles json.RawMessage
	for name, value := range members(e.payload) {
		if string(name) == "vehicles" {
			vehicles = value
			continue
		}
		keep(&e.unknown, "payload."+string(name), value)
	}
	if kindOf(vehicles) != kindArray {
		return delivery, malformed("payload.vehicles is not an array")
	}
	var events []Event
	seen := make(map[string]bool)
	for vehicle := range elements(vehicles) {
		if kindOf(vehicle) != kindObject {
			return delivery, malformed("payload.vehicles holds an element that is not an object")
		}
		if len(events) == maxVehicles {
			return delivery, malformed("payload.vehicles is longer than any delivery of Smartcar")
		}
		event := e.legacyVehicle(vehicle)
		if seen[event.ID] {
			event.ID = idOfVehicle(e, vehicle)
		}
		if !seen[event.ID] {
			seen[event.ID] = true
			events = append(events, event)
		}
	}
	if len(events) == 0 {
		return delivery, malformed("payload.vehicles is empty")
	}
	delivery.Events = events
	return delivery, nil
}

func (e *envelope) legacyVehicle(raw json.RawMessage) Event {
	event := Event{Derived: true, Unknown: maps.Clone(e.unknown)}
	var requestID string
	for name, value := range members(raw) {
		understood := false
		switch string(name) {
		case "vehicleId":
			event.VehicleID, understood = textOf(value)
		case "userId":
			event.UserID, understood = textOf(value)
		case "requestId":
			requestID, understood = textOf(value)
		case "data":
			understood = event.readLegacyItems(value)
		}
		if !understood {
			keep(&event.Unknown, "payload.vehicles."+string(name), value)
		}
	}
	event.ID = idOfRequest(text(e.webhookID), event.VehicleID, requestID)
	if requestID == "" {
		event.ID = idOfVehicle(e, raw)
	}
	return event
}

// readLegacyItems reports whether raw is a list of objects; what else is in it is left.
func (e *Event) readLegacyItems(raw json.RawMessage) (understood bool) {
	understood = kindOf(raw) == kindArray || isAbsent(raw)
	for item := range elements(raw) {
		if kindOf(item) == kindObject {
			e.Signals = append(e.Signals, readLegacyItem(item))
		} else {
			understood = false
		}
	}
	return understood
}

// readLegacyItem reads {path, code, body, headers}, which mirrors one answer of a v2 batch request.
func readLegacyItem(raw json.RawMessage) Signal {
	var (
		signal  Signal
		status  = http.StatusOK
		headers json.RawMessage
	)
	for name, value := range members(raw) {
		understood := true
		switch string(name) {
		case "path":
			signal.Name, understood = textOf(value)
		case "code":
			if !isAbsent(value) {
				status, understood = integer(value)
			}
		case "body":
			signal.readBody(value)
		case "headers":
			keepUnlessObject(&signal.Unknown, "headers", value)
			headers = value
		default:
			understood = false
		}
		if !understood {
			keep(&signal.Unknown, string(name), value)
		}
	}
	signal.Code = legacyCode(signal.Name)
	failed := status < http.StatusOK || status >= http.StatusMultipleChoices
	if failed || signal.Body == nil {
		signal.Failure = &SignalFailure{
			Status: "ERROR", Type: text(member(signal.Body, "type")), Code: text(member(signal.Body, "code")),
		}
	}
	signal.readHeaders(headers)
	return signal
}

// readHeaders takes times and, for the odometer, the unit from the answer's headers.
func (s *Signal) readHeaders(headers json.RawMessage) {
	for name, value := range members(headers) {
		switch strings.ToLower(string(name)) {
		case "sc-data-age":
			s.OEMUpdatedAt = timestamp(value)
		case "sc-fetched-at":
			s.RetrievedAt = timestamp(value)
		case "sc-unit-system":
			if s.Code == CodeOdometer && s.Unit == "" {
				s.Unit = lengthUnit(sentText(value))
			}
		}
	}
}

// lengthUnit leaves a unit system nobody knows as it is, so that it cannot pass for kilometres.
func lengthUnit(system string) string {
	switch strings.ToLower(system) {
	case "metric":
		return string(UnitKilometre)
	case "imperial":
		return string(UnitMile)
	default:
		return system
	}
}

// legacyCode maps a v2 path to the 4.0 signal with the same reading, and any other path to itself with dashes.
func legacyCode(path string) string {
	trimmed := strings.ToLower(strings.Trim(path, "/"))
	switch trimmed {
	case "odometer":
		return CodeOdometer
	case "battery":
		return codeStateOfCharge
	case "battery/nominal_capacity", "battery/capacity":
		return codeNominalCapacity
	case "fuel":
		return codeFuelLevel
	case "engine/oil":
		return codeOilLife
	case "location":
		return codeLocation
	case "vin":
		return codeVIN
	default:
		return strings.ReplaceAll(trimmed, "/", "-")
	}
}
