package db

import (
	"context"
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
	SignalsRecorded   bool
	ReadingConfirmed  bool
	Payload           []byte
	// VehicleID is 0 when no vehicle is connected under SmartcarVehicleID.
	VehicleID     int64
	VehicleActive bool
	// MeterEntryID is 0 when the event wrote no entry.
	MeterEntryID int64
}

// EventForProcessing loads one ledger row; ErrNotFound when there is none.
func (s *Store) EventForProcessing(ctx context.Context, eventID string) (LedgerEvent, error) {
	return eventForProcessing(ctx, s.queries, eventID)
}

func eventForProcessing(ctx context.Context, queries *dbsqlc.Queries, eventID string) (LedgerEvent, error) {
	row, err := queries.EventForProcessing(ctx, eventID)
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
		SignalsRecorded:   row.SignalsRecorded,
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
	SyncType          string
	SyncData          []byte // a JSON object
	SmartcarVehicleID string
	// SignalsRecorded marks that the event's signals were stored in the same transaction.
	SignalsRecorded bool
}

// CloseEvent closes an event that writes no readings, in one transaction. An
// event that is processed already, or that the ledger does not have, stays as it is.
func (s *Store) CloseEvent(ctx context.Context, closing Closing) error {
	return s.inTransaction(ctx, "close event", func(queries *dbsqlc.Queries) error {
		return closeEvent(ctx, queries, closing)
	})
}

func closeEvent(ctx context.Context, queries *dbsqlc.Queries, closing Closing) error {
	var closed int64
	var err error
	if closing.FailureClass != "" {
		closed, err = queries.CloseEventFailed(ctx, dbsqlc.CloseEventFailedParams{
			EventID: closing.EventID, FailureClass: closing.FailureClass,
			FailureDetail: closing.FailureDetail, SignalsRecorded: closing.SignalsRecorded,
		})
	} else {
		closed, err = queries.CloseEventProcessed(ctx, dbsqlc.CloseEventProcessedParams{
			EventID: closing.EventID, Outcome: closing.Outcome, SignalsRecorded: closing.SignalsRecorded,
		})
	}
	if err != nil || closed == 0 || closing.SyncType == "" {
		return translate("close event", err)
	}
	return translate("write sync log", queries.InsertSyncLog(ctx, dbsqlc.InsertSyncLogParams{
		SyncType: closing.SyncType, SmartcarVehicleID: closing.SmartcarVehicleID,
		EventID: closing.EventID, Data: closing.SyncData,
	}))
}

func valueOr[T any](pointer *T, fallback T) T {
	if pointer == nil {
		return fallback
	}
	return *pointer
}
