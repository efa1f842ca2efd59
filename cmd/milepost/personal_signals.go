package main

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/milepost/milepost/db"
)

// notShown stands for a value that tells where a car is, or whose it is.
const notShown = "(not shown)"

// hidePersonalValues takes the personal values out of signals, whatever they are to be written as.
func hidePersonalValues(signals []db.SignalSummary) {
	for i := range signals {
		if signals[i].Value != nil && isPersonal(signals[i]) {
			signals[i].Value = json.RawMessage(`"` + notShown + `"`)
			signals[i].NormalisedValue, signals[i].NormalisedUnit = "", ""
		}
	}
}

// isPersonal goes by the signal's name and by all that is in its body: the catalogue grows, older forms have other
// names, and signals such as charging limits and records may hold a place. What cannot be read counts as personal.
// Source: Smartcar, "signal catalogue".
func isPersonal(signal db.SignalSummary) bool {
	if isPersonalName(signal.Code) {
		return true
	}
	var body any
	if err := json.Unmarshal(signal.Value, &body); err != nil {
		return true
	}
	return holdsPersonalData(body)
}

func holdsPersonalData(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if isPersonalName(name) || looksLikeVIN(name) || holdsPersonalData(member) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(value, holdsPersonalData)
	case string:
		return looksLikeVIN(value)
	default:
		return false
	}
}

// isPersonalName knows codes such as "location-preciselocation" and members such as "latitude", in any writing.
func isPersonalName(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"location", "latitude", "longitude", "coordinate", "position", "gps", "address", "nickname"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	words := strings.FieldsFunc(name, func(r rune) bool { return r < 'a' || r > 'z' })
	return slices.ContainsFunc(words, func(word string) bool {
		return word == "vin" || word == "lat" || word == "lon" || word == "lng"
	})
}

// looksLikeVIN finds 17 letters and digits without I, O and Q. Source: ISO 3779.
func looksLikeVIN(text string) bool {
	const lengthOfVIN = 17
	words := strings.FieldsFunc(strings.ToUpper(text), func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
	return slices.ContainsFunc(words, func(word string) bool { return len(word) == lengthOfVIN && !strings.ContainsAny(word, "IOQ") })
}
