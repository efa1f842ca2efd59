package activities

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// signalRecords are all the signals of the event, failed ones included: that a
// signal is unavailable is data.
func signalRecords(event db.LedgerEvent, decoded decodedEvent) []db.SignalRecord {
	records := make([]db.SignalRecord, len(decoded.Signals))
	for i := range decoded.Signals {
		signal := &decoded.Signals[i]
		observedAt, source := signal.ObservedAt(decoded.delivery.DeliveredAt, event.ReceivedAt)
		records[i] = db.SignalRecord{
			Code: signal.Code, Unit: signal.Unit, ObservedAt: observedAt, ObservedAtSource: string(source),
		}
		if signal.Failure != nil {
			// A failed signal may carry its last body; it must not be taken for a reading.
			records[i].FailureType, records[i].FailureCode = signal.Failure.Type, signal.Failure.Code
			records[i].Unsupported = isUnsupported(*signal.Failure)
			continue
		}
		records[i].Value = sentValue(signal)
		normalise(&records[i], signal)
	}
	return records
}

// sentValue is the body, or the bare value that older forms have instead.
func sentValue(signal *smartcar.Signal) []byte {
	if signal.Body != nil {
		return signal.Body
	}
	return signal.Value
}

// normalise adds the metric values. What has an unknown unit, or is not a number, stays
// as it was sent.
func normalise(record *db.SignalRecord, signal *smartcar.Signal) {
	if signal.Value == nil {
		record.NotAvailable = isExplicitNull(signal.Body)
	} else {
		normaliseNumber(record, signal, signal.Value)
	}
	normaliseList(record, signal)
}

func normaliseNumber(record *db.SignalRecord, signal *smartcar.Signal, value json.RawMessage) {
	quantity, err := quantityOf(signal, value)
	switch {
	case errors.Is(err, smartcar.ErrValueDiscarded):
		record.NotAvailable = true
	case err == nil:
		record.NormalisedValue, record.NormalisedUnit = quantity.Value.String(), string(quantity.Unit)
	}
}

// isExplicitNull: {"value":null} says that there is no reading. Other bodies without a
// "value" hold theirs in other members. Source: Smartcar, "signal catalogue".
func isExplicitNull(body json.RawMessage) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return false
	}
	value, sent := members["value"]
	return sent && bytes.Equal(bytes.TrimSpace(value), []byte("null"))
}

// isUnsupported: the car, its maker or Smartcar will not give this signal, however often
// it is asked. Source: Smartcar, "VEHICLE_ERROR".
func isUnsupported(failure smartcar.SignalFailure) bool {
	return reactionTo(smartcar.VehicleError{Type: failure.Type, Code: failure.Code}, "") == db.ReactionUnsupportedSignals
}
