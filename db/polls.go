package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// EventTypePoll is the event type of a ledger row that holds the answer to a poll
// instead of a delivery. Such rows are no sign of webhooks arriving.
const EventTypePoll = "POLL"

// What a vehicle's silence is measured by while little, or nothing, is known of its rhythm.
const (
	// shortestSilence leaves a lively vehicle alone for a while: a poll may wake it.
	shortestSilence = time.Hour
	// unknownSilence is for vehicles with fewer than four readings.
	unknownSilence = 24 * time.Hour
	// longestSilence is when even the quietest vehicle is asked.
	longestSilence = 7 * 24 * time.Hour
)

// PollCandidate is a vehicle that should have been heard from.
type PollCandidate struct {
	SmartcarVehicleID string
	API               string
	// AfterOutage: it has not been heard from since an outage; otherwise it is silent for
	// longer than is usual for it.
	AfterOutage bool
	// HeardAt is when Smartcar last sent its odometer, or when it was connected.
	HeardAt time.Time
	// Outcome is what the last poll came to; "" when there was none.
	Outcome string
	// Obstacle is "" when it can be polled now: needs_owner, no_permission, not_supported, or
	// deferred until NotBefore.
	Obstacle  string
	NotBefore time.Time
}

// OdometerSignal says how the odometer is called.
type OdometerSignal struct{ Code, Permission string }

// PollCandidates lists the vehicles that should have been heard from by now, those
// after an outage first and then the longest silent.
func (s *Store) PollCandidates(ctx context.Context, odometer OdometerSignal, now time.Time) ([]PollCandidate, error) {
	rows, err := s.queries.PollCandidates(ctx, dbsqlc.PollCandidatesParams{
		OdometerCode: odometer.Code, OdometerPermission: odometer.Permission, AskedAt: now,
		ShortestSeconds: shortestSilence.Seconds(), UnknownSeconds: unknownSilence.Seconds(), LongestSeconds: longestSilence.Seconds(),
	})
	if err != nil {
		return nil, translate("find silent vehicles", err)
	}
	candidates := make([]PollCandidate, len(rows))
	for i, row := range rows {
		candidates[i] = PollCandidate{
			SmartcarVehicleID: row.SmartcarVehicleID, API: row.Api, AfterOutage: row.AfterOutage, HeardAt: row.HeardAt.UTC(),
			Outcome: row.Outcome, Obstacle: row.Obstacle, NotBefore: valueOr(row.NotBefore, time.Time{}).UTC(),
		}
	}
	return candidates, nil
}

// PollTarget is what a poll of a vehicle needs to know of it.
type PollTarget struct {
	VehicleID int64
	// Signals are those that it has ever given and can still give.
	Signals []string
	// Unanswered is how many polls in a row it did not answer.
	Unanswered int32
}

// PollTarget loads a vehicle that is to be polled; ErrNotFound when it is not connected any more.
func (s *Store) PollTarget(ctx context.Context, smartcarVehicleID string) (PollTarget, error) {
	row, err := s.queries.PollTarget(ctx, smartcarVehicleID)
	return PollTarget(row), translate("load poll target", err)
}

// IsObserved says that a vehicle's history has a reading of this very moment.
func (s *Store) IsObserved(ctx context.Context, vehicleID int64, observedAt time.Time) (bool, error) {
	known, err := s.queries.IsObserved(ctx, dbsqlc.IsObservedParams{VehicleID: vehicleID, ObservedAt: observedAt})
	return known, translate("look for the observation", err)
}

// OwnerError is an open error that asks the owner for something without which there is no odometer.
type OwnerError struct {
	Type, Code string
	Signal     string // "" for the whole vehicle
	OpenedAt   time.Time
	// Marked: the connection shows it. One that asks for a new consent does not once the owner has given it.
	Marked bool
}

