package contract

import "time"

// ProcessEventInput starts ProcessEvent. It carries ids, never payloads:
// everything else stays in the ledger.
type ProcessEventInput struct {
	EventID string `json:"eventId"`
	// UnknownVehicleGrace is how long an event waits for its vehicle to be
	// connected before it fails. Zero means DefaultUnknownVehicleGrace.
	UnknownVehicleGrace time.Duration `json:"unknownVehicleGrace,omitempty"`
}

// DefaultUnknownVehicleGrace outlasts an owner who is still on the consent
// pages: a webhook may overtake the connect callback.
const DefaultUnknownVehicleGrace = 10 * time.Minute

// ProcessEventResult is what a completed ProcessEvent says.
type ProcessEventResult struct {
	Outcome      Outcome `json:"outcome"`
	MeterEntryID int64   `json:"meterEntryId,omitempty"`
}

// EventKind is the treatment that an event gets.
type EventKind string

// The kinds of event.
const (
	KindVehicleState EventKind = "vehicle_state"
	KindVehicleError EventKind = "vehicle_error"
	KindTest         EventKind = "test"
	KindUnknown      EventKind = "unknown"
)

// VehicleStatus says whether an event's vehicle is connected.
type VehicleStatus string

// The states of a vehicle's connection, as an event finds it.
const (
	VehicleActive   VehicleStatus = "active"
	VehicleInactive VehicleStatus = "inactive"
	VehicleUnknown  VehicleStatus = "unknown"
)

// LoadEventInput names a ledger row.
type LoadEventInput struct {
	EventID string `json:"eventId"`
}

// LoadEventResult is what the workflow needs to know of an event to decide its
// way. Neither coordinates nor a VIN are in it.
type LoadEventResult struct {
	Kind          EventKind     `json:"kind"`
	VehicleStatus VehicleStatus `json:"vehicleStatus,omitempty"`
	VehicleID     int64         `json:"vehicleId,omitempty"`
	// Odometer is nil when the event brings no usable odometer value.
	Odometer *ReportedOdometer `json:"odometer,omitempty"`
	// Recorded is set when an earlier run has already had the event's effect.
	Recorded *ProcessEventResult `json:"recorded,omitempty"`
}

// ProcessAtOnceInput names a ledger row.
type ProcessAtOnceInput struct {
	EventID string `json:"eventId"`
}

// ProcessAtOnceResult is how far the happy path went.
type ProcessAtOnceResult struct {
	Loaded LoadEventResult `json:"loaded"`
	// Written is nil when the event is not one for the happy path, or a step failed:
	// the steps that are left are then taken one by one.
	Written *WriteMeterEntryResult `json:"written,omitempty"`
}

// ReportedOdometer is an odometer value as Smartcar sent it.
type ReportedOdometer struct {
	// Value is a decimal number in Unit; Unit is as sent, "" when absent.
	Value string `json:"value"`
	Unit  string `json:"unit,omitempty"`
	// ObservedAt is the observation time, and ObservedAtSource the field it came from.
	ObservedAt       time.Time `json:"observedAt"`
	ObservedAtSource string    `json:"observedAtSource"`
}

// ConvertUnitsInput is an odometer value in the unit it was reported in.
type ConvertUnitsInput struct {
	Value string `json:"value"`
	Unit  string `json:"unit,omitempty"`
}

// ConvertUnitsResult is the same value in kilometres.
type ConvertUnitsResult struct {
	// Kilometres is a decimal number with at most three places.
	Kilometres string `json:"kilometres"`
	// Assumed is true when no unit was given and metric was taken.
	Assumed bool `json:"assumed,omitempty"`
}

// WriteMeterEntryInput is the state of a vehicle to write down.
type WriteMeterEntryInput struct {
	EventID   string `json:"eventId"`
	VehicleID int64  `json:"vehicleId"`
	// Odometer is nil when only the other signals are to be stored.
	Odometer *OdometerReading `json:"odometer,omitempty"`
}

// OdometerReading is a reported odometer value together with its kilometres.
type OdometerReading struct {
	Reported    ReportedOdometer `json:"reported"`
	Kilometres  string           `json:"kilometres"`
	UnitAssumed bool             `json:"unitAssumed,omitempty"`
}

// WriteMeterEntryResult says what was decided. Exactly one of Outcome and
// FailureClass is set, and the ledger row is closed accordingly.
type WriteMeterEntryResult struct {
	Outcome      Outcome      `json:"outcome,omitempty"`
	MeterEntryID int64        `json:"meterEntryId,omitempty"`
	FailureClass FailureClass `json:"failureClass,omitempty"`
}

// RecordOutcomeInput closes an event that writes no readings.
type RecordOutcomeInput struct {
	EventID string  `json:"eventId"`
	Outcome Outcome `json:"outcome"`
}

// RecordFailureInput closes an event that a person must look at.
type RecordFailureInput struct {
	EventID string       `json:"eventId"`
	Class   FailureClass `json:"class"`
	// Detail is one sentence for support staff, without values from the body.
	Detail string `json:"detail,omitempty"`
}
