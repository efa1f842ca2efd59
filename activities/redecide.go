package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// readingsPerPage bounds what one read of later readings holds in memory.
const readingsPerPage = 200

// notes of a meter entry, by where its reading came from.
const (
	webhookNotes = "Smartcar webhook"
	pollNotes    = "Smartcar poll"
	notesAssumed = "; no unit was given, kilometres assumed"
)

// redecidedByMerge stands in sync log rows for the event that caused a re-decision, where
// vehicles were merged.
const redecidedByMerge = "merge"

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
	var entryID int64
	if decided == verdictEntered && (stored != verdictEntered || reading.EventID == r.eventID) {
		var err error
		if entryID, err = r.transaction.Enter(ctx, reading, notes(reading)); err != nil {
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
	closing, err := closingAnew(reading, decided, entryID, cmp.Or(r.eventID, redecidedByMerge))
	if err != nil {
		return "", err
	}
	return decided, r.transaction.Redecide(ctx, closing)
}

// redecisionData is what a sync log row says of an event that was decided again.
type redecisionData struct {
	EventID      string      `json:"eventId"`
	Outcome      string      `json:"outcome,omitempty"`
	FailureClass string      `json:"failureClass,omitempty"`
	MeterEntryID int64       `json:"meterEntryId,omitempty"`
	OdometerKm   json.Number `json:"odometerKm"`
	ObservedAt   time.Time   `json:"observedAt"`
	RedecidedBy  string      `json:"redecidedBy"` // the event, or redecidedByMerge
}

// closingAnew says how an event ends now that its reading has another verdict, with a row
// for the sync logs, where its entry is found like one that it wrote itself. The entry is 0
// for any other verdict than entered.
func closingAnew(reading db.Reading, decided verdict, entryID int64, redecidedBy string) (db.Closing, error) {
	closing := closingOf(reading.EventID, decided)
	data, err := json.Marshal(redecisionData{
		EventID: reading.EventID, Outcome: closing.Outcome, FailureClass: closing.FailureClass, MeterEntryID: entryID,
		OdometerKm: json.Number(reading.Kilometres.String()), ObservedAt: reading.ObservedAt, RedecidedBy: redecidedBy,
	})
	if err != nil {
		return db.Closing{}, fmt.Errorf("write sync log: %w", err)
	}
	closing.SyncType, closing.SyncData = syncTypeOdometer, data
	return closing, nil
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

const implausibleDetail = "more than 2,000 km a day above the previous entry (or below zero, or above ten million); " +
	"retry with the reading confirmed if it is right"

func notes(reading db.Reading) string {
	text := webhookNotes
	if reading.SourceType == sourcePoll {
		text = pollNotes
	}
	if reading.UnitAssumed {
		text += notesAssumed
	}
	return text
}
