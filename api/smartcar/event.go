package smartcar

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// ErrMalformed says that a body is not a JSON object or cannot be used. Its text gives the reason and never
// repeats anything out of the body.
var ErrMalformed = errors.New("smartcar: malformed delivery")

// EventType says what a delivery reports. Values other than the constants are kept as sent.
type EventType string

// Event types of webhook payload version 4.0. Source: Smartcar, "envelope of 4.0 events".
const (
	TypeVerify       EventType = "VERIFY"
	TypeVehicleState EventType = "VEHICLE_STATE"
	TypeVehicleError EventType = "VEHICLE_ERROR"
)

// Mode tells real deliveries from invented ones, in upper case; "" when the delivery does not say.
type Mode string

// Modes of a delivery. Source: Smartcar, "envelope of 4.0 events".
const (
	ModeLive      Mode = "LIVE"
	ModeTest      Mode = "TEST"
	ModeSimulated Mode = "SIMULATED"
)

// IsLive reports whether readings of the delivery are those of a real vehicle. A delivery without a mode counts
// as live, which is right only after its signature was verified.
func (m Mode) IsLive() bool { return m == ModeLive || m == "" }

// Kinds of triggers. Source: Smartcar, "VEHICLE_STATE".
const (
	TriggerSignalUpdated = "SIGNAL_UPDATED"
	TriggerFirstDelivery = "FIRST_DELIVERY"
)

// CodeOdometer is the signal code of the odometer.
const CodeOdometer = "odometer-traveleddistance"

// Delivery is one webhook request, whatever form it was sent in. Raw JSON members alias the decoded body.
type Delivery struct {
	// Version is "4.0", "3.0" or "2.0"; "" for bodies that do not say (autumn 2025, seed style).
	Version string
	Type    EventType
	Mode    Mode
	// DeliveryID changes with each attempt and must not serve for deduplication.
	DeliveryID, WebhookID, WebhookName string
	// DeliveredAt is in UTC; zero when absent.
	DeliveredAt time.Time
	// Sequence is stored only: its meaning is not documented, nothing may be ordered by it.
	Sequence    json.Number
	SignalCount int
	Triggers    []Trigger
	// Challenge belongs to VERIFY; "" when absent or not a string.
	Challenge string
	// Events is never empty. It holds more than one only for 2.0 deliveries about several vehicles.
	Events []Event
}

// Trigger is a reason why an event was sent. Kind is "SIGNAL_UPDATED", "FIRST_DELIVERY" or "" when not said.
type Trigger struct {
	Kind   string
	Signal SignalRef
}

// SignalRef names a signal. Code is derived from Group and Name when only those were sent.
type SignalRef struct {
	Code, Name, Group string
}

// Event is what happened to one vehicle.
type Event struct {
	// ID is the eventId, stable over retries, or a derived one when none was sent that can serve.
	ID      string
	Derived bool
	// VehicleID is Smartcar's vehicle id. VIN is personal: never log it.
	VehicleID, UserID, ExternalUserID string
	Make, Model                       string
	Year                              int
	PowertrainType                    string
	VIN                               string
	Signals                           []Signal
	Errors                            []VehicleError
	// Unknown holds members of the delivery that were not understood, by dotted path ("data.x", "meta.x"). Like all of
	// the payload they may be personal: never log them.
	Unknown map[string]json.RawMessage
}

// Odometer returns the first odometer signal that did not fail and has a numeric value. The value is in the unit
// that Signal.Unit names; see Kilometres.
func (e *Event) Odometer() (Signal, bool) {
	for _, signal := range e.Signals {
		if signal.Code != CodeOdometer || signal.Failure != nil {
			continue
		}
		if _, ok := signal.Number(); ok {
			return signal, true
		}
	}
	return Signal{}, false
}

