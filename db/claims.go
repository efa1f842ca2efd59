package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// ClaimedEvent is a ledger row whose workflow is to be started or examined.
type ClaimedEvent struct {
	EventID           string
	EventType         string
	SmartcarVehicleID string
	// Claims counts how often the row has been claimed, this time included.
	Claims int32
	// Retried says that a person has asked for the event to be retried. It is known of claimed rows only.
	Retried bool
}

// ClaimEvents leases up to limit received rows, oldest first. Rows that another
// starter holds are skipped; a lease that runs out makes the row claimable again.
func (s *Store) ClaimEvents(ctx context.Context, limit int32, lease time.Duration) ([]ClaimedEvent, error) {
	rows, err := s.queries.ClaimEvents(ctx, dbsqlc.ClaimEventsParams{LeaseSeconds: lease.Seconds(), MaxEvents: limit})
	if err != nil {
		return nil, translate("claim events", err)
	}
	claimed := make([]ClaimedEvent, len(rows))
	for i, row := range rows {
		claimed[i] = ClaimedEvent(row)
	}
	return claimed, nil
}

// ReleaseEvent makes a claimed row claimable again after a delay.
func (s *Store) ReleaseEvent(ctx context.Context, eventID string, delay time.Duration) error {
	params := dbsqlc.ReleaseEventParams{DelaySeconds: delay.Seconds(), EventID: eventID}
	return translate("release event", s.queries.ReleaseEvent(ctx, params))
}

// MarkEventsStarted records that workflows run for these claims. Events that are
// closed already stay closed, and events that were retried since stay received.
func (s *Store) MarkEventsStarted(ctx context.Context, started []ClaimedEvent) error {
	var params dbsqlc.MarkEventsStartedParams
	for _, event := range started {
		params.EventIds = append(params.EventIds, event.EventID)
		params.Claims = append(params.Claims, event.Claims)
	}
	return translate("mark events started", s.queries.MarkEventsStarted(ctx, params))
}

// StaleStartedEvents gives started rows that have not closed for the given time,
// each at most once in that time.
func (s *Store) StaleStartedEvents(ctx context.Context, limit int32, olderThan time.Duration) ([]ClaimedEvent, error) {
	rows, err := s.queries.StaleStartedEvents(ctx, dbsqlc.StaleStartedEventsParams{
		OlderThanSeconds: olderThan.Seconds(), MaxEvents: limit,
	})
	if err != nil {
		return nil, translate("find stale events", err)
	}
	stale := make([]ClaimedEvent, len(rows))
	for i, row := range rows {
		stale[i] = ClaimedEvent{
			EventID: row.EventID, EventType: row.EventType, SmartcarVehicleID: row.SmartcarVehicleID, Claims: row.Claims,
		}
	}
	return stale, nil
}

// RequeueStartedEvent sets a started row back to received; a row that closed meanwhile is left alone.
func (s *Store) RequeueStartedEvent(ctx context.Context, eventID string) error {
	_, err := s.queries.RequeueStartedEvent(ctx, eventID)
	return translate("requeue started event", err)
}
