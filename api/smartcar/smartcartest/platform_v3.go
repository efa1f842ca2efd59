package smartcartest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/milepost/milepost/api/smartcar"
)

const headerUserID = "Sc-User-Id"

func (p *Platform) routesV3() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /v3/vehicles/{id}/commands/{group}/{command}": p.v3(p.limitedV3(p.serveCommand)),

		"GET /v3/vehicles/{id}":                p.v3(p.limitedV3(p.serveVehicleV3)),
		"GET /v3/vehicles/{id}/signals":        p.v3(p.limitedV3(p.serveSignals)),
		"GET /v3/vehicles/{id}/signals/{code}": p.v3(p.limitedV3(p.serveSignal)),
		"GET /v3/connections":                  p.v3(p.serveConnections),
		"GET /v3/connections/{id}":             p.v3(p.serveConnection),
		"DELETE /v3/connections/{id}":          p.v3(p.serveDeleteConnection),
		"DELETE /v3/users/{id}":                p.v3(p.serveDeleteUser),
		"GET /v3/webhooks":                     p.v3(p.serveWebhooks),
		"GET /v3/webhooks/{id}":                p.v3(p.serveWebhook),
		"GET /v3/subscriptions":                p.v3(p.serveSubscriptions),
		"POST /v3/subscriptions":               p.v3(p.serveSubscribe),
		"GET /v3/subscriptions/{id}":           p.v3(p.serveSubscription),
		"DELETE /v3/subscriptions/{id}":        p.v3(p.serveUnsubscribe),
		"/v3/": func(response http.ResponseWriter, _ *http.Request) {
			notFound("PATH", "The requested resource does not exist.").writeV3(response)
		},
	}
}

type handlerV3 func(http.ResponseWriter, *http.Request) *refusal

// v3 asks for an application token.
func (p *Platform) v3(handle handlerV3) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		p.mu.Lock()
		expiry, known := p.ledger.ApplicationTokens[bearer(request)]
		p.mu.Unlock()
		refused := unauthenticated()
		if known && p.deps.Clock().Before(expiry) {
			refused = handle(response, request)
		}
		if refused != nil {
			refused.writeV3(response)
		}
	}
}

func (p *Platform) limitedV3(handle handlerV3) handlerV3 {
	return func(response http.ResponseWriter, request *http.Request) *refusal {
		if refused := p.overApplicationLimit(p.deps.Clock()); refused != nil {
			return refused
		}
		return handle(response, request)
	}
}

// connectionFor finds the vehicle's connection, of the user that the header names.
func (p *Platform) connectionFor(request *http.Request) (connection, PlatformCar, *refusal) {
	userID, vehicleID := request.Header.Get(headerUserID), request.PathValue("id")
	if userID == "" {
		return connection{}, PlatformCar{}, invalidParameter("The header sc-user-id is required.")
	}
	car, _ := p.car(vehicleID)
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.ledger.connectionOf(userID, vehicleID)
	switch {
	case found == nil:
		return connection{}, PlatformCar{}, notFound("", "No such vehicle for this user.")
	case p.ledger.Blocked[userID]:
		return connection{}, PlatformCar{}, accountRefused()
	default:
		return *found, car, nil
	}
}

// resource is an element of JSON:API.
type resource struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Attributes any               `json:"attributes"`
	Meta       map[string]string `json:"meta,omitempty"`
	Links      map[string]string `json:"links,omitempty"`
}

func selfLink(request *http.Request, path string) map[string]string {
	scheme := "http"
	if request.TLS != nil {
		scheme = "https"
	}
	return map[string]string{"self": scheme + "://" + request.Host + path}
}

type vehicleAttributes struct {
	Make       string `json:"make"`
	Model      string `json:"model"`
	Year       int    `json:"year"`
	Mode       string `json:"mode"`
	Powertrain string `json:"powertrainType"`
}

func attributesOf(car PlatformCar, mode string) vehicleAttributes {
	return vehicleAttributes{Make: car.Make, Model: car.Model, Year: car.Year, Mode: mode, Powertrain: car.powertrain()}
}

func vehicleResource(request *http.Request, car PlatformCar, mode string) resource {
	return resource{
		ID: car.VehicleID, Type: "vehicle", Attributes: attributesOf(car, mode),
		Links: selfLink(request, "/v3/vehicles/"+car.VehicleID),
	}
}

func (p *Platform) serveVehicleV3(response http.ResponseWriter, request *http.Request) *refusal {
	found, car, refused := p.connectionFor(request)
	if refused != nil {
		return refused
	}
	writeDataV3(response, vehicleResource(request, car, found.Mode))
	return nil
}