// OwnerErrors lists those of a vehicle.
func (s *Store) OwnerErrors(ctx context.Context, smartcarVehicleID string, odometer OdometerSignal) ([]OwnerError, error) {
	rows, err := s.queries.OwnerErrors(ctx, dbsqlc.OwnerErrorsParams{
		SmartcarVehicleID: smartcarVehicleID, OdometerCode: odometer.Code,
	})
	if err != nil {
		return nil, translate("list errors for the owner", err)
	}
	found := make([]OwnerError, len(rows))
	for i, row := range rows {
		found[i] = OwnerError{
			Type: row.ErrorType, Code: row.Code, Signal: row.Signal, OpenedAt: row.OpenedAt.UTC(), Marked: row.Marked,
		}
	}
	return found, nil
}

// PollBudget is what may be asked of Smartcar, as JSON that belongs to the caller: the
// application's part, and one vehicle's. Either is {} at first.
type PollBudget struct{ Application, Vehicle []byte }

// WithPollBudget changes the budget in a transaction that no other poll can come
// between, in this process or another. Errors that change returns come back as they
// are, and leave the budget as it was.
func (s *Store) WithPollBudget(
	ctx context.Context, smartcarVehicleID string, change func(PollBudget) (PollBudget, error),
) error {
	return s.inTransaction(ctx, "spend poll budget", func(queries *dbsqlc.Queries) error {
		application, err := queries.LockPolling(ctx)
		if err != nil {
			return translate("lock poll budget", err)
		}
		vehicle, err := queries.PollBudgetOfVehicle(ctx, smartcarVehicleID)
		if err != nil {
			return translate("load poll budget", err)
		}
		changed, err := change(PollBudget{Application: application, Vehicle: vehicle})
		if err != nil {
			return &callerError{err: err}
		}
		return translate("store poll budget", queries.StorePollBudget(ctx, dbsqlc.StorePollBudgetParams{
			SmartcarVehicleID: smartcarVehicleID, Vehicle: changed.Vehicle, Application: changed.Application,
		}))
	})
}

// WithApplicationBudget changes the application's part alone, in the same way.
func (s *Store) WithApplicationBudget(ctx context.Context, change func(application []byte) ([]byte, error)) error {
	return s.inTransaction(ctx, "spend application budget", func(queries *dbsqlc.Queries) error {
		application, err := queries.LockPolling(ctx)
		if err != nil {
			return translate("lock application budget", err)
		}
		if application, err = change(application); err != nil {
			return &callerError{err: err}
		}
		return translate("store application budget", queries.StoreApplicationBudget(ctx, application))
	})
}

// SettledPoll is how a poll ended.
type SettledPoll struct {
	SmartcarVehicleID string
	Outcome           string
	// AskedAt is set when Smartcar answered, be it with a refusal: the vehicle's silence is then explained.
	AskedAt time.Time
	// Unchanged: the answer held nothing new.
	Unchanged bool
	// Unanswered: the poll counts in PollTarget.Unanswered; an answer counts that from none again.
	Unanswered bool
	// NotBefore is when to try again what was not answered; zero means at any time.
	NotBefore time.Time
}

// SettlePoll notes how a poll ended.
func (s *Store) SettlePoll(ctx context.Context, poll SettledPoll) error {
	return translate("settle poll", s.queries.SettlePoll(ctx, dbsqlc.SettlePollParams{
		SmartcarVehicleID: poll.SmartcarVehicleID, Outcome: poll.Outcome,
		IsUnchanged: poll.Unchanged, IsUnanswered: poll.Unanswered,
		PolledAt: pointerUnlessZero(poll.AskedAt), NotBefore: pointerUnlessZero(poll.NotBefore),
	}))
}

// AppendPoll keeps the answer to a poll as an event of the ledger, to be processed
// like any other. False when the ledger has that very answer already.
func (s *Store) AppendPoll(ctx context.Context, answer Delivery) (added bool, err error) {
	receipt, err := s.AppendAlone(ctx, answer)
	return !receipt.Duplicate, err
}

func pointerUnlessZero(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}