// Signal is one reading, or the reason why there is none.
type Signal struct {
	Code, Name, Group string
	// Body is as sent; nil if none.
	Body json.RawMessage
	// Value is body.value or what older forms have in its place; nil when absent or null.
	Value json.RawMessage
	// Unit is as sent, "" when absent; for 2.0 distances it follows from the unit system of the item.
	Unit string
	// OEMUpdatedAt is when the maker's data was current, RetrievedAt when Smartcar got it; UTC, zero when absent.
	OEMUpdatedAt, RetrievedAt time.Time
	// Failure is nil for a usable signal. A failed signal may still carry the last known body: it is not current.
	Failure *SignalFailure
	// Unknown holds members that were not understood, by dotted path ("meta.x"); a status is kept whole.
	Unknown map[string]json.RawMessage
}

// SignalFailure says why a signal has no current value. All fields may be "".
type SignalFailure struct {
	// Status is as sent: "ERROR", "UNAVAILABLE" or another, "" when the signal had neither status nor body.
	Status     string
	Type, Code string
}

// VehicleError is a problem of a vehicle or its connection, or the end of one. Every field but Type may be "".
// Source: Smartcar, "VEHICLE_ERROR".
type VehicleError struct {
	// Type is "UNKNOWN" when the error was sent without one.
	Type, Code string
	// State is "ERROR" or "RESOLVED"; "ERROR" when absent.
	State                                     string
	Description, SuggestedUserMessage, DocURL string
	ResolutionType, ResolutionURL             string
	// Signals is empty when the whole vehicle is concerned.
	Signals []SignalRef
	// Unknown holds members that were not understood, by dotted path ("resolution.x"); a list of signals is kept whole, and
	// "error" is what should have been an object.
	Unknown map[string]json.RawMessage
}

// States and the fallback type of vehicle errors.
const (
	StateError       = "ERROR"
	StateResolved    = "RESOLVED"
	ErrorTypeUnknown = "UNKNOWN"
)

// ObservationSource names the time that was taken for an observation.
type ObservationSource string

// Sources of an observation time, best first.
const (
	SourceOEMUpdatedAt ObservationSource = "oem_updated_at"
	SourceRetrievedAt  ObservationSource = "retrieved_at"
	SourceDeliveredAt  ObservationSource = "delivered_at"
	SourceReceivedAt   ObservationSource = "received_at"
)

// A time further ahead than this of the receipt is a wrong clock or unit; a day leaves room for time zone slips.
const maxClockAhead = 24 * time.Hour

// ObservedAt returns when the reading was true, and by which time that was decided: the maker's, else Smartcar's
// retrieval, else the delivery, else the receipt. A time more than 24 h after receivedAt is skipped.
// Rule: observation time.
func (s *Signal) ObservedAt(deliveredAt, receivedAt time.Time) (time.Time, ObservationSource) {
	candidates := [...]struct {
		at     time.Time
		source ObservationSource
	}{
		{s.OEMUpdatedAt, SourceOEMUpdatedAt},
		{s.RetrievedAt, SourceRetrievedAt},
		{deliveredAt, SourceDeliveredAt},
	}
	for _, candidate := range candidates {
		absurd := !receivedAt.IsZero() && candidate.at.After(receivedAt.Add(maxClockAhead))
		if !candidate.at.IsZero() && !absurd {
			return candidate.at, candidate.source
		}
	}
	return receivedAt, SourceReceivedAt
}

const (
	maxNumberLength   = 40
	maxNumberExponent = 20
)

// Number returns the value when it is a JSON number of at most 40 characters whose exponent is within ±20. The
// bounds keep 1e999999 from becoming a million digits; no reading comes near them.
func (s *Signal) Number() (decimal.Decimal, bool) {
	if kindOf(s.Value) != kindNumber || len(s.Value) > maxNumberLength {
		return decimal.Decimal{}, false
	}
	value, err := decimal.NewFromString(strings.TrimSpace(string(s.Value)))
	if err != nil || value.Exponent() > maxNumberExponent || value.Exponent() < -maxNumberExponent {
		return decimal.Decimal{}, false
	}
	return value, true
}
