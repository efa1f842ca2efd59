package smartcar

import (
	"cmp"
	"encoding/json"
	"strings"
)

func (e *Event) readErrors(data dataMembers) error {
	if !isAbsent(data.errors) && kindOf(data.errors) != kindArray {
		return malformed("data.errors is not an array")
	}
	for element := range elements(data.errors) {
		if !isAbsent(element) {
			e.Errors = append(e.Errors, readError(element))
		}
	}
	if !isAbsent(data.failure) {
		e.Errors = append(e.Errors, readError(data.failure))
	}
	return nil
}

// readError reads one error in the current form, with the older member names message and signalPath, or as a bare
// description. Source: Smartcar, "VEHICLE_ERROR".
func readError(raw json.RawMessage) VehicleError {
	if kindOf(raw) != kindObject {
		return VehicleError{Type: ErrorTypeUnknown, State: StateError, Description: sentText(raw)}
	}
	var (
		read    VehicleError
		message string
	)
	for name, value := range members(raw) {
		switch string(name) {
		case "type":
			read.Type = text(value)
		case "code":
			read.Code = text(value)
		case "state":
			read.State = strings.ToUpper(text(value))
		case "description":
			read.Description = text(value)
		case "message":
			message = text(value)
		case "suggestedUserMessage":
			read.SuggestedUserMessage = text(value)
		case "docURL":
			read.DocURL = text(value)
		}
	}
	read.Type = cmp.Or(read.Type, ErrorTypeUnknown)
	read.State = cmp.Or(read.State, StateError)
	read.Description = cmp.Or(read.Description, message)
	read.readResolution(member(raw, "resolution"))
	read.readSignals(raw)
	return read
}

// readResolution reads {type, url}; older API answers have a plain string.
func (v *VehicleError) readResolution(raw json.RawMessage) {
	v.ResolutionType = text(raw)
	if kindOf(raw) == kindObject {
		v.ResolutionType, v.ResolutionURL = text(member(raw, "type")), text(member(raw, "url"))
	}
}

func (v *VehicleError) readSignals(raw json.RawMessage) {
	for element := range elements(member(raw, "signals")) {
		if ref := readRef(element); ref != (SignalRef{}) {
			v.Signals = append(v.Signals, ref)
		}
	}
	if path := text(member(raw, "signalPath")); path != "" {
		v.Signals = append(v.Signals, refFromText(path))
	}
}
