package contract

import "time"

const (
	// ReconcileWorkflow fetches what webhooks should have brought and did not.
	ReconcileWorkflow = "Reconcile"
	// ReconcileID is the ID of Reconcile's schedule, and of a run that an operator asks
	// for. Temporal adds the time to the ID of each scheduled run.
	ReconcileID = "reconcile"
	// PlanReconcileActivity finds outages and silent vehicles.
	PlanReconcileActivity = "PlanReconcile"
	// PollVehicleActivity asks Smartcar for one vehicle's readings.
	PollVehicleActivity = "PollVehicle"
)

// PollOutcome is what a poll came to, or why there was none.
type PollOutcome string

// What polls come to. All but the first two leave a vehicle without a new reading.
const (
	// PollReceived: a reading came that was not known; it is in the ledger, to be processed like a webhook.
	PollReceived PollOutcome = "received"
	// PollNothingNew: the vehicle's newest reading is known already.
	PollNothingNew PollOutcome = "nothing_new"
	// PollDeferred: the budget of calls does not allow it now; a later run goes on.
	PollDeferred PollOutcome = "deferred"
	// PollNotGiven: Smartcar answered without an odometer.
	PollNotGiven PollOutcome = "not_given"
	// PollVehicleUnreachable: the vehicle, or its maker, does not answer now.
	PollVehicleUnreachable PollOutcome = "vehicle_unreachable"
	// PollSmartcarUnavailable: Smartcar does not answer now, or sets a limit.
	PollSmartcarUnavailable PollOutcome = "smartcar_unavailable"
	// PollNeedsOwner: only the owner can help, by connecting again or in the maker's account.
	PollNeedsOwner PollOutcome = "needs_owner"
	// PollNoPermission: the owner has not granted the odometer.
	PollNoPermission PollOutcome = "no_permission"
	// PollNotSupported: this vehicle does not give its odometer to Smartcar.
	PollNotSupported PollOutcome = "not_supported"
	// PollNeedsOperator: Smartcar refuses the application: its plan, credentials or settings.
	PollNeedsOperator PollOutcome = "needs_operator"
	// PollRefused: Smartcar does not know the vehicle, or the request; see the log.
	PollRefused PollOutcome = "refused"
	// PollDisconnected: the vehicle is not connected any more.
	PollDisconnected PollOutcome = "disconnected"
	// PollFailed: the poll failed for a reason of ours; see the activity's failure.
	PollFailed PollOutcome = "failed"
)

// ReconcileInput starts Reconcile.
type ReconcileInput struct{}

// PlanReconcileInput asks for the vehicles to be polled.
type PlanReconcileInput struct{}

// Outage is a time for which webhooks may be lost.
type Outage struct {
	StartedAt time.Time `json:"startedAt"`
	// EndedAt is zero while it lasts.
	EndedAt time.Time `json:"endedAt,omitzero"`
}

// NotRestored is a vehicle that should have been heard from, and of which there is no new reading.
type NotRestored struct {
	SmartcarVehicleID string      `json:"smartcarVehicleId"`
	Reason            PollOutcome `json:"reason"`
	// TryAgainAt is zero when the next run may try.
	TryAgainAt time.Time `json:"tryAgainAt,omitzero"`
}

// PlanReconcileResult is what one run has to do.
type PlanReconcileResult struct {
	// Outages are those that were found since the last run, or have ended since.
	Outages []Outage `json:"outages,omitempty"`
	// Silent counts all vehicles that should have been heard from.
	Silent int `json:"silent"`
	// Ready counts those of them that can be polled now.
	Ready int `json:"ready"`
	// SmartcarVehicleIDs are the most urgent of those, to be polled in this run.
	SmartcarVehicleIDs []string `json:"smartcarVehicleIds,omitempty"`
	// Obstacles counts those that cannot be polled now, by reason; NotRestored names the first of them.
	Obstacles   map[PollOutcome]int `json:"obstacles,omitempty"`
	NotRestored []NotRestored       `json:"notRestored,omitempty"`
}

// MaxNotRestored bounds the vehicles that a result names; it counts them all.
const MaxNotRestored = 100

// PollVehicleInput names the vehicle.
type PollVehicleInput struct {
	SmartcarVehicleID string `json:"smartcarVehicleId"`
}

// PollVehicleResult is what a poll came to.
type PollVehicleResult struct {
	Outcome PollOutcome `json:"outcome"`
	// TryAgainAt is when this vehicle may be polled again, if it is to be.
	TryAgainAt time.Time `json:"tryAgainAt,omitzero"`
	// StopUntil is set when no vehicle may be polled before.
	StopUntil time.Time `json:"stopUntil,omitzero"`
	// EventID is the ledger's event that the answer became; "" for none.
	EventID string `json:"eventId,omitempty"`
}

// ReconcileResult says what a run found and did.
type ReconcileResult struct {
	Outages []Outage `json:"outages,omitempty"`
	// Silent counts the vehicles that should have been heard from: each is in Outcomes, or Left.
	Silent   int                 `json:"silent"`
	Outcomes map[PollOutcome]int `json:"outcomes,omitempty"`
	// Left counts those that wait for a later run.
	Left int `json:"left,omitempty"`
	// NotRestored names up to MaxNotRestored vehicles of which no new reading came.
	NotRestored []NotRestored `json:"notRestored,omitempty"`
}
