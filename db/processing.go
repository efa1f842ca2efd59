package db

import (
	"context"
	"strings"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// The states of a ledger row.
const (
	StatusReceived  = "received"
	StatusStarted   = "started"
	StatusProcessed = "processed"
	StatusFailed    = "failed"
)

// LedgerEvent is a ledger row as processing sees it, with its vehicle's connection.
type LedgerEvent struct {
	EventID           string
	EventType         string
	SmartcarVehicleID string
	Mode              string
	Status            string
	Outcome           string // "" unless processed
	ReceivedAt        time.Time
	DeliveredAt       time.Time // zero when unknown
	DeliveryID        string
	ReadingConfirmed  bool
	Payload           []byte
	// VehicleID is 0 when no vehicle is connected under SmartcarVehicleID.
	VehicleID     int64
	VehicleActive bool
	// MeterEntryID is 0 when the event wrote no entry.
	MeterEntryID int64
}

// reportedAhead is how far a delivery may be stamped ahead of its receipt; beyond it, its clock is wrong.
const reportedAhead = 24 * time.Hour

// ReportedAt is when Smartcar sent the event, and when it was received if Smartcar did
// not say or cannot be right.
func (e *LedgerEvent) ReportedAt() time.Time {
	if e.DeliveredAt.IsZero() || e.DeliveredAt.After(e.ReceivedAt.Add(reportedAhead)) {
		return e.ReceivedAt
	}
	return e.DeliveredAt
}

// EventForProcessing loads one ledger row; ErrNotFound when there is none.
func (s *Store) EventForProcessing(ctx context.Context, eventID string) (LedgerEvent, error) {
	row, err := s.queries.EventForProcessing(ctx, eventID)
	if err != nil {
		return LedgerEvent{}, translate("load event", err)
	}
	return LedgerEvent{
		EventID:           row.EventID,
		EventType:         row.EventType,
		SmartcarVehicleID: row.SmartcarVehicleID,
		Mode:              row.Mode,
		Status:            row.Status,
		Outcome:           valueOr(row.Outcome, ""),
		ReceivedAt:        row.CreatedAt.UTC(),
		DeliveredAt:       valueOr(row.DeliveredAt, time.Time{}).UTC(),
		DeliveryID:        row.LastDeliveryID,
		ReadingConfirmed:  row.ReadingConfirmed,
		Payload:           row.Payload,
		VehicleID:         valueOr(row.VehicleID, 0),
		VehicleActive:     valueOr(row.IsActive, false),
		MeterEntryID:      valueOr(row.MeterEntryID, 0),
	}, nil
}

// Closing says how an event ended. Exactly one of Outcome and FailureClass is set.
type Closing struct {
	EventID       string
	Outcome       string
	FailureClass  string
	FailureDetail string // for support staff; no values from the body
	// SyncType and SyncData make a row in smartcar_sync_logs unless SyncType is "".
	SyncType string
	SyncData []byte // a JSON object
	// Signals are stored with the event, unless an earlier run has stored them.
	Signals []SignalRecord
	// ReportedAt is when Smartcar sent the signals; see LedgerEvent.ReportedAt.
	ReportedAt time.Time
}

// SignalRecord is one signal of one event.
type SignalRecord struct {
	Code  string
	Value []byte // the signal's body as JSON; nil when it failed
	Unit  string
	// NormalisedValue is a decimal in the metric NormalisedUnit; "" when the value is not
	// a number or its unit is not known.
	NormalisedValue string
	// NormalisedValues is the list of quantities that the body holds, as a JSON array, with
	// each quantity in NormalisedUnit, or null for one that is no reading; nil without a list.
	NormalisedValues []byte
	NormalisedUnit   string
	ObservedAt       time.Time
	ObservedAtSource string
	// NotAvailable says that a Value is none, but a marker; a signal without Value never is available.
	NotAvailable bool
	FailureType  string
	FailureCode  string
	// Unsupported says that the failure is one for good.
	Unsupported bool
}

// CloseEvent closes an event, with its sync log row and its signals. An event that
// is processed already, or that the ledger does not have, stays as it is.
func (s *Store) CloseEvent(ctx context.Context, closing Closing) error {
	_, err := closeEvent(ctx, s.queries, closing)
	return err
}

func closeEvent(ctx context.Context, queries *dbsqlc.Queries, closing Closing) (closed bool, err error) {
	params := dbsqlc.CloseEventParams{
		EventID: closing.EventID, Outcome: closing.Outcome,
		FailureClass: closing.FailureClass, FailureDetail: closing.FailureDetail,
		SyncType: closing.SyncType, SyncData: closing.SyncData, ReportedAt: closing.ReportedAt,
	}
	for _, signal := range closing.Signals {
		params.DataTypes = append(params.DataTypes, storableText(signal.Code))
		params.DataValues = append(params.DataValues, storableText(string(signal.Value)))
		params.AreReadings = append(params.AreReadings, signal.Value != nil && !signal.NotAvailable)
		params.AreUnsupported = append(params.AreUnsupported, signal.Unsupported)
		params.Units = append(params.Units, storableText(signal.Unit))
		params.NormalisedValues = append(params.NormalisedValues, signal.NormalisedValue)
		params.NormalisedLists = append(params.NormalisedLists, storableText(string(signal.NormalisedValues)))
		params.NormalisedUnits = append(params.NormalisedUnits, signal.NormalisedUnit)
		params.ObservedAts = append(params.ObservedAts, signal.ObservedAt)
		params.ObservedAtSources = append(params.ObservedAtSources, signal.ObservedAtSource)
		params.FailureTypes = append(params.FailureTypes, storableText(signal.FailureType))
		params.FailureCodes = append(params.FailureCodes, storableText(signal.FailureCode))
	}
	count, err := queries.CloseEvent(ctx, params)
	return count == 1, translate("close event", err)
}

// storableText drops what PostgreSQL's text cannot hold, so that one odd name does
// not cost the event its other signals.
func storableText(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}

func valueOr[T any](pointer *T, fallback T) T {
	if pointer == nil {
		return fallback
	}
	return *pointer
}
