package smartcartest

import (
	"encoding/json"
	"time"

	"github.com/milepost/milepost/api/smartcar"
)

// Form is one of the shapes in which the same event occurs.
// Source: Smartcar, "VEHICLE_STATE".
type Form int

const (
	// Wire is the form captured from the live platform since late 2025.
	Wire Form = iota
	// Autumn2025 is an earlier captured form: no version, no webhook, no signal
	// status, triggers that name their signal by one string.
	Autumn2025
	// Documents is the form that Smartcar's documentation shows.
	Documents
	// SeedStyle is the flat form without eventId, times and metadata. Its only
	// signal is the odometer.
	SeedStyle
)

const (
	webhookID    = "3d1f6a8e-52c7-4b09-9e4d-7a60c8b2f315"
	webhookName  = "Milepost simulator"
	isoTimestamp = "2006-01-02T15:04:05.000Z"
)

// SignalReading is a further signal of an event besides the odometer. Body must
// be valid JSON. A reading with a FailureType is a failed one and has no body.
type SignalReading struct {
	Code, Name, Group        string
	Body                     json.RawMessage
	FailureType, FailureCode string
}

// VehicleState describes a VEHICLE_STATE event for BuildVehicleState.
type VehicleState struct {
	EventID, DeliveryID string
	VehicleID, UserID   string
	Make, Model         string
	Year                int
	// Odometer is in Unit, which is written as it is. An empty Unit writes the
	// usual name of the form, km or kilometers; NoUnit writes none.
	Odometer   float64
	Unit       string
	NoUnit     bool
	ObservedAt time.Time
	// RetrievedAt is ObservedAt when zero, DeliveredAt is RetrievedAt when zero.
	RetrievedAt, DeliveredAt time.Time
	// Mode is LIVE when empty.
	Mode          smartcar.Mode
	FirstDelivery bool
	// Readings follow the odometer.
	Readings []SignalReading
	Form     Form
}

// BuildVehicleState returns the compact body of an event in the given form. In
// the wire forms the members stand in wire order: eventId, eventType, data,
// triggers, meta.
func BuildVehicleState(state VehicleState) []byte {
	state = state.withDefaults()
	body := &writer{}
	if state.Form == SeedStyle {
		state.writeFlat(body)

		return body.buffer
	}

	body.open('{')
	body.text("eventId", state.EventID)
	body.text("eventType", string(smartcar.TypeVehicleState))
	if state.Form == Documents {
		body.text("vehicleId", state.VehicleID)
	}
	body.openMember("data", '{')
	body.openMember("user", '{')
	body.text("id", state.UserID)
	body.close("}")
	state.writeVehicle(body)
	if state.Form == Documents {
		state.writeTriggers(body)
	}
	state.writeSignals(body)
	body.close("}")
	if state.Form != Documents {
		state.writeTriggers(body)
	}
	state.writeMeta(body)
	body.close("}")

	return body.buffer
}

// BuildVerify returns the body of a VERIFY delivery, which Smartcar sends
// unsigned, with an ISO 8601 deliveredAt. Source: Smartcar, "VERIFY".
func BuildVerify(eventID, deliveryID, challenge string, deliveredAt time.Time) []byte {
	body := &writer{}
	body.open('{')
	body.text("eventId", eventID)
	body.text("eventType", string(smartcar.TypeVerify))
	body.openMember("data", '{')
	body.text("challenge", challenge)
	body.close("}")
	body.openMember("meta", '{')
	body.text("version", "4.0")
	body.text("webhookId", webhookID)
	body.text("webhookName", webhookName)
	body.text("deliveryId", deliveryID)
	body.text("deliveredAt", deliveredAt.UTC().Format(isoTimestamp))
	body.close("}}")

	return body.buffer
}

func (s VehicleState) withDefaults() VehicleState {
	if s.RetrievedAt.IsZero() {
		s.RetrievedAt = s.ObservedAt
	}
	if s.DeliveredAt.IsZero() {
		s.DeliveredAt = s.RetrievedAt
	}
	if s.Mode == "" {
		s.Mode = smartcar.ModeLive
	}
	if s.Unit == "" {
		s.Unit = "km"
		if s.Form == Documents || s.Form == SeedStyle {
			s.Unit = "kilometers"
		}
	}
	if s.NoUnit {
		s.Unit = ""
	}

	return s
}
