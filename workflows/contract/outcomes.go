package contract

// Outcome says what the one effect of an event was. An event with an outcome
// ended Completed: nobody is needed.
type Outcome string

// The closed list of outcomes.
const (
	// OutcomeMeterEntry: an odometer reading was entered, at its own date.
	OutcomeMeterEntry Outcome = "meter_entry"
	// OutcomeDuplicateReading: the same value within one hour of observation, or the very same observation.
	OutcomeDuplicateReading Outcome = "duplicate_reading"
	// OutcomeLowerReading: lower than an earlier-observed reading by more than 1 km.
	OutcomeLowerReading Outcome = "lower_reading"
	// OutcomeNoOdometer: the event's signals were stored; no usable odometer value was among them.
	OutcomeNoOdometer Outcome = "no_odometer"
	// OutcomeTestDelivery: a TEST or simulated delivery, counted and never stored as a reading.
	OutcomeTestDelivery Outcome = "test_delivery"
	// OutcomeVehicleError: a VEHICLE_ERROR was recorded.
	OutcomeVehicleError Outcome = "vehicle_error"
	// OutcomeUnknownEventType: an event type that Milepost has no treatment for; kept in the ledger.
	OutcomeUnknownEventType Outcome = "unknown_event_type"
)

// Outcomes lists every outcome.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeMeterEntry, OutcomeDuplicateReading, OutcomeLowerReading, OutcomeNoOdometer,
		OutcomeTestDelivery, OutcomeVehicleError, OutcomeUnknownEventType,
	}
}

// FailureClass says why an event needs a person. It is the type of the
// application error with which the workflow fails.
type FailureClass string

// The closed list of failure classes.
const (
	// FailureMalformedPayload: signed by Smartcar, but not a body that can be understood.
	FailureMalformedPayload FailureClass = "malformed_payload"
	// FailureUnknownVehicle: nobody connected the vehicle within the grace period.
	FailureUnknownVehicle FailureClass = "unknown_vehicle"
	// FailureVehicleInactive: the vehicle's connection is inactive.
	FailureVehicleInactive FailureClass = "vehicle_inactive"
	// FailureUnitUnknown: the odometer's unit is neither kilometres nor miles.
	FailureUnitUnknown FailureClass = "unit_unknown"
	// FailureImplausibleReading: more than 2,000 km a day above the previous entry; a person may confirm it.
	FailureImplausibleReading FailureClass = "implausible_reading"
	// FailureDataRejected: the database refused the event's values; trying again would be refused again.
	FailureDataRejected FailureClass = "data_rejected"
	// FailureEventNotFound: the workflow was started for an eventId that the ledger does not have.
	FailureEventNotFound FailureClass = "event_not_found"
	// FailureWorkflowStopped: the workflow was terminated, cancelled or timed out before it closed its event.
	FailureWorkflowStopped FailureClass = "workflow_stopped"
)

// FailureNoticeNotTaken is how a DeliverNotice fails: the application did not take
// the notice for days. It is no class of events.
const FailureNoticeNotTaken FailureClass = "notice_not_taken"

// FailureClasses lists every failure class of events.
func FailureClasses() []FailureClass {
	return []FailureClass{
		FailureMalformedPayload, FailureUnknownVehicle, FailureVehicleInactive, FailureUnitUnknown,
		FailureImplausibleReading, FailureDataRejected, FailureEventNotFound, FailureWorkflowStopped,
		FailurePayloadTrimmed,
	}
}
