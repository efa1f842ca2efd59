package smartcartest

import (
	"cmp"
	"math"
	"net/http"
	"slices"
)

const (
	permissionInfo      = "read_vehicle_info"
	permissionOdometer  = "read_odometer"
	permissionBattery   = "read_battery"
	permissionCharge    = "read_charge"
	permissionFuel      = "read_fuel"
	permissionLocation  = "read_location"
	permissionVIN       = "read_vin"
	permissionEngineOil = "read_engine_oil"
	permissionTires     = "read_tires"
	permissionSecurity  = "read_security"

	litresPerGallon = 3.785411784
	kPaPerPSI       = 6.894757
	whole           = 100
	tankLitres      = 50
	tirePressure    = 241.3
	oilLife         = 0.86
	batteryCapacity = 62
	chargeLimit     = 0.8
)

// allPermissions are those that a consent without scope, and Issue, grant.
func allPermissions() []string {
	return []string{
		permissionInfo, permissionOdometer, permissionBattery, permissionCharge, permissionFuel, permissionLocation,
		permissionVIN, permissionEngineOil, permissionTires, permissionSecurity, permissionControlCharge, permissionControlSecurity,
	}
}

// read is a GET of a vehicle, alone or in a batch.
type read struct {
	permission string
	// isStored is for what Smartcar knows without asking the car; it has no age.
	isStored bool
	body     func(car PlatformCar, isImperial bool) map[string]any
}

// readsV2 are by their paths below the vehicle. Source: Smartcar, "REST API v2".
func readsV2() map[string]read {
	return map[string]read{
		"/": {permission: permissionInfo, isStored: true, body: func(car PlatformCar, _ bool) map[string]any {
			return map[string]any{"id": car.VehicleID, "make": car.Make, "model": car.Model, "year": car.Year}
		}},
		"/vin": {permission: permissionVIN, isStored: true, body: func(car PlatformCar, _ bool) map[string]any {
			return map[string]any{"vin": car.VIN}
		}},
		"/odometer": {permission: permissionOdometer, body: func(car PlatformCar, isImperial bool) map[string]any {
			return map[string]any{"distance": distance(car.OdometerKm, isImperial)}
		}},
		"/battery": {permission: permissionBattery, body: func(car PlatformCar, isImperial bool) map[string]any {
			return map[string]any{"percentRemaining": car.fraction(), "range": distance(car.rangeKm(), isImperial)}
		}},
		"/battery/capacity": {permission: permissionBattery, body: func(PlatformCar, bool) map[string]any {
			return map[string]any{"capacity": batteryCapacity}
		}},
		"/battery/nominal_capacity": {permission: permissionBattery, body: func(PlatformCar, bool) map[string]any {
			return map[string]any{
				"capacity":            map[string]any{"nominal": batteryCapacity, "source": "SMARTCAR"},
				"availableCapacities": []map[string]any{{"capacity": batteryCapacity, "description": nil}}, "url": nil,
			}
		}},
		"/fuel": {permission: permissionFuel, body: func(car PlatformCar, isImperial bool) map[string]any {
			return map[string]any{
				"amountRemaining":  converted(car.fraction()*tankLitres, litresPerGallon, isImperial),
				"percentRemaining": car.fraction(), "range": distance(car.rangeKm(), isImperial),
			}
		}},
		"/charge": {permission: permissionCharge, body: func(car PlatformCar, _ bool) map[string]any {
			return map[string]any{"isPluggedIn": car.Charging, "state": either(car.Charging, "CHARGING", "NOT_CHARGING")}
		}},
		"/charge/limit": {permission: permissionCharge, body: func(car PlatformCar, _ bool) map[string]any {
			return map[string]any{"limit": cmp.Or(car.ChargeLimit, chargeLimit)}
		}},
		"/security": {permission: permissionSecurity, body: func(car PlatformCar, _ bool) map[string]any {
			return car.security()
		}},
		"/location": {permission: permissionLocation, body: func(car PlatformCar, _ bool) map[string]any {
			latitude, longitude := car.position()
			return map[string]any{"latitude": latitude, "longitude": longitude}
		}},
		"/tires/pressure": {permission: permissionTires, body: func(_ PlatformCar, isImperial bool) map[string]any {
			pressure := converted(tirePressure, kPaPerPSI, isImperial)
			return map[string]any{"frontLeft": pressure, "frontRight": pressure, "backLeft": pressure, "backRight": pressure}
		}},
		"/engine/oil": {permission: permissionEngineOil, body: func(PlatformCar, bool) map[string]any {
			return map[string]any{"lifeRemaining": oilLife}
		}},
	}
}

