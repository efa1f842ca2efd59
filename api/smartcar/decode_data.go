package smartcar

import (
	"encoding/json"
	"strings"
)

// dataMembers holds members of data whose meaning depends on the type of the event.
type dataMembers struct {
	triggers, signals, errors, odometer, failure, vehicleMode json.RawMessage
}

func (e *Event) readData(raw json.RawMessage) dataMembers {
	var data dataMembers
	keepUnlessKind(&e.Unknown, "data", raw, kindObject)
	for name, value := range members(raw) {
		switch string(name) {
		case "user":
			keepUnlessKind(&e.Unknown, "data.user", value, kindObject)
			e.readUser(value)
		case "vehicle":
			keepUnlessKind(&e.Unknown, "data.vehicle", value, kindObject)
			data.vehicleMode = e.readVehicle(value)
		case "triggers":
			keepUnlessKind(&e.Unknown, "data.triggers", value, kindArray)
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
		default:
			keep(&e.Unknown, "data."+string(name), value)
		}
	}
	return data
}

func (e *Event) readUser(raw json.RawMessage) {
	for name, value := range members(raw) {
		switch string(name) {
		case "id":
			e.UserID = text(value)
		case "externalId":
			e.ExternalUserID = text(value)
		default:
			keep(&e.Unknown, "data.user."+string(name), value)
		}
	}
}

func (e *Event) readVehicle(raw json.RawMessage) (mode json.RawMessage) {
	for name, value := range members(raw) {
		understood := true
		switch string(name) {
		case "id":
			e.VehicleID = text(value)
		case "make":
			e.Make = text(value)
		case "model":
			e.Model = text(value)
		case "year":
			e.Year, understood = integer(value)
		case "powertrainType":
			e.PowertrainType = text(value)
		case "vin":
			e.VIN = text(value)
		case "mode":
			mode = value
		default:
			understood = false
		}
		if !understood {
			keepPresent(&e.Unknown, "data.vehicle."+string(name), value)
		}
	}
	return mode
}

// readReport reads what a vehicle event is about; of types not known yet everything is kept undecoded.
func (e *Event) readReport(kind EventType, data dataMembers) error {
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

// Forms of one trigger. Source: Smartcar, "VEHICLE_STATE".
func readTriggers(raw json.RawMessage) []Trigger {
	var triggers []Trigger
	for element := range elements(raw) {
		switch kindOf(element) {
		case kindString:
			if sent := unquote(element); sent == TriggerFirstDelivery {
				triggers = append(triggers, Trigger{Kind: sent})
			} else {
				triggers = append(triggers, Trigger{Signal: refFromText(sent)})
			}
		case kindObject:
			triggers = append(triggers, readTrigger(element))
		default:
			// No trigger has been seen to be anything else.
		}
	}
	return triggers
}

func readTrigger(raw json.RawMessage) Trigger {
	trigger := Trigger{Kind: text(member(raw, "type")), Signal: readRef(raw)}
	if trigger.Signal.Code == TriggerFirstDelivery {
		return Trigger{Kind: TriggerFirstDelivery}
	}
	if signal := member(raw, "signal"); !isAbsent(signal) {
		trigger.Signal = readRef(signal)
	}
	return trigger
}

// readRef reads a signal's name from an object {code, name, group} or from a string "Group.Name".
func readRef(raw json.RawMessage) SignalRef {
	if kindOf(raw) == kindString {
		return refFromText(unquote(raw))
	}
	var ref SignalRef
	for name, value := range members(raw) {
		switch string(name) {
		case "code":
			ref.Code = text(value)
		case "name":
			ref.Name = text(value)
		case "group":
			ref.Group = text(value)
		}
	}
	return ref.completed()
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
