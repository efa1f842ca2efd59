package smartcartest

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/milepost/milepost/api/smartcar"
)

const wholeShare = 100

// item mirrors one answer of a batch request. Source: Smartcar, "legacy 2.0".
type item struct {
	path   string
	status int
	body   []byte
}

func (s VehicleState) openVersion2(body *writer, eventName string) {
	body.open('{')
	body.text("version", "2.0")
	body.text("webhookId", s.WebhookID)
	body.text("eventName", eventName)
}

func (s VehicleState) writeHappening(body *writer) {
	s.openVersion2(body, "eventBased")
	body.text("mode", strings.ToLower(string(s.Mode)))
	body.openMember("payload", '{')
	body.text("eventId", s.EventID)
	body.text("vehicleId", s.VehicleID)
	body.text("eventType", s.Happening)
	body.text("eventTime", iso(s.ObservedAt))
	body.close("}}")
}

func (s VehicleState) writeItems(body *writer, items []item) {
	eventName := "schedule"
	if s.Form == Dynamic {
		eventName = "dynamic"
	}
	s.openVersion2(body, eventName)
	body.text("mode", strings.ToLower(string(s.Mode)))
	body.openMember("payload", '{')
	body.openMember("vehicles", '[')
	body.open('{')
	body.text("vehicleId", s.VehicleID)
	body.textUnlessEmpty("userId", s.UserID)
	body.text("requestId", s.EventID)
	body.openMember("data", '[')
	for _, item := range items {
		body.open('{')
		body.text("path", item.path)
		body.integer("code", int64(item.status))
		body.raw("body", item.body)
		s.writeHeaders(body, item)
		body.close("}")
	}
	body.close("]}]}}")
}

// writeHeaders says of what did not fail when it was true and in which unit system.
func (s VehicleState) writeHeaders(body *writer, item item) {
	body.openMember("headers", '{')
	if item.status == http.StatusOK {
		body.text("sc-data-age", iso(s.ObservedAt))
		body.text("sc-fetched-at", iso(s.RetrievedAt))
		body.textUnlessEmpty("sc-unit-system", systemOf(s.Unit))
	}
	body.close("}")
}

// systemOf leaves a unit that nobody knows as it is, so that it cannot pass for kilometres.
func systemOf(unit string) string {
	switch known, _ := smartcar.ParseUnit(unit); known {
	case smartcar.UnitKilometre:
		return "metric"
	case smartcar.UnitMile:
		return "imperial"
	default:
		return unit
	}
}

func (s VehicleState) items() []item {
	odometer := &writer{}
	odometer.open('{')
	odometer.decimal("distance", s.Odometer)
	odometer.close("}")
	items := []item{{path: pathOf(smartcar.CodeOdometer), status: http.StatusOK, body: odometer.buffer}}
	for _, reading := range s.Readings {
		if reading.FailureType != "" {
			items = append(items, failedItem(reading.Code, reading.FailureType, reading.FailureCode, "", s.EventID))
		} else {
			items = append(items, item{path: pathOf(reading.Code), status: http.StatusOK, body: bodyOfVersion2(reading)})
		}
	}

	return items
}

// bodyOfVersion2 makes a share of a percentage, as 2.0 has it.
func bodyOfVersion2(reading SignalReading) []byte {
	share, ok := reading.share()
	if !ok {
		return reading.Body
	}
	body := &writer{}
	body.open('{')
	if strings.HasSuffix(reading.Code, "-oillife") {
		body.decimal("lifeRemaining", share/wholeShare)
	} else {
		body.decimal("percentRemaining", share/wholeShare)
	}
	body.close("}")

	return body.buffer
}

func failedItem(signalCode, kind, code, description, requestID string) item {
	failed := &refusal{status: statusOfFailure(kind), kind: kind, code: code, description: description}
	body, _ := json.Marshal(failed.bodyV2(requestID)) //nolint:errchkjson // Texts and a number always have an encoding.

	return item{path: pathOf(signalCode), status: failed.status, body: body}
}

// statusOfFailure is by the type. Source: Smartcar, "v2 error body".
func statusOfFailure(kind string) int {
	switch kind {
	case "CONNECTED_SERVICES_ACCOUNT":
		return http.StatusBadRequest
	case "PERMISSION":
		return http.StatusForbidden
	case "VEHICLE_STATE":
		return http.StatusConflict
	case "RATE_LIMIT":
		return http.StatusTooManyRequests
	case "COMPATIBILITY":
		return http.StatusNotImplemented
	case "UPSTREAM":
		return http.StatusBadGateway
	default:
		return http.StatusInternalServerError
	}
}

// pathOf is where API v2 has a signal; one that it does not have gets a path of its two parts.
func pathOf(signalCode string) string {
	switch signalCode {
	case smartcar.CodeOdometer:
		return "/odometer"
	case "tractionbattery-stateofcharge":
		return "/battery"
	case "tractionbattery-nominalcapacity":
		return "/battery/nominal_capacity"
	case "internalcombustionengine-fuellevel":
		return "/fuel"
	case "internalcombustionengine-oillife":
		return "/engine/oil"
	case "location-preciselocation":
		return "/location"
	case "vehicleidentification-vin":
		return "/vin"
	default:
		return "/" + strings.ReplaceAll(signalCode, "-", "/")
	}
}
