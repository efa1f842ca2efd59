package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// What one statement reads, or writes, when a long history is decided again.
const (
	readingsPerPage      = 500
	closingsPerStatement = 1000
)

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
// observation, until what was decided earlier holds again. It has no other bound: the
// entries would depend on the order of arrival. So it takes two statements for each page
// of readings, and the ledger's rows come last, that deliveries wait for none of them longer
// than they must.
type redecision struct {
	transaction *db.VehicleTransaction
	// eventID is the event being processed; it is closed by its own activity.
	eventID string
	// before is the history that led to the stored verdicts, after the one that now holds.
	before, after *history
	closings      []db.Closing
}

// redecided is what became of a reading, and of those observed after it.
type redecided struct {
	verdict verdict
	entryID int64 // 0 when there is none
	// events are those of other readings that end differently now, to be told of after the commit.
	events []db.RedecidedEvent
}

// redecide gives a reading its verdict, from its place in the history, and
// re-decides the readings observed after it.
func redecide(
	ctx context.Context, transaction *db.VehicleTransaction, eventID string, reading db.Reading, around db.HistoryAround,
) (result redecided, err error) {
	start := &history{
		entered: around.Entered, lastAt: around.LastObservedAt, last: around.LastKm,
		highest: around.HighestKm, recent: around.Recent,
	}
	run := &redecision{transaction: transaction, eventID: eventID, before: start, after: start.clone()}
	if result.verdict, result.entryID, err = run.first(ctx, reading); err != nil {
		return result, err
	}
	if around.Followed {
		if err = run.followers(ctx, reading); err != nil {
			return result, err
		}
	}
	result.events, err = run.close(ctx)
	return result, err
}

// first decides over the reading that the redecision begins with. An event that owned it
// until now has brought what another event has brought, too.
func (r *redecision) first(ctx context.Context, reading db.Reading) (decided verdict, entryID int64, err error) {
	stored, passedOn := verdict(reading.Verdict), reading.FormerEventID != ""
	decided = r.step(reading)
	switch {
	case decided != verdictEntered && decided != stored:
		err = r.reject(ctx, reading, decided)
	case decided == verdictEntered && (decided != stored || passedOn || reading.EventID == r.eventID):
		entryID, err = r.transaction.Enter(ctx, reading, notes(reading))
	}
	if err == nil && passedOn {
		former := reading
		former.EventID = reading.FormerEventID
		err = r.closeAnew(former, verdictDuplicate, 0)
	}
	if err == nil && (decided != stored || passedOn) {
		err = r.closeAnew(reading, decided, entryID)
	}
	return decided, entryID, err
}

func (r *redecision) followers(ctx context.Context, last db.Reading) error {
	for !r.before.equals(r.after) {
		page, err := r.transaction.After(ctx, last, readingsPerPage)
		if err != nil {
			return err
		}
		if err := r.redecidePage(ctx, page); err != nil || len(page) < readingsPerPage {
			return err
		}
		last = page[len(page)-1]
	}
	return nil
}

func (r *redecision) redecidePage(ctx context.Context, page []db.Reading) error {
	var changed []db.Reading
	var decisions []db.Decision
	for _, reading := range page {
		if r.before.equals(r.after) {
			break
		}
		if decided := r.step(reading); decided != verdict(reading.Verdict) {
			changed = append(changed, reading)
			decisions = append(decisions, db.Decision{ReadingID: reading.ID, Verdict: string(decided), Notes: notes(reading)})
		}
	}
	if len(changed) == 0 {
		return nil
	}
	entries, err := r.transaction.Decide(ctx, decisions)
	if err != nil {
		return err
	}
	for i, reading := range changed {
		if err := r.closeAnew(reading, verdict(decisions[i].Verdict), entries[reading.ID]); err != nil {
			return err
		}
	}
	return nil
}

// step takes a reading into both histories, and gives the verdict that now holds.
func (r *redecision) step(reading db.Reading) verdict {
	decided := r.after.decide(reading)
	r.before.add(reading, verdict(reading.Verdict))
	r.after.add(reading, decided)
	return decided
}

// closeAnew notes how the event of a reading ends now, unless its own activity closes it.
func (r *redecision) closeAnew(reading db.Reading, decided verdict, entryID int64) error {
	if reading.EventID == r.eventID {
		return nil
	}
	closing, err := closingAnew(reading, decided, entryID, cmp.Or(r.eventID, redecidedByMerge))
	r.closings = append(r.closings, closing)
	return err
}

// close writes what was noted, in the order in which deliveries lock the ledger's rows.
func (r *redecision) close(ctx context.Context) (events []db.RedecidedEvent, err error) {
	slices.SortStableFunc(r.closings, func(a, b db.Closing) int { return cmp.Compare(a.EventID, b.EventID) })
	for batch := range slices.Chunk(r.closings, closingsPerStatement) {
		closed, err := r.transaction.Redecide(ctx, batch)
		if err != nil {
			return nil, err
		}
		events = append(events, closed...)
	}
	return events, nil
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
