package smartcartest

import (
	"cmp"
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
	// signal is the odometer, so two events with the same reading are one to a receiver.
	SeedStyle
	// Version3 is the 3.0 form: no status of what succeeded, shares under "percentage", the VIN, deliveredAt in
	// seconds, a mode only when it is not LIVE.
	Version3
	// Scheduled is the 2.0 form with items as in an answer to a batch request. It has no eventId; the event's stands
	// as requestId, which is what a receiver can tell a repetition by.
	Scheduled
	// Dynamic is the same under another name.
	Dynamic
	// EventBased is the 2.0 form that says that something happened, without readings.
	EventBased
)

// String is what the form is called where people read it.
func (f Form) String() string {
	names := [...]string{"wire", "autumn-2025", "documents", "seed", "3.0", "2.0-schedule", "2.0-dynamic", "2.0-event-based"}
	if f < 0 || int(f) >= len(names) {
		return "unknown"
	}
	return names[f]
}

func (f Form) isVersion2() bool { return f == Scheduled || f == Dynamic || f == EventBased }

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
	// Timeless readings have no times, as static data and samples have none.
	Timeless bool
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
	// WebhookID and WebhookName are by default those of this package's events.
	WebhookID, WebhookName string
	// ExternalUserID and PowertrainType (BEV, ICE) are for Documents, VIN is for Version3; each is left out when empty.
	ExternalUserID, PowertrainType, VIN string
	// Happening is what EventBased says; empty is CHARGING_STARTED.
	Happening string
}

// BuildVehicleState returns the compact body of an event in the given form. In
// the wire forms the members stand in wire order: eventId, eventType, data,
// triggers, meta.
func BuildVehicleState(state VehicleState) []byte {
	state = state.withDefaults()
	body := &writer{}
	switch {
	case state.Form == SeedStyle:
		state.writeFlat(body)
	case state.Form == EventBased:
		state.writeHappening(body)
	case state.Form.isVersion2():
		state.writeItems(body, state.items())
	default:
		state.writeState(body)
	}

	return body.buffer
}

func (s VehicleState) writeState(body *writer) {
	s.openEvent(body, smartcar.TypeVehicleState)
	if s.Form == Documents {
		s.writeTriggers(body)
	}
	s.writeSignals(body)
	body.close("}")
	if s.Form != Documents {
		s.writeTriggers(body)
	}
	s.writeMeta(body, smartcar.TypeVehicleState)
	body.close("}")
}

// openEvent begins the envelope of 4.0 and what was before it, up to data, which stays open.
func (s VehicleState) openEvent(body *writer, kind smartcar.EventType) {
	body.open('{')
	body.text("eventId", s.EventID)
	body.text("eventType", string(kind))
	if s.Form == Documents {
		body.text("vehicleId", s.VehicleID)
	}
	body.openMember("data", '{')
	body.openMember("user", '{')
	body.text("id", s.UserID)
	if s.Form == Documents {
		body.textUnlessEmpty("externalId", s.ExternalUserID)
	}
	body.close("}")
	s.writeVehicle(body)
}

// BuildVerify returns the body of a VERIFY delivery, which Smartcar sends
// unsigned, with an ISO 8601 deliveredAt. Source: Smartcar, "VERIFY".
func BuildVerify(eventID, deliveryID, challenge string, deliveredAt time.Time) []byte {
	return VehicleState{EventID: eventID, DeliveryID: deliveryID, DeliveredAt: deliveredAt}.withDefaults().verify(challenge)
}

// verify is the VERIFY of a webhook; that of 2.0 has a form of its own.
func (s VehicleState) verify(challenge string) []byte {
	body := &writer{}
	if s.Form.isVersion2() {
		s.openVersion2(body, "verify")
		body.openMember("payload", '{')
		body.text("challenge", challenge)
		body.close("}}")

		return body.buffer
	}
	body.open('{')
	body.text("eventId", s.EventID)
	body.text("eventType", string(smartcar.TypeVerify))
	body.openMember("data", '{')
	body.text("challenge", challenge)
	body.close("}")
	body.openMember("meta", '{')
	body.text("version", "4.0")
	body.text("webhookId", s.WebhookID)
	body.text("webhookName", s.WebhookName)
	body.text("deliveryId", s.DeliveryID)
	body.text("deliveredAt", iso(s.DeliveredAt))
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
	s.Mode = cmp.Or(s.Mode, smartcar.ModeLive)
	s.WebhookID = cmp.Or(s.WebhookID, webhookID)
	s.WebhookName = cmp.Or(s.WebhookName, webhookName)
	s.Happening = cmp.Or(s.Happening, "CHARGING_STARTED")
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
