package smartcartest

import (
	"encoding/json"
	"strings"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	odometerName  = "TraveledDistance"
	odometerGroup = "Odometer"
)

func (s VehicleState) writeFlat(body *writer) {
	body.open('{')
	body.text("eventType", string(smartcar.TypeVehicleState))
	body.text("vehicleId", s.VehicleID)
	body.openMember("data", '{')
	body.openMember("odometer", '{')
	body.decimal("distance", s.Odometer)
	body.textUnlessEmpty("unit", s.Unit)
	body.close("}}}")
}

func (s VehicleState) writeVehicle(body *writer) {
	body.openMember("vehicle", '{')
	body.text("id", s.VehicleID)
	body.text("make", s.Make)
	body.text("model", s.Model)
	body.integer("year", int64(s.Year))
	if s.Form == Documents {
		body.text("mode", strings.ToLower(string(s.Mode)))
		body.textUnlessEmpty("powertrainType", s.PowertrainType)
	}
	if s.Form == Version3 {
		body.textUnlessEmpty("vin", s.VIN)
	}
	body.close("}")
}

func (s VehicleState) writeTriggers(body *writer) {
	body.openMember("triggers", '[')
	body.open('{')
	switch {
	case s.FirstDelivery && s.Form == Documents:
		body.text("code", smartcar.TriggerFirstDelivery)
	case s.FirstDelivery:
		body.text("type", smartcar.TriggerFirstDelivery)
	case s.Form == Documents:
		body.text("code", smartcar.CodeOdometer)
		body.text("name", odometerName)
		body.text("group", odometerGroup)
	case s.Form == Autumn2025:
		body.text("type", smartcar.TriggerSignalUpdated)
		body.text("signal", odometerGroup+"."+odometerName)
	default:
		body.text("type", smartcar.TriggerSignalUpdated)
		body.openMember("signal", '{')
		body.text("name", odometerName)
		body.text("code", smartcar.CodeOdometer)
		body.text("group", odometerGroup)
		body.close("}")
	}
	body.close("}]")
}

func (s VehicleState) writeSignals(body *writer) {
	odometer := &writer{}
	odometer.open('{')
	odometer.decimal("value", s.Odometer)
	odometer.textUnlessEmpty("unit", s.Unit)
	odometer.close("}")

	body.openMember("signals", '[')
	s.writeReading(body, SignalReading{
		Code: smartcar.CodeOdometer, Name: odometerName, Group: odometerGroup, Body: odometer.buffer,
	})
	for _, reading := range s.Readings {
		s.writeReading(body, reading)
	}
	body.close("]")
}

func (s VehicleState) writeReading(body *writer, reading SignalReading) {
	if reading.FailureType != "" {
		reading.writeFailure(body)

		return
	}

	body.open('{')
	body.text("code", reading.Code)
	body.text("name", reading.Name)
	body.text("group", reading.Group)
	body.raw("body", s.bodyOf(reading))
	body.openMember("meta", '{')
	if !reading.Timeless {
		body.integer("oemUpdatedAt", s.ObservedAt.UnixMilli())
		retrieved := "retrievedAt"
		if s.Form == Documents {
			retrieved = "fetchedAt"
		}
		body.integer(retrieved, s.RetrievedAt.UnixMilli())
	}
	body.close("}")
	if s.Form != Autumn2025 && s.Form != Version3 {
		body.openMember("status", '{')
		body.text("value", "SUCCESS")
		body.close("}")
	}
	body.close("}")
}

func (s VehicleState) bodyOf(reading SignalReading) []byte {
	share, ok := reading.share()
	if s.Form != Version3 || !ok {
		return reading.Body
	}
	body := &writer{}
	body.open('{')
	body.decimal("percentage", share)
	body.close("}")

	return body.buffer
}

// share is the percentage that a reading has as its value, if that is what it has.
func (r SignalReading) share() (float64, bool) {
	var body struct {
		Value *float64 `json:"value"`
		Unit  string   `json:"unit"`
	}
	if json.Unmarshal(r.Body, &body) != nil || body.Value == nil || body.Unit != "percent" {
		return 0, false
	}

	return *body.Value, true
}

// writeFailure keeps the order seen on the wire, which differs from that of a success.
func (r SignalReading) writeFailure(body *writer) {
	body.open('{')
	body.text("name", r.Name)
	body.text("group", r.Group)
	body.text("code", r.Code)
	body.openMember("status", '{')
	body.text("value", "ERROR")
	body.openMember("error", '{')
	body.text("type", r.FailureType)
	writeTextOrNull(body, "code", r.FailureCode)
	body.close("}}}")
}

func (s VehicleState) writeMeta(body *writer, kind smartcar.EventType) {
	if s.Form == Version3 {
		s.writeMetaVersion3(body)

		return
	}
	deliveredAt := s.DeliveredAt.UnixMilli()
	body.openMember("meta", '{')
	body.text("deliveryId", s.DeliveryID)
	body.integer("deliveredAt", deliveredAt)
	if s.Form == Autumn2025 {
		body.integer("deliveryTime", deliveredAt)
	} else {
		s.writeWebhook(body, "4.0")
	}
	body.text("mode", string(s.Mode))
	if kind == smartcar.TypeVehicleState {
		body.integer("signalCount", int64(1+len(s.Readings)))
	}
	if s.Form == Documents && kind == smartcar.TypeVehicleState {
		body.integer("sequence", deliveredAt)
	}
	body.close("}")
}

// writeMetaVersion3 says a mode that is not LIVE, though 3.0 is not known to, lest a sample passes for a reading.
func (s VehicleState) writeMetaVersion3(body *writer) {
	body.openMember("meta", '{')
	body.text("deliveryId", s.DeliveryID)
	body.integer("deliveredAt", s.DeliveredAt.Unix())
	s.writeWebhook(body, "3.0")
	if !s.Mode.IsLive() {
		body.text("mode", string(s.Mode))
	}
	body.close("}")
}

func (s VehicleState) writeWebhook(body *writer, version string) {
	body.text("version", version)
	body.text("webhookId", s.WebhookID)
	body.text("webhookName", s.WebhookName)
}
