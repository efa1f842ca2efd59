package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// EventFilter narrows a listing; empty fields do not narrow.
type EventFilter struct {
	Status            string
	FailureClass      string
	SmartcarVehicleID string
	Limit             int32
}

// EventSummary is a ledger row for support staff, without its payload.
type EventSummary struct {
	EventID           string     `json:"eventId"`
	EventType         string     `json:"eventType"`
	SmartcarVehicleID string     `json:"smartcarVehicleId,omitempty"`
	Mode              string     `json:"mode,omitempty"`
	Status            string     `json:"status"`
	Outcome           *string    `json:"outcome,omitempty"`
	FailureClass      *string    `json:"failureClass,omitempty"`
	FailureDetail     *string    `json:"failureDetail,omitempty"`
	DeliveryCount     int32      `json:"deliveryCount"`
	CreatedAt         time.Time  `json:"createdAt"`
	LastDeliveredAt   time.Time  `json:"lastDeliveredAt"`
	StartedAt         *time.Time `json:"startedAt,omitempty"`
	ClosedAt          *time.Time `json:"closedAt,omitempty"`
}

// EventAudit is one thing that a person did to an event.
type EventAudit struct {
	Action    string    `json:"action"`
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

// EventDetail is one ledger row with what was done to it.
type EventDetail struct {
	EventSummary

	WebhookID        string       `json:"webhookId,omitempty"`
	LastDeliveryID   string       `json:"lastDeliveryId,omitempty"`
	PayloadBytes     int32        `json:"payloadBytes"`
	ReadingConfirmed bool         `json:"readingConfirmed,omitempty"`
	Audits           []EventAudit `json:"audits"`
}

// ListEvents gives the newest ledger rows first.
func (s *Store) ListEvents(ctx context.Context, filter EventFilter) ([]EventSummary, error) {
	rows, err := s.queries.ListEvents(ctx, dbsqlc.ListEventsParams{
		Status: filter.Status, FailureClass: filter.FailureClass,
		SmartcarVehicleID: filter.SmartcarVehicleID, MaxEvents: filter.Limit,
	})
	if err != nil {
		return nil, translate("list events", err)
	}
	events := make([]EventSummary, len(rows))
	for i, row := range rows {
		events[i] = EventSummary(row)
	}
	return events, nil
}

// ShowEvent gives one ledger row; ErrNotFound when there is none.
func (s *Store) ShowEvent(ctx context.Context, eventID string) (EventDetail, error) {
	row, err := s.queries.ShowEvent(ctx, eventID)
	if err != nil {
		return EventDetail{}, translate("show event", err)
	}
	audits, err := s.queries.EventAudits(ctx, eventID)
	if err != nil {
		return EventDetail{}, translate("show event", err)
	}
	detail := EventDetail{
		EventSummary: EventSummary{
			EventID: row.EventID, EventType: row.EventType, SmartcarVehicleID: row.SmartcarVehicleID, Mode: row.Mode,
			Status: row.Status, Outcome: row.Outcome, FailureClass: row.FailureClass, FailureDetail: row.FailureDetail,
			DeliveryCount: row.DeliveryCount, CreatedAt: row.CreatedAt, LastDeliveredAt: row.LastDeliveredAt,
			StartedAt: row.StartedAt, ClosedAt: row.ClosedAt,
		},
		WebhookID: row.WebhookID, LastDeliveryID: row.LastDeliveryID,
		PayloadBytes: row.PayloadBytes, ReadingConfirmed: row.ReadingConfirmed,
		Audits: make([]EventAudit, len(audits)),
	}
	for i, audit := range audits {
		detail.Audits[i] = EventAudit(audit)
	}
	return detail, nil
}

// EventPayload gives the bytes that were signed. They may hold coordinates and a VIN.
func (s *Store) EventPayload(ctx context.Context, eventID string) ([]byte, error) {
	payload, err := s.queries.EventPayload(ctx, eventID)
	return payload, translate("read payload", err)
}

// FailedEventIDs gives the ids of failed events, oldest first.
func (s *Store) FailedEventIDs(ctx context.Context, filter EventFilter) ([]string, error) {
	ids, err := s.queries.FailedEventIDs(ctx, dbsqlc.FailedEventIDsParams{
		FailureClass: filter.FailureClass, SmartcarVehicleID: filter.SmartcarVehicleID, MaxEvents: filter.Limit,
	})
	return ids, translate("find failed events", err)
}

// Retry asks for a failed event to be started again.
type Retry struct {
	EventID string
	Actor   string
	Reason  string
	// ConfirmReading vouches for a reading that was held to be implausible.
	ConfirmReading bool
}

// RetryEvent sets a failed row back to received, with an audit row, in one
// transaction; a starter does the rest. ErrNotFound without such an event,
// ErrNotFailed when it is in any other state.
func (s *Store) RetryEvent(ctx context.Context, retry Retry) error {
	return s.inTransaction(ctx, "retry event", func(queries *dbsqlc.Queries) error {
		requeued, err := queries.RequeueFailedEvent(ctx, dbsqlc.RequeueFailedEventParams{
			EventID: retry.EventID, ConfirmReading: retry.ConfirmReading,
		})
		if err != nil {
			return translate("retry event", err)
		}
		if requeued == 0 {
			if _, err := queries.ShowEvent(ctx, retry.EventID); err != nil {
				return translate("retry event", err)
			}
			return &Error{Operation: "retry event", Kind: ErrNotFailed}
		}
		action := "retry"
		if retry.ConfirmReading {
			action = "retry with confirmed reading"
		}
		return translate("write audit", queries.InsertEventAudit(ctx, dbsqlc.InsertEventAuditParams{
			EventID: retry.EventID, Action: action, Actor: retry.Actor, Reason: retry.Reason,
		}))
	})
}

// Backlog is how much waits for a starter.
type Backlog struct {
	Depth  int64
	Oldest time.Duration // age of the oldest row that waits; 0 when none does
}

// Backlog counts received rows.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	row, err := s.queries.Backlog(ctx)
	if err != nil {
		return Backlog{}, translate("count backlog", err)
	}
	return Backlog{Depth: row.Depth, Oldest: time.Duration(row.OldestSeconds * float64(time.Second))}, nil
}

// CountOpenEvents counts the ledger rows that are not closed. It reads no closed row, so it stays cheap.
func (s *Store) CountOpenEvents(ctx context.Context) (int64, error) {
	count, err := s.queries.CountOpenEvents(ctx)
	return int64(count), translate("count open events", err)
}

// StatusCount is how many ledger rows are in one state, and how many deliveries they stand for.
type StatusCount struct {
	Status     string `json:"status"`
	Events     int64  `json:"events"`
	Deliveries int64  `json:"deliveries"`
}

// CountEvents counts ledger rows by state.
func (s *Store) CountEvents(ctx context.Context) ([]StatusCount, error) {
	rows, err := s.queries.CountEventsByStatus(ctx)
	if err != nil {
		return nil, translate("count events", err)
	}
	counts := make([]StatusCount, len(rows))
	for i, row := range rows {
		counts[i] = StatusCount(row)
	}
	return counts, nil
}

// DatabaseBytes is the size of the database on disk.
func (s *Store) DatabaseBytes(ctx context.Context) (int64, error) {
	size, err := s.queries.DatabaseBytes(ctx)
	return size, translate("measure database", err)
}