// signalAttributes are of one signal. Source: Smartcar, "signals list".
type signalAttributes struct {
	Code   string          `json:"code"`
	Name   string          `json:"name"`
	Group  string          `json:"group"`
	Status signalStatus    `json:"status"`
	Body   json.RawMessage `json:"body,omitempty"`
}

type signalStatus struct {
	Value string       `json:"value"`
	Error *signalError `json:"error,omitempty"`
}

type signalError struct {
	Type        string            `json:"type"`
	Code        string            `json:"code"`
	Title       string            `json:"title"`
	Detail      string            `json:"detail"`
	Description string            `json:"description"`
	Resolution  map[string]string `json:"resolution"`
}

func (p *Platform) serveSignals(response http.ResponseWriter, request *http.Request) *refusal {
	found, car, refused := p.connectionFor(request)
	if refused != nil {
		return refused
	}
	signals := p.signals(request, found, car)
	writeJSON(response, http.StatusOK, map[string]any{
		"data": signals, "meta": map[string]int{"totalCount": len(signals), "pageSize": len(signals), "pageNumber": 1},
		"links":    selfLink(request, request.URL.Path),
		"included": map[string]resource{"vehicle": vehicleResource(request, car, found.Mode)},
	})
	return nil
}

func (p *Platform) serveSignal(response http.ResponseWriter, request *http.Request) *refusal {
	found, car, refused := p.connectionFor(request)
	if refused != nil {
		return refused
	}
	for _, signal := range p.signals(request, found, car) {
		if signal.ID == request.PathValue("code") {
			writeDataV3(response, signal)
			return nil
		}
	}
	return notFound("", "The vehicle has no such signal.")
}

// signals are those of the car's readings, its odometer and VIN. One that is not granted is there with an error.
func (p *Platform) signals(request *http.Request, found connection, car PlatformCar) []resource {
	now := p.deps.Clock()
	odometer, vin := &writer{}, &writer{}
	odometer.open('{')
	odometer.decimal("value", car.Odometer())
	odometer.textUnlessEmpty("unit", car.Unit)
	odometer.close("}")
	vin.open('{')
	vin.text("value", car.VIN)
	vin.close("}")
	readings := append([]SignalReading{
		{Code: smartcar.CodeOdometer, Name: odometerName, Group: odometerGroup, Body: odometer.buffer},
		{Code: "vehicleidentification-vin", Name: "VIN", Group: "VehicleIdentification", Body: vin.buffer},
	}, car.readings()...)

	signals := make([]resource, 0, len(readings))
	for _, reading := range readings {
		permission := permissionOf(reading.Code)
		sent := signalAttributes{
			Code: reading.Code, Name: reading.Name, Group: reading.Group, Status: signalStatus{Value: "SUCCESS"}, Body: reading.Body,
		}
		meta := map[string]string{"ingestedAt": iso(now), "retrievedAt": iso(now), "oemUpdatedAt": iso(car.observedAt(now))}
		switch {
		case permission == permissionVIN:
			meta = map[string]string{"ingestedAt": iso(found.CreatedAt)} // It is static.
		case car.lacks(permission):
			sent.fail("COMPATIBILITY", "VEHICLE_NOT_CAPABLE")
		case slices.Contains(car.Stale, reading.Code):
			sent.fail("VEHICLE_STATE", "UNREACHABLE")
			last := iso(car.observedAt(now).Add(-time.Hour))
			sent.Body, meta = reading.Body, map[string]string{"ingestedAt": last, "retrievedAt": last, "oemUpdatedAt": last}
		}
		if !slices.Contains(found.Permissions, permission) {
			sent.fail("PERMISSION", "UNKNOWN")
		}
		signals = append(signals, resource{
			ID: reading.Code, Type: "signal", Attributes: sent, Meta: meta,
			Links: selfLink(request, "/v3/vehicles/"+car.VehicleID+"/signals/"+reading.Code),
		})
	}
	return signals
}

func (s *signalAttributes) fail(kind, code string) {
	s.Body = nil
	s.Status = signalStatus{Value: "ERROR", Error: &signalError{
		Type: kind, Code: code, Title: "The signal is not available", Detail: "The signal is not available.",
		Description: "Deprecated. Use detail", Resolution: map[string]string{"type": "UNKNOWN_RESOLUTION_TYPE"},
	}}
}

func permissionOf(signalCode string) string {
	switch signalCode {
	case smartcar.CodeOdometer:
		return permissionOdometer
	case "vehicleidentification-vin":
		return permissionVIN
	case "tractionbattery-stateofcharge":
		return permissionBattery
	case "internalcombustionengine-fuellevel":
		return permissionFuel
	default:
		return permissionLocation
	}
}

func text(number int) string { return strconv.Itoa(number) }
