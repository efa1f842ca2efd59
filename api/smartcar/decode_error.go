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
		bare := VehicleError{Type: ErrorTypeUnknown, State: StateError, Description: sentText(raw)}
		keepUnlessText(&bare.Unknown, "error", raw)
		return bare
	}
	var (
		read    VehicleError
		message string
	)
	for name, value := range members(raw) {
		understood := true
		switch string(name) {
		case "type":
			read.Type, understood = textOf(value)
		case "code":
			read.Code, understood = textOf(value)
		case "state":
			read.State, understood = textOf(value)
		case "description":
			read.Description, understood = textOf(value)
		case "message":
			message, understood = textOf(value)
		case "suggestedUserMessage":
			read.SuggestedUserMessage, understood = textOf(value)
		case "docURL":
			read.DocURL, understood = textOf(value)
		case "resolution":
			read.readResolution(value)
		case "signals", "signalPath":
		default:
			understood = false
		}
		if !understood {
			keep(&read.Unknown, string(name), value)
		}
	}
	read.Type = cmp.Or(read.Type, ErrorTypeUnknown)
	read.State = cmp.Or(strings.ToUpper(read.State), StateError)
	read.Description = cmp.Or(read.Description, message)
	read.readSignals(raw)
	return read
}

// readResolution reads {type, url}; older API answers have a plain string.
func (v *VehicleError) readResolution(raw json.RawMessage) {
	v.ResolutionType, v.ResolutionURL = text(raw), ""
	if kindOf(raw) != kindObject {
		keepUnlessText(&v.Unknown, "resolution", raw)
		return
	}
	for name, value := range members(raw) {
		understood := false
		switch string(name) {
		case "type":
			v.ResolutionType, understood = textOf(value)
		case "url":
			v.ResolutionURL, understood = textOf(value)
		}
		if !understood {
			keep(&v.Unknown, "resolution."+string(name), value)
		}
	}
}

func (v *VehicleError) readSignals(raw json.RawMessage) {
	signals, path := member(raw, "signals"), member(raw, "signalPath")
	understood := kindOf(signals) == kindArray
	for element := range elements(signals) {
		ref, others := readRef(element)
		understood = understood && others == 0
		if ref != (SignalRef{}) {
			v.Signals = append(v.Signals, ref)
		}
	}
	if !understood {
		keepPresent(&v.Unknown, "signals", signals)
	}
	keepUnlessText(&v.Unknown, "signalPath", path)
	if sent := text(path); sent != "" {
		v.Signals = append(v.Signals, refFromText(sent))
	}
}