func (c PlatformCar) security() map[string]any {
	all := func(status string, types ...string) []map[string]string {
		parts := make([]map[string]string, 0, len(types))
		for _, name := range types {
			parts = append(parts, map[string]string{"type": name, "status": status})
		}
		return parts
	}
	corners := []string{"frontLeft", "frontRight", "backLeft", "backRight"}
	return map[string]any{
		"isLocked": !c.Unlocked, "doors": all(either(c.Unlocked, "CLOSED", "LOCKED"), corners...), "windows": all("CLOSED", corners...),
		"sunroof": all(""), "storage": all("CLOSED", "rear"), "chargingPort": all(""),
	}
}

func either(condition bool, then, otherwise string) string {
	if condition {
		return then
	}
	return otherwise
}

func (c *Car) fraction() float64 { return math.Round(c.Level) / whole }

func (c *Car) rangeKm() float64 { return math.Round(c.Level) / percentPerKilometre }

func distance(kilometres float64, isImperial bool) float64 {
	return converted(kilometres, kilometresPerMile, isImperial)
}

// converted keeps one decimal.
func converted(value, perUnit float64, isImperial bool) float64 {
	const decimals = 10
	if isImperial {
		value /= perUnit
	}
	return math.Round(value*decimals) / decimals
}

type readAnswer struct {
	body    map[string]any
	headers map[string]string
	refused *refusal
}

// readVehicle asks the vehicle, which counts against its limit, unless Smartcar knows that it cannot or knows the answer.
func (p *Platform) readVehicle(from caller, vehicleID, path string) readAnswer {
	now := p.deps.Clock()
	wanted, known := p.reads[path]
	if !known {
		return readAnswer{refused: notFound("PATH", "The requested resource does not exist.")}
	}
	car, found := p.car(vehicleID)
	switch {
	case !found, !slices.Contains(from.VehicleIDs, vehicleID), !slices.Contains(from.Permissions, wanted.permission):
		return readAnswer{refused: notPermitted()}
	case car.lacks(wanted.permission):
		return readAnswer{refused: notCapable()}
	}
	isImperial := from.unitSystem == imperial
	if wanted.isStored {
		return readAnswer{body: wanted.body(car, isImperial), headers: map[string]string{}}
	}
	if refused := p.overVehicleLimit(vehicleID, now); refused != nil {
		return readAnswer{refused: refused}
	}
	return readAnswer{body: wanted.body(car, isImperial), headers: map[string]string{
		"sc-unit-system": from.unitSystem, "sc-data-age": iso(car.observedAt(now)), "sc-fetched-at": iso(now),
	}}
}

func (p *Platform) serveSubscribeV2(response http.ResponseWriter, request *http.Request, from caller) *refusal {
	wanted := subscription{UserID: from.UserID, VehicleID: request.PathValue("id"), WebhookID: request.PathValue("webhook")}
	if !slices.Contains(from.VehicleIDs, wanted.VehicleID) {
		return notPermitted()
	}
	if !p.isWebhook(wanted.WebhookID) {
		return notFound("", "There is no such webhook.")
	}
	p.subscribe(wanted)
	writeJSON(response, http.StatusOK, map[string]string{"webhookId": wanted.WebhookID, "vehicleId": wanted.VehicleID})
	return nil
}

// subscribe reports whether the subscription is new.
func (p *Platform) subscribe(wanted subscription) bool {
	p.mu.Lock()
	isNew := p.ledger.subscribe(wanted, p.deps.Clock())
	p.save()
	p.mu.Unlock()
	if isNew && p.deps.OnSubscribed != nil {
		p.deps.OnSubscribed(wanted.VehicleID)
	}
	return isNew
}

func (p *Platform) isWebhook(id string) bool {
	return len(p.deps.WebhookIDs) == 0 || slices.Contains(p.deps.WebhookIDs, id)
}
