package smartcar

import (
	"encoding/json"
	"strings"
)

// dataMembers holds members of data whose meaning depends on the type of the event.
type dataMembers struct {
	triggers, signals, errors, odometer, failure, challenge, vehicleMode json.RawMessage
}

func (e *Event) readData(raw json.RawMessage) dataMembers {
	var data dataMembers
	keepUnlessObject(&e.Unknown, "data", raw)
	for name, value := range members(raw) {
		switch string(name) {
		case "user":
			keepUnlessObject(&e.Unknown, "data.user", value)
			e.readUser(value)
		case "vehicle":
			keepUnlessObject(&e.Unknown, "data.vehicle", value)
			data.vehicleMode = e.readVehicle(value)
		case "triggers":
			data.triggers = value
		case "signals":
			data.signals = value
		case "errors":
			data.errors = value
		case "odometer":
			data.odometer = value
		case "error":
			data.failure = value
		case "challenge":
			data.challenge = value
		default:
			keep(&e.Unknown, "data."+string(name), value)
		}
	}
	return data
}

func (e *Event) readUser(raw json.RawMessage) {
	for name, value := range members(raw) {
		understood := false
		switch string(name) {
		case "id":
			e.UserID, understood = textOf(value)
		case "externalId":
			e.ExternalUserID, understood = textOf(value)
		}
		if !understood {
			keep(&e.Unknown, "data.user."+string(name), value)
		}
	}
}

func (e *Event) readVehicle(raw json.RawMessage) (mode json.RawMessage) {
	for name, value := range members(raw) {
		understood := false
		switch string(name) {
		case "id":
			e.VehicleID, understood = textOf(value)
		case "make":
			e.Make, understood = textOf(value)
		case "model":
			e.Model, understood = textOf(value)
		case "year":
			e.Year, understood = integer(value)
		case "powertrainType":
			e.PowertrainType, understood = textOf(value)
		case "vin":
			e.VIN, understood = textOf(value)
		case "mode":
			mode = value
			_, understood = textOf(value)
		}
		if !understood {
			keepPresent(&e.Unknown, "data.vehicle."+string(name), value)
		}
	}
	return mode
}

// readReport reads what a vehicle event is about; of types not known yet everything is kept undecoded.
func (e *Event) readReport(kind EventType, data dataMembers) error {
	keepPresent(&e.Unknown, "data.challenge", data.challenge)
	if kind != TypeVehicleState {
		keepPresent(&e.Unknown, "data.signals", data.signals)
		keepPresent(&e.Unknown, "data.odometer", data.odometer)
	}
	if kind != TypeVehicleError {
		keepPresent(&e.Unknown, "data.errors", data.errors)
		keepPresent(&e.Unknown, "data.error", data.failure)
	}
	switch kind {
	case TypeVehicleState:
		return e.readState(data)
	case TypeVehicleError:
		return e.readErrors(data)
	default:
		return nil
	}
}

// readTriggers reads all forms of a trigger. The list is kept as well when one of them is not understood.
// Source: Smartcar, "VEHICLE_STATE".
func (d *Delivery) readTriggers(raw json.RawMessage, path string, unknown *map[string]json.RawMessage) {
	understood := kindOf(raw) == kindArray
	for element := range elements(raw) {
		trigger, whole := readTrigger(element)
		understood = understood && whole
		if kindOf(element) == kindString || kindOf(element) == kindObject {
			d.Triggers = append(d.Triggers, trigger)
		}
	}
	if !understood {
		keepPresent(unknown, path, raw)
	}
}

// readTrigger reports whether there is no more to the trigger than what it returns.
func readTrigger(raw json.RawMessage) (trigger Trigger, understood bool) {
	if kindOf(raw) == kindString && unquote(raw) == TriggerFirstDelivery {
		return Trigger{Kind: TriggerFirstDelivery}, true
	}
	var others int
	trigger.Signal, others = readRef(raw)
	understood = true
	if kind := member(raw, "type"); kind != nil {
		others--
		trigger.Kind, understood = textOf(kind)
	}
	signal := member(raw, "signal")
	if signal != nil {
		others--
	}
	if trigger.Signal.Code == TriggerFirstDelivery {
		return Trigger{Kind: TriggerFirstDelivery}, understood && others == 0
	}
	if !isAbsent(signal) {
		var inner int
		trigger.Signal, inner = readRef(signal)
		others += inner
	}
	return trigger, understood && others == 0
}

// readRef reads a signal's name from an object {code, name, group} or from a string "Group.Name", and counts what it did
// not understand.
func readRef(raw json.RawMessage) (ref SignalRef, others int) {
	switch kindOf(raw) {
	case kindString:
		return refFromText(unquote(raw)), 0
	case kindObject:
	default:
		return SignalRef{}, 1
	}
	for name, value := range members(raw) {
		understood := false
		switch string(name) {
		case "code":
			ref.Code, understood = textOf(value)
		case "name":
			ref.Name, understood = textOf(value)
		case "group":
			ref.Group, understood = textOf(value)
		}
		if !understood {
			others++
		}
	}
	return ref.completed(), others
}

func refFromText(sent string) SignalRef {
	if group, name, dotted := strings.Cut(sent, "."); dotted {
		return SignalRef{Group: group, Name: name}.completed()
	}
	if strings.Contains(sent, "-") {
		return SignalRef{Code: sent}
	}
	return SignalRef{Name: sent}
}

// completed derives a missing code: the code is group and name in lower case. Source: Smartcar, "signal catalogue".
func (r SignalRef) completed() SignalRef {
	if r.Code == "" && r.Group != "" && r.Name != "" {
		r.Code = strings.ToLower(r.Group + "-" + r.Name)
	}
	return r
}
