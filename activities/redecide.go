package activities

import (
	"context"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// readingsPerPage bounds what one read of later readings holds in memory.
const readingsPerPage = 200

// notes of a meter entry made from a webhook.
const (
	webhookNotes        = "Smartcar webhook"
	webhookNotesAssumed = "Smartcar webhook; no unit was given, kilometres assumed"
)

// redecision goes through a vehicle's readings from one of them on, in the order of
// observation, until what was decided earlier holds again.
type redecision struct {
	transaction *db.VehicleTransaction
	// eventID is the event being processed; it is closed by its own activity.
	eventID string
	// before is the history that led to the stored verdicts, after the one that now holds.
	before, after *history
	// entryID is the meter entry of the reading that the redecision began with, 0 for none.
	entryID int64
}

// redecide gives a reading its verdict, from its place in the history, and
// re-decides the readings observed after it. The entry is 0 when there is none.
func redecide(
	ctx context.Context, transaction *db.VehicleTransaction, eventID string, reading db.Reading, around db.HistoryAround,
) (decided verdict, entryID int64, err error) {
	start := &history{
		entered: around.Entered, lastAt: around.LastObservedAt, last: around.LastKm,
		highest: around.HighestKm, recent: around.Recent,
	}
	run := &redecision{transaction: transaction, eventID: eventID, before: start, after: start.clone()}
	decided, err = run.step(ctx, reading)
	if err != nil || !around.Followed {
		return decided, run.entryID, err
	}
	entryID = run.entryID
	return decided, entryID, run.followers(ctx, reading)
}

func (r *redecision) followers(ctx context.Context, last db.Reading) error {
	for !r.before.equals(r.after) {
		page, err := r.transaction.After(ctx, last, readingsPerPage)
		if err != nil {
			return err
		}
		for _, reading := range page {
			if _, err := r.step(ctx, reading); err != nil {
				return err
			}
			if r.before.equals(r.after) {
				return nil
			}
		}
		if len(page) < readingsPerPage {
			return nil
		}
		last = page[len(page)-1]
	}
	return nil
}

func (r *redecision) step(ctx context.Context, reading db.Reading) (verdict, error) {
	stored := verdict(reading.Verdict)
	decided := r.after.decide(reading)
	r.before.add(reading, stored)
	r.after.add(reading, decided)
	if decided == verdictEntered && (stored != verdictEntered || reading.EventID == r.eventID) {
		entryID, err := r.transaction.Enter(ctx, reading, notes(reading))
		if err != nil {
			return "", err
		}
		r.entryID = entryID
	}
	if decided == stored {
		return decided, nil
	}
	if decided != verdictEntered {
		if err := r.reject(ctx, reading, decided); err != nil {
			return "", err
		}
	}
	if reading.EventID == r.eventID {
		return decided, nil
	}
	return decided, r.transaction.Redecide(ctx, closingOf(reading.EventID, decided))
}

// reject records a verdict that leaves the reading without a standing entry.
func (r *redecision) reject(ctx context.Context, reading db.Reading, decided verdict) error {
	if verdict(reading.Verdict) == verdictEntered {
		if err := r.transaction.Supersede(ctx, reading.ID); err != nil {
			return err
		}
	}
	return r.transaction.SetVerdict(ctx, reading.ID, string(decided))
}

// closingOf says how an event ends whose own reading got this verdict.
func closingOf(eventID string, decided verdict) db.Closing {
	closing := db.Closing{EventID: eventID}
	switch decided {
	case verdictEntered:
		closing.Outcome = string(contract.OutcomeMeterEntry)
	case verdictDuplicate:
		closing.Outcome = string(contract.OutcomeDuplicateReading)
	case verdictLower:
		closing.Outcome = string(contract.OutcomeLowerReading)
	case verdictImplausible:
		closing.FailureClass = string(contract.FailureImplausibleReading)
		closing.FailureDetail = implausibleDetail
	}
	return closing
}

const implausibleDetail = "more than 2,000 km a day above the previous entry (or below zero); " +
	"retry with the reading confirmed if it is right"

func notes(reading db.Reading) string {
	if reading.UnitAssumed {
		return webhookNotesAssumed
	}
	return webhookNotes
}
