package activities

import (
	"encoding/json"
	"errors"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// quantityList says where a signal's body holds a list of quantities in the body's unit.
type quantityList struct {
	list     string // the member that is the list
	quantity string // the member of each element that is the quantity; others say what it is of
	// single is a member of the body that is one more of them; "" where the decoder finds it, or none is sent.
	single string
}

// quantityListOf knows every signal with such a list. Source: Smartcar, "signal catalogue".
func quantityListOf(code string) (quantityList, bool) {
	switch code {
	case "wheel-tires":
		return quantityList{list: "values", quantity: "tirePressure"}, true
	case "charge-chargelimits":
		return quantityList{list: "values", quantity: "limit", single: "activeLimit"}, true
	case "tractionbattery-nominalcapacity":
		return quantityList{list: "availableCapacities", quantity: "capacity"}, true
	case "tractionbattery-range":
		return quantityList{list: "additionalValues", quantity: "value"}, true
	default:
		return quantityList{}, false
	}
}

// normaliseList adds the metric values of a list of quantities: the elements as they were
// sent, with null for a quantity that is no reading. A list in an unknown unit, or of another
// form, stays as it was sent. A body with a list that holds no reading at all is none.
func normaliseList(record *db.SignalRecord, signal *smartcar.Signal) {
	kind, known := quantityListOf(signal.Code)
	var body map[string]json.RawMessage
	if !known || json.Unmarshal(signal.Body, &body) != nil {
		return
	}
	if single, sent := body[kind.single]; sent && kind.single != "" {
		normaliseNumber(record, signal, single)
	}
	var elements []map[string]json.RawMessage
	if json.Unmarshal(body[kind.list], &elements) != nil || len(elements) == 0 {
		return
	}
	unit, err := normaliseElements(elements, kind.quantity, signal)
	if err != nil {
		return
	}
	switch {
	case unit != "":
		record.NormalisedUnit = string(unit)
	case signal.Value == nil && record.NormalisedValue == "":
		record.NotAvailable = true
	}
	// Marshal cannot fail here: the elements are what was decoded, and numbers.
	if encoded, err := json.Marshal(elements); err == nil {
		record.NormalisedValues = encoded
	}
}

// normaliseElements gives the unit of the quantities, "" when none of them is a reading;
// smartcar.ErrUnitUnknown when they have one that is not known.
func normaliseElements(
	elements []map[string]json.RawMessage, name string, signal *smartcar.Signal,
) (unit smartcar.Unit, err error) {
	for _, element := range elements {
		if element == nil {
			continue
		}
		quantity, err := quantityOf(signal, element[name])
		switch {
		case errors.Is(err, smartcar.ErrUnitUnknown):
			return "", err
		case err != nil:
			element[name] = json.RawMessage("null")
		default:
			element[name], unit = json.RawMessage(quantity.Value.String()), quantity.Unit
		}
	}
	return unit, nil
}

var errNoNumber = errors.New("the value is no number")

// quantityOf gives one value of a signal in its metric unit; errNoNumber, or what smartcar.Normalise returns.
func quantityOf(signal *smartcar.Signal, value json.RawMessage) (smartcar.Quantity, error) {
	number, isNumber := (&smartcar.Signal{Value: value}).Number()
	if !isNumber {
		return smartcar.Quantity{}, errNoNumber
	}
	return smartcar.Normalise(signal.Code, number, signal.Unit)
}
