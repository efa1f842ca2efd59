package api

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	typeMalformed      = "MALFORMED"
	maxTypeBytes       = 64
	maxModeBytes       = 32
	maxIdentifierBytes = 128
)

func ledgerDeliveries(body []byte, delivery smartcar.Delivery, receivedAt time.Time) []LedgerDelivery {
	eventType := storable(string(delivery.Type), maxTypeBytes)
	if eventType == "" {
		eventType = typeMalformed
	}
	entries := make([]LedgerDelivery, 0, len(delivery.Events))
	for i := range delivery.Events {
		entries = append(entries, LedgerDelivery{
			EventID:           delivery.Events[i].ID,
			EventType:         eventType,
			SmartcarVehicleID: storable(delivery.Events[i].VehicleID, maxIdentifierBytes),
			Mode:              storable(string(delivery.Mode), maxModeBytes),
			DeliveryID:        storable(delivery.DeliveryID, maxIdentifierBytes),
			WebhookID:         storable(delivery.WebhookID, maxIdentifierBytes),
			DeliveredAt:       delivery.DeliveredAt,
			ReceivedAt:        receivedAt,
			Payload:           body,
		})
	}
	return entries
}

// storable makes text fit for a PostgreSQL text column of limit bytes, which takes neither NUL nor broken UTF-8:
// a delivery must never be refused by the ledger for a character.
func storable(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
	if len(text) <= limit {
		return text
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
