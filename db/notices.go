package db

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// The types of notice that the application is sent.
const (
	NoticeConnected      = "vehicle.connected"
	NoticeReauthRequired = "vehicle.reauth_required"
	NoticeReauthResolved = "vehicle.reauth_resolved"
	NoticeDisconnected   = "vehicle.disconnected"
)

// Notice is one message to the application.
type Notice struct {
	ID        string
	Type      string
	Body      string // the bytes to sign and send
	CreatedAt time.Time
	// Delivered and GivenUp say whether it is closed, and how.
	Delivered bool
	GivenUp   bool
}

// noticeBody has the form that Standard Webhooks recommends.
type noticeBody struct {
	Type      string     `json:"type"`
	Timestamp time.Time  `json:"timestamp"`
	Data      noticeData `json:"data"`
}

type noticeData struct {
	User              string `json:"user"`
	VehicleID         int64  `json:"vehicleId"`
	SmartcarVehicleID string `json:"smartcarVehicleId"`
	Reason            string `json:"reason,omitempty"`
}

// writeNotices writes one notice per vehicle, and asks for its delivery, in the
// transaction that changes what it tells of.
func writeNotices(
	ctx context.Context, queries *dbsqlc.Queries, noticeType, reason string, at time.Time, smartcarVehicleIDs []string,
) error {
	for _, vehicle := range smartcarVehicleIDs {
		subject, err := queries.NoticeSubject(ctx, vehicle)
		if err != nil {
			return translate("find whom a notice is about", err)
		}
		body, err := json.Marshal(noticeBody{
			Type: noticeType, Timestamp: at.UTC(),
			Data: noticeData{User: subject.Email, VehicleID: subject.VehicleID, SmartcarVehicleID: vehicle, Reason: reason},
		})
		if err != nil {
			return fmt.Errorf("encode notice: %w", err)
		}
		id := "msg_" + uuid.NewString()
		err = queries.InsertNotice(ctx, dbsqlc.InsertNoticeParams{
			ID: id, NoticeType: noticeType, SmartcarVehicleID: vehicle, Body: string(body), CreatedAt: at,
		})
		if err != nil {
			return translate("write notice", err)
		}
		if err := requestWorkflow(ctx, queries, WorkflowRequest{Kind: RequestDeliverNotice, Subject: id}); err != nil {
			return err
		}
	}
	return nil
}

// Notice loads one notice; ErrNotFound when there is none.
func (s *Store) Notice(ctx context.Context, id string) (Notice, error) {
	row, err := s.queries.Notice(ctx, id)
	if err != nil {
		return Notice{}, translate("load notice", err)
	}
	return Notice{
		ID: row.ID, Type: row.NoticeType, Body: row.Body, CreatedAt: row.CreatedAt.UTC(),
		Delivered: row.DeliveredAt != nil, GivenUp: row.GivenUpAt != nil,
	}, nil
}

// NoticeDelivered closes a notice that the application has taken.
func (s *Store) NoticeDelivered(ctx context.Context, id string) error {
	return translate("close notice", s.queries.NoticeDelivered(ctx, id))
}

// NoticeGivenUp closes a notice that the application has not taken for days.
func (s *Store) NoticeGivenUp(ctx context.Context, id string) error {
	return translate("give notice up", s.queries.NoticeGivenUp(ctx, id))
}
