package smartcartest

import (
	"errors"
	"fmt"

	"github.com/milepost/milepost/api/smartcar"
)

// ErrForm means that a form has no way to say what it is to say.
var ErrForm = errors.New("the form cannot say this")

// SignalForm is how an error names its signals. Source: Smartcar, "VEHICLE_ERROR".
type SignalForm int

const (
	// Objects are {code, name, group}.
	Objects SignalForm = iota
	// Strings are "Group.Name".
	Strings
	// Mixed takes objects and strings by turns.
	Mixed
)

// VehicleError describes a VEHICLE_ERROR event for BuildVehicleError.
type VehicleError struct {
	// Envelope gives the ids, the car, the times, the mode and the form; its odometer and readings are not used.
	Envelope VehicleState
	// Errors are at least one. An empty Code is written as null, an empty State not at all, which means ERROR; no
	// signals mean the whole car.
	Errors  []smartcar.VehicleError
	Signals SignalForm
}

// BuildVehicleError returns the compact body of an event in the form of its envelope. SeedStyle says no more than the
// description of the only error. The 2.0 forms have no such event: in them the signals of an error are items that
// failed, by default the odometer. It returns ErrForm for what a form cannot say: RESOLVED or several errors in
// SeedStyle, RESOLVED in 2.0, anything in EventBased.
func BuildVehicleError(failed VehicleError) ([]byte, error) {
	state := failed.Envelope.withDefaults()
	if err := failed.check(); err != nil {
		return nil, err
	}
	body := &writer{}
	switch {
	case state.Form == SeedStyle:
		body.open('{')
		body.text("eventType", string(smartcar.TypeVehicleError))
		body.text("vehicleId", state.VehicleID)
		body.openMember("data", '{')
		body.text("error", failed.Errors[0].Description)
		body.close("}}")
	case state.Form.isVersion2():
		state.writeItems(body, failed.items(state.EventID))
	default:
		state.openEvent(body, smartcar.TypeVehicleError)
		body.openMember("errors", '[')
		for _, reported := range failed.Errors {
			writeError(body, reported, failed.Signals)
		}
		body.close("]}")
		state.writeMeta(body, smartcar.TypeVehicleError)
		body.close("}")
	}

	return body.buffer, nil
}

func (e VehicleError) check() error {
	if len(e.Errors) == 0 {
		return fmt.Errorf("%w: a VEHICLE_ERROR needs an error", ErrOptions)
	}
	form := e.Envelope.Form
	if form == EventBased {
		return fmt.Errorf("%w: event-based 2.0 has no errors", ErrForm)
	}
	if form == SeedStyle && !e.Envelope.Mode.IsLive() {
		return fmt.Errorf("%w: the seed style has no mode, so all it says is live", ErrForm)
	}
	if form == SeedStyle && len(e.Errors) > 1 {
		return fmt.Errorf("%w: the seed style has one error", ErrForm)
	}
	for _, reported := range e.Errors {
		if reported.State == smartcar.StateResolved && (form == SeedStyle || form.isVersion2()) {
			return fmt.Errorf("%w: neither the seed style nor 2.0 has RESOLVED", ErrForm)
		}
	}

	return nil
}

func (e VehicleError) items(requestID string) []item {
	var items []item
	for _, reported := range e.Errors {
		signals := reported.Signals
		if len(signals) == 0 {
			signals = []smartcar.SignalRef{{Code: smartcar.CodeOdometer}}
		}
		for _, signal := range signals {
			items = append(items, failedItem(signal.Code, reported.Type, reported.Code, reported.Description, requestID))
		}
	}

	return items
}

func writeError(body *writer, reported smartcar.VehicleError, form SignalForm) {
	body.open('{')
	body.text("type", reported.Type)
	writeTextOrNull(body, "code", reported.Code)
	body.textUnlessEmpty("state", reported.State)
	body.textUnlessEmpty("description", reported.Description)
	body.textUnlessEmpty("suggestedUserMessage", reported.SuggestedUserMessage)
	body.textUnlessEmpty("docURL", reported.DocURL)
	if reported.State != smartcar.StateResolved {
		body.openMember("resolution", '{')
		writeTextOrNull(body, "type", reported.ResolutionType)
		body.textUnlessEmpty("url", reported.ResolutionURL)
		body.close("}")
	}
	if len(reported.Signals) > 0 {
		body.openMember("signals", '[')
		for i, signal := range reported.Signals {
			if form == Strings || form == Mixed && i%2 == 1 {
				body.element(signal.Group + "." + signal.Name)
			} else {
				writeSignalRef(body, signal)
			}
		}
		body.close("]")
	}
	body.close("}")
}

func writeSignalRef(body *writer, signal smartcar.SignalRef) {
	body.open('{')
	body.text("code", signal.Code)
	body.text("name", signal.Name)
	body.text("group", signal.Group)
	body.close("}")
}

func writeTextOrNull(body *writer, name, value string) {
	if value == "" {
		body.raw(name, []byte("null"))
	} else {
		body.text(name, value)
	}
}
