package db

import (
	"context"
	"errors"
	"strings"
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
	EventID     string // the event that brought it first
	Verdict     string
	Confirmed   bool
}

// NewReading is an observation to be added to a vehicle's history.
type NewReading struct {
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

// HistoryBefore is what was entered before a moment. All zero when nothing was.
type HistoryBefore struct {
	LastObservedAt time.Time
	LastKm         decimal.Decimal
	HighestKm      decimal.Decimal
}

// SignalRecord is one signal of one event.
type SignalRecord struct {
	Code             string
	Value            []byte // the signal's body as JSON; nil when it failed
	Unit             string
	ObservedAt       time.Time
	ObservedAtSource string
	FailureType      string
	FailureCode      string
}

// VehicleTransaction is a transaction that holds one vehicle's row lock, and with
// it the exclusive right to decide over the vehicle's history.
type VehicleTransaction struct {
	queries   *dbsqlc.Queries
	vehicleID int64
}

// WithVehicle runs fn in one transaction under the vehicle's row lock, and commits
// when fn returns nil. ErrNotFound when there is no such vehicle. Errors that fn
// returns come back as they are.
func (s *Store) WithVehicle(ctx context.Context, vehicleID int64, fn func(*VehicleTransaction) error) error {
	return s.inTransaction(ctx, "write vehicle history", func(queries *dbsqlc.Queries) error {
		if _, err := queries.LockVehicle(ctx, vehicleID); err != nil {
			return translate("lock vehicle", err)
		}
		if err := fn(&VehicleTransaction{queries: queries, vehicleID: vehicleID}); err != nil {
			return &callerError{err: err}
		}
		return nil
	})
}

// Event loads a ledger row within the transaction.
func (t *VehicleTransaction) Event(ctx context.Context, eventID string) (LedgerEvent, error) {
	return eventForProcessing(ctx, t.queries, eventID)
}

// AddReading adds an observation, or gives the one that is there already with the same
// moment and value. Confirming an observation sticks to it.
func (t *VehicleTransaction) AddReading(ctx context.Context, reading NewReading) (Reading, error) {
	row, err := t.queries.InsertReading(ctx, dbsqlc.InsertReadingParams{
		VehicleID: t.vehicleID, ObservedAt: reading.ObservedAt, OdometerKm: reading.Kilometres,
		ObservedAtSource: reading.ObservedAtSource, ReportedValue: reading.ReportedValue,
		ReportedUnit: reading.ReportedUnit, UnitAssumed: reading.UnitAssumed,
		SourceType: reading.SourceType, EventID: reading.EventID, Confirmed: reading.Confirmed,
	})
	if err != nil {
		return Reading{}, translate("add reading", err)
	}
	return Reading{
		ID: row.ID, ObservedAt: reading.ObservedAt, Kilometres: reading.Kilometres, SourceType: reading.SourceType,
		UnitAssumed: reading.UnitAssumed, EventID: row.EventID, Verdict: row.Verdict, Confirmed: row.Confirmed,
	}, nil
}

// Before gives what was entered before the given reading's place in the history.
func (t *VehicleTransaction) Before(ctx context.Context, reading Reading) (HistoryBefore, error) {
	row, err := t.queries.HistoryBefore(ctx, dbsqlc.HistoryBeforeParams{
		VehicleID: t.vehicleID, ObservedAt: reading.ObservedAt, OdometerKm: reading.Kilometres,
	})
	if translated := translate("read history", err); errors.Is(translated, ErrNotFound) {
		return HistoryBefore{}, nil
	} else if translated != nil {
		return HistoryBefore{}, translated
	}
	return HistoryBefore{
		LastObservedAt: row.LastObservedAt.UTC(), LastKm: row.LastKm, HighestKm: row.HighestKm,
	}, nil
}

// EntriesWithin gives the entered readings from the given moment up to just before the reading.
func (t *VehicleTransaction) EntriesWithin(ctx context.Context, since time.Time, reading Reading) ([]Reading, error) {
	rows, err := t.queries.EntriesWithin(ctx, dbsqlc.EntriesWithinParams{
		VehicleID: t.vehicleID, Since: since, ObservedAt: reading.ObservedAt, OdometerKm: reading.Kilometres,
	})
	if err != nil {
		return nil, translate("read recent entries", err)
	}
	entries := make([]Reading, len(rows))
	for i, row := range rows {
		entries[i] = Reading{ObservedAt: row.ObservedAt.UTC(), Kilometres: row.OdometerKm}
	}
	return entries, nil
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

// Enter writes the meter entry of a reading, or brings back its superseded one, and gives its id.
func (t *VehicleTransaction) Enter(ctx context.Context, reading Reading, notes string) (int64, error) {
	id, err := t.queries.EnterReading(ctx, dbsqlc.EnterReadingParams{
		VehicleID: t.vehicleID, OdometerKm: reading.Kilometres, EntryDate: reading.ObservedAt,
		SourceType: reading.SourceType, Notes: notes, EventID: reading.EventID, ReadingID: reading.ID,
	})
	return id, translate("write meter entry", err)
}

// Supersede marks the meter entry of a reading as overtaken; without an entry it does nothing.
func (t *VehicleTransaction) Supersede(ctx context.Context, readingID int64) error {
	return translate("supersede meter entry", t.queries.SupersedeEntry(ctx, readingID))
}

// Redecide changes how an already closed event ended. Exactly one of outcome and failureClass is set.
func (t *VehicleTransaction) Redecide(ctx context.Context, closing Closing) error {
	return translate("re-decide event", t.queries.RedecideEvent(ctx, dbsqlc.RedecideEventParams{
		EventID: closing.EventID, Outcome: closing.Outcome,
		FailureClass: closing.FailureClass, FailureDetail: closing.FailureDetail,
	}))
}

// AddSignals stores the signals of one event.
func (t *VehicleTransaction) AddSignals(ctx context.Context, smartcarVehicleID, eventID string, signals []SignalRecord) error {
	if len(signals) == 0 {
		return nil
	}
	params := dbsqlc.InsertSignalsParams{SmartcarVehicleID: smartcarVehicleID, EventID: eventID}
	for _, signal := range signals {
		params.DataTypes = append(params.DataTypes, storableText(signal.Code))
		params.DataValues = append(params.DataValues, storableText(string(signal.Value)))
		params.Units = append(params.Units, storableText(signal.Unit))
		params.ObservedAts = append(params.ObservedAts, signal.ObservedAt)
		params.ObservedAtSources = append(params.ObservedAtSources, signal.ObservedAtSource)
		params.FailureTypes = append(params.FailureTypes, storableText(signal.FailureType))
		params.FailureCodes = append(params.FailureCodes, storableText(signal.FailureCode))
	}
	return translate("store signals", t.queries.InsertSignals(ctx, params))
}

// storableText drops what PostgreSQL's text cannot hold, so that one odd name does
// not cost the event its other signals.
func storableText(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}

// Close closes the event within the transaction.
func (t *VehicleTransaction) Close(ctx context.Context, closing Closing) error {
	return closeEvent(ctx, t.queries, closing)
}
