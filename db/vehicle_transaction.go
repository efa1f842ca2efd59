package db

import (
	"context"
	"errors"
	"time"

	"github.com/shopspring/decimal"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// Reading is one odometer observation in a vehicle's history.
type Reading struct {
	ID          int64
	ObservedAt  time.Time
	Kilometres  decimal.Decimal
	SourceType  string
	UnitAssumed bool
	EventID     string // the event that owns it: of several that brought it, the least
	// FormerEventID is the event that owned it until now; "" when none did, or the same.
	FormerEventID string
	Verdict       string
	Confirmed     bool
}

// NewReading is an observation to be added to a vehicle's history.
type NewReading struct {
	ID               int64 // 0 unless it is kept already, for another vehicle
	ObservedAt       time.Time
	ObservedAtSource string
	Kilometres       decimal.Decimal
	ReportedValue    decimal.Decimal
	ReportedUnit     string
	UnitAssumed      bool
	SourceType       string
	EventID          string
	Confirmed        bool
}

// HistoryAround is what was decided of everything observed before a reading.
type HistoryAround struct {
	// Entered is false when there was no entry; then the next three are zero.
	Entered        bool
	LastObservedAt time.Time
	LastKm         decimal.Decimal
	HighestKm      decimal.Decimal
	// Recent are the entered readings of the time asked for, with only moment and value.
	Recent []Reading
	// Followed is true when anything was observed after the reading.
	Followed bool
}

// VehicleTransaction is a transaction that holds one vehicle's row lock, and with
// it the exclusive right to decide over the vehicle's history.
type VehicleTransaction struct {
	queries   *dbsqlc.Queries
	vehicleID int64
}

// WithVehicle runs fn in one transaction under the vehicle's row lock, and commits
// when fn returns nil. ErrConflict when there is no such vehicle any more, since it
// has been merged into another: look again whose the connection is. Errors that fn
// returns come back as they are.
func (s *Store) WithVehicle(ctx context.Context, vehicleID int64, fn func(*VehicleTransaction) error) error {
	return s.inTransaction(ctx, "write vehicle history", func(queries *dbsqlc.Queries) error {
		if _, err := queries.LockVehicle(ctx, vehicleID); err != nil {
			translated := translate("lock vehicle", err)
			if errors.Is(translated, ErrNotFound) {
				return &Error{Operation: "lock vehicle", Kind: ErrConflict}
			}
			return translated
		}
		if err := fn(&VehicleTransaction{queries: queries, vehicleID: vehicleID}); err != nil {
			return &callerError{err: err}
		}
		return nil
	})
}

// AddReading adds an observation, or gives the one that is there already with the
// same moment and value; confirming an observation sticks to it. Which of the events
// that bring it owns it does not depend on their order: the least event id does, one
// that names the unit before one that does not. With it comes its place in the
// history, with the entries observed from since on.
func (t *VehicleTransaction) AddReading(
	ctx context.Context, reading NewReading, since time.Time,
) (Reading, HistoryAround, error) {
	row, err := t.queries.AddReading(ctx, dbsqlc.AddReadingParams{
		VehicleID: t.vehicleID, ObservedAt: reading.ObservedAt, OdometerKm: reading.Kilometres,
		ObservedAtSource: reading.ObservedAtSource, ReportedValue: reading.ReportedValue,
		ReportedUnit: reading.ReportedUnit, UnitAssumed: reading.UnitAssumed,
		SourceType: reading.SourceType, EventID: reading.EventID, Confirmed: reading.Confirmed, Since: since,
	})
	if err != nil {
		return Reading{}, HistoryAround{}, translate("add reading", err)
	}
	around := HistoryAround{
		Entered: row.Entered, LastObservedAt: row.LastObservedAt.UTC(),
		LastKm: row.LastKm, HighestKm: row.HighestKm, Followed: row.Followed,
	}
	for i, observedAt := range row.RecentObservedAt {
		kilometres, err := decimal.NewFromString(row.RecentKm[i])
		if err != nil {
			return Reading{}, HistoryAround{}, &Error{Operation: "add reading: a value is no number", Kind: ErrInternal}
		}
		around.Recent = append(around.Recent, Reading{ObservedAt: observedAt.UTC(), Kilometres: kilometres})
	}
	stored := Reading{
		ID: row.ID, ObservedAt: reading.ObservedAt, Kilometres: reading.Kilometres, SourceType: row.SourceType,
		UnitAssumed: row.UnitAssumed, EventID: row.EventID, Verdict: row.Verdict, Confirmed: row.Confirmed,
	}
	if row.EventIDBefore != row.EventID {
		stored.FormerEventID = row.EventIDBefore
	}
	return stored, around, nil
}

// ReadingOf gives the reading that an event has brought; ErrNotFound when it has brought none.
func (t *VehicleTransaction) ReadingOf(ctx context.Context, eventID string) (NewReading, error) {
	row, err := t.queries.ReadingOfEvent(ctx, dbsqlc.ReadingOfEventParams{VehicleID: t.vehicleID, EventID: eventID})
	if err != nil {
		return NewReading{}, translate("read the event's reading", err)
	}
	return NewReading{
		ID: row.ID, ObservedAt: row.ObservedAt.UTC(), ObservedAtSource: row.ObservedAtSource, Kilometres: row.OdometerKm,
		ReportedValue: row.ReportedValue, ReportedUnit: row.ReportedUnit, UnitAssumed: row.UnitAssumed,
		SourceType: row.SourceType, EventID: eventID,
	}, nil
}

// After gives up to limit readings that follow the given one, in the order of observation.
func (t *VehicleTransaction) After(ctx context.Context, reading Reading, limit int32) ([]Reading, error) {
	rows, err := t.queries.ReadingsAfter(ctx, dbsqlc.ReadingsAfterParams{
		VehicleID: t.vehicleID, ObservedAt: reading.ObservedAt, OdometerKm: reading.Kilometres, MaxReadings: limit,
	})
	if err != nil {
		return nil, translate("read later readings", err)
	}
	readings := make([]Reading, len(rows))
	for i, row := range rows {
		readings[i] = Reading{
			ID: row.ID, ObservedAt: row.ObservedAt.UTC(), Kilometres: row.OdometerKm, SourceType: row.SourceType,
			UnitAssumed: row.UnitAssumed, EventID: row.EventID, Verdict: row.Verdict, Confirmed: row.Confirmed,
		}
	}
	return readings, nil
}

// SetVerdict records what was decided of a reading.
func (t *VehicleTransaction) SetVerdict(ctx context.Context, readingID int64, verdict string) error {
	params := dbsqlc.SetVerdictParams{ID: readingID, Verdict: verdict}
	return translate("set verdict", t.queries.SetVerdict(ctx, params))
}

// Enter gives a reading the verdict "entered" and writes its meter entry, or brings
// back its superseded one, and gives the entry's id. The entry is that of the event
// which owns the reading now.
func (t *VehicleTransaction) Enter(ctx context.Context, reading Reading, notes string) (int64, error) {
	id, err := t.queries.EnterReading(ctx, dbsqlc.EnterReadingParams{
		VehicleID: t.vehicleID, OdometerKm: reading.Kilometres, EntryDate: reading.ObservedAt,
		SourceType: reading.SourceType, Notes: notes, EventID: reading.EventID, ReadingID: reading.ID,
	})
	return id, translate("write meter entry", err)
}

// Decision is a verdict on a reading that is kept already, with the notes of its entry
// if it is entered.
type Decision struct {
	ReadingID int64
	Verdict   string
	Notes     string
}

// Decide does for many readings what Enter does for one, and Supersede and SetVerdict
// for those that are not entered. It gives the ids of the entries by those of their readings.
func (t *VehicleTransaction) Decide(ctx context.Context, decisions []Decision) (map[int64]int64, error) {
	var params dbsqlc.DecideReadingsParams
	for _, decision := range decisions {
		params.ReadingIds = append(params.ReadingIds, decision.ReadingID)
		params.Verdicts = append(params.Verdicts, decision.Verdict)
		params.Notes = append(params.Notes, decision.Notes)
	}
	rows, err := t.queries.DecideReadings(ctx, params)
	if err != nil {
		return nil, translate("decide readings", err)
	}
	entries := make(map[int64]int64, len(rows))
	for _, row := range rows {
		entries[row.ReadingID] = row.ID
	}
	return entries, nil
}

// Supersede marks the meter entry of a reading as overtaken; without an entry it does nothing.
func (t *VehicleTransaction) Supersede(ctx context.Context, readingID int64) error {
	return translate("supersede meter entry", t.queries.SupersedeEntry(ctx, readingID))
}

// RedecidedEvent is a closed event that ends differently now. Exactly one of Outcome and FailureClass is set.
type RedecidedEvent struct {
	EventID           string
	EventType         string
	SmartcarVehicleID string
	DeliveryID        string
	Outcome           string
	FailureClass      string
}

// Redecide changes how already closed events ended, each at most once, and writes the sync
// log rows (unless SyncType is "") of those that end differently. Without an event of that
// id it writes only the row. Exactly one of Outcome and
// FailureClass is set; signals are left as they are.
func (t *VehicleTransaction) Redecide(ctx context.Context, closings []Closing) ([]RedecidedEvent, error) {
	params := dbsqlc.RedecideEventsParams{VehicleID: t.vehicleID}
	for _, closing := range closings {
		params.EventIds = append(params.EventIds, closing.EventID)
		params.Outcomes = append(params.Outcomes, closing.Outcome)
		params.FailureClasses = append(params.FailureClasses, closing.FailureClass)
		params.FailureDetails = append(params.FailureDetails, closing.FailureDetail)
		params.SyncTypes = append(params.SyncTypes, closing.SyncType)
		params.SyncData = append(params.SyncData, string(closing.SyncData))
	}
	rows, err := t.queries.RedecideEvents(ctx, params)
	if err != nil {
		return nil, translate("re-decide events", err)
	}
	redecided := make([]RedecidedEvent, len(rows))
	for i, row := range rows {
		redecided[i] = RedecidedEvent{
			EventID: row.EventID, EventType: row.EventType, SmartcarVehicleID: row.SmartcarVehicleID,
			DeliveryID: row.LastDeliveryID, Outcome: row.Outcome, FailureClass: row.FailureClass,
		}
	}
	return redecided, nil
}

// Close closes the event within the transaction; false means that it was processed
// already, and is left as it is.
func (t *VehicleTransaction) Close(ctx context.Context, closing Closing) (closed bool, err error) {
	return closeEvent(ctx, t.queries, closing)
}
