package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// appendDeliveries inserts a batch in one statement and gives one receipt for each delivery.
func (s *Store) appendDeliveries(ctx context.Context, deliveries []Delivery) ([]Receipt, error) {
	inserted, err := s.queries.AppendEvents(ctx, appendParams(merge(deliveries)))
	if err != nil {
		return nil, translate("append to ledger", err)
	}
	fresh := make(map[string]bool, len(inserted))
	for _, row := range inserted {
		fresh[row.EventID] = row.Inserted
	}
	receipts := make([]Receipt, len(deliveries))
	for i, delivery := range deliveries {
		receipts[i] = Receipt{EventID: delivery.EventID, Duplicate: !fresh[delivery.EventID]}
		fresh[delivery.EventID] = false
	}
	return receipts, nil
}

// AppendAlone inserts one delivery in a statement of its own, without group
// commit: the measure that Ledger.Append is compared with.
func (s *Store) AppendAlone(ctx context.Context, delivery Delivery) (Receipt, error) {
	receipts, err := s.appendDeliveries(ctx, []Delivery{delivery})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

func appendParams(rows []merged) dbsqlc.AppendEventsParams {
	var params dbsqlc.AppendEventsParams
	for _, row := range rows {
		params.EventIds = append(params.EventIds, row.EventID)
		params.EventTypes = append(params.EventTypes, row.EventType)
		params.SmartcarVehicleIds = append(params.SmartcarVehicleIds, row.SmartcarVehicleID)
		params.Modes = append(params.Modes, row.Mode)
		params.WebhookIds = append(params.WebhookIds, row.WebhookID)
		params.DeliveryCounts = append(params.DeliveryCounts, row.count)
		params.LastDeliveryIds = append(params.LastDeliveryIds, row.lastDeliveryID)
		params.DeliveredAts = append(params.DeliveredAts, storableTime(row.DeliveredAt))
		params.ReceivedAts = append(params.ReceivedAts, row.ReceivedAt)
		params.Payloads = append(params.Payloads, row.Payload)
	}
	return params
}

// storableTime gives the epoch, which the statement reads as "absent", for a time
// outside of what PostgreSQL can hold: a stamp is never worth losing a delivery.
func storableTime(t time.Time) time.Time {
	const firstYear, lastYear = 1970, 9999
	if year := t.UTC().Year(); year < firstYear || year > lastYear {
		return time.Unix(0, 0)
	}
	return t
}
