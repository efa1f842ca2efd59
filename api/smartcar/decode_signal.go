package smartcar

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

func (e *Event) readState(data dataMembers) error {
	if !isAbsent(data.signals) && kindOf(data.signals) != kindArray {
		return malformed("data.signals is not an array")
	}
	for element := range elements(data.signals) {
		if kindOf(element) != kindObject {
			return malformed("data.signals holds an element that is not an object")
		}
		e.Signals = append(e.Signals, readSignal(element))
	}
	if !isAbsent(data.odometer) {
		e.Signals = append(e.Signals, seedOdometer(data.odometer))
	}
	return nil
}

func readSignal(raw json.RawMessage) Signal {
	var (
		signal Signal
		status json.RawMessage
	)
	for name, value := range members(raw) {
		understood := true
		switch string(name) {
		case "code":
			signal.Code, understood = textOf(value)
		case "name":
			signal.Name, understood = textOf(value)
		case "group":
			signal.Group, understood = textOf(value)
		case "body":
			signal.readBody(value)
		case "meta":
			keepUnlessObject(&signal.Unknown, "meta", value)
			signal.readTimes(value)
		case "status":
			status = value
		default:
			understood = false
		}
		if !understood {
			keep(&signal.Unknown, string(name), value)
		}
	}
	signal.Code = SignalRef{Code: signal.Code, Name: signal.Name, Group: signal.Group}.completed().Code
	signal.readStatus(status)
	return signal
}

func (s *Signal) readBody(raw json.RawMessage) {
	if isAbsent(raw) {
		return
	}
	s.Body = raw
	s.Value, s.Unit = readValue(raw)
}

// readValue finds the reading in a body: "value" in 4.0, a member named for what it is in older forms.
func readValue(body json.RawMessage) (json.RawMessage, string) {
	var (
		value json.RawMessage
		unit  string
	)
	names := valueNames()
	best, found := len(names), ""
	for name, sent := range members(body) {
		if string(name) == "unit" {
			unit = sentText(sent)
			continue
		}
		for rank, candidate := range names {
			if rank <= best && string(name) == candidate {
				value, best, found = sent, rank, candidate
			}
		}
	}
	if isAbsent(value) {
		return nil, unit
	}
	if found == memberPercentage && unit == "" {
		unit = "percent" // its name says so: without it, 1 % would be taken for a fraction
	}
	return value, unit
}

const memberPercentage = "percentage"

// valueNames lists, best first, where a reading stands: 4.0, 3.0, seed style and 2.0, nominal capacity, and the
// readings of 2.0 items.
func valueNames() [7]string {
	return [...]string{"value", memberPercentage, "distance", "capacity", "percentRemaining", "lifeRemaining", "vin"}
}

func (s *Signal) readTimes(meta json.RawMessage) {
	var fetchedAt time.Time
	for name, value := range members(meta) {
		understood := false
		switch string(name) {
		case "oemUpdatedAt":
			s.OEMUpdatedAt, understood = timeOf(value)
		case "retrievedAt":
			s.RetrievedAt, understood = timeOf(value)
		case "fetchedAt":
			fetchedAt, understood = timeOf(value)
		}
		if !understood {
			keep(&s.Unknown, "meta."+string(name), value)
		}
	}
	if s.RetrievedAt.IsZero() {
		s.RetrievedAt = fetchedAt
	}
}

// readStatus sets no failure for success: status SUCCESS, or no status but a body (2025 forms).
// Source: Smartcar, "VEHICLE_STATE".
func (s *Signal) readStatus(status json.RawMessage) {
	value, understood := textOf(status)
	var failure json.RawMessage
	if kindOf(status) == kindObject {
		value, understood = textOf(member(status, "value"))
		failure = member(status, "error")
		understood = understood && hasOnly(status, "value", "error")
	}
	kind, isKind := textOf(member(failure, "type"))
	code, isCode := textOf(member(failure, "code"))
	if !understood || !isKind || !isCode || !isAbsent(failure) && !hasOnly(failure, "type", "code") {
		keepPresent(&s.Unknown, "status", status)
	}
	if strings.EqualFold(value, "SUCCESS") || value == "" && isAbsent(failure) && s.Body != nil {
		return
	}
	s.Failure = &SignalFailure{Status: value, Type: kind, Code: code}
}

// hasOnly reports whether raw is an object that has no other members than these.
func hasOnly(raw json.RawMessage, names ...string) bool {
	for name := range members(raw) {
		if !slices.Contains(names, string(name)) {
			return false
		}
	}
	return kindOf(raw) == kindObject
}

// seedOdometer reads {"distance" or "value", "unit"} or a bare number.
func seedOdometer(raw json.RawMessage) Signal {
	signal := Signal{Code: CodeOdometer, Name: "TraveledDistance", Group: "Odometer"}
	if kindOf(raw) == kindObject {
		signal.readBody(raw)
	} else {
		signal.Value = raw
	}
	return signal
}
