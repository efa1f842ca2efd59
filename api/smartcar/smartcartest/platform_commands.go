package smartcartest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

const (
	permissionControlCharge   = "control_charge"
	permissionControlSecurity = "control_security"
)

// command is what an application has a vehicle do.
type command struct {
	permission string
	change     func(*PlatformCar)
}

// commandNamed knows the commands by their path in v3; in v2 the second part is the action. The cars obey whatever their state.
func commandNamed(name string) (command, bool) {
	switch name {
	case "charge/start":
		return command{permissionControlCharge, func(car *PlatformCar) { car.Charging = true }}, true
	case "charge/stop":
		return command{permissionControlCharge, func(car *PlatformCar) { car.Charging = false }}, true
	case "security/lock":
		return command{permissionControlSecurity, func(car *PlatformCar) { car.Unlocked = false }}, true
	case "security/unlock":
		return command{permissionControlSecurity, func(car *PlatformCar) { car.Unlocked = true }}, true
	default:
		return command{}, false
	}
}

// perform asks the vehicle, which counts against its limit.
func (p *Platform) perform(vehicleID string, granted []string, wanted command) *refusal {
	car, found := p.car(vehicleID)
	switch {
	case !found, !slices.Contains(granted, wanted.permission):
		return notPermitted()
	case car.lacks(wanted.permission):
		return notCapable()
	}
	if refused := p.overVehicleLimit(vehicleID, p.deps.Clock()); refused != nil {
		return refused
	}
	p.UpdateCar(vehicleID, wanted.change)
	return nil
}

// performV2 answers with a success and what else there is to say.
func (p *Platform) performV2(
	response http.ResponseWriter, request *http.Request, from caller, wanted command, result map[string]any,
) *refusal {
	vehicleID := request.PathValue("id")
	if !slices.Contains(from.VehicleIDs, vehicleID) {
		return notPermitted()
	}
	if refused := p.perform(vehicleID, from.Permissions, wanted); refused != nil {
		return refused
	}
	result["status"], result["message"] = "success", "Successfully sent request to vehicle"
	writeJSON(response, http.StatusOK, result)
	return nil
}

// serveAction takes {"action":"START"}. Source: Smartcar, "REST API v2".
func (p *Platform) serveAction(group string) handlerV2 {
	return func(response http.ResponseWriter, request *http.Request, from caller) *refusal {
		var sent struct {
			Action string `json:"action"`
		}
		err := json.NewDecoder(request.Body).Decode(&sent)
		wanted, known := commandNamed(group + "/" + strings.ToLower(sent.Action))
		if err != nil || !known || sent.Action != strings.ToUpper(sent.Action) {
			return invalidParameter(`The body is {"action":"…"} with an action of this endpoint.`)
		}
		return p.performV2(response, request, from, wanted, map[string]any{})
	}
}

// serveSetLimit takes {"limit":0.8}. Source: Smartcar, "REST API v2".
func (p *Platform) serveSetLimit(response http.ResponseWriter, request *http.Request, from caller) *refusal {
	var sent struct {
		Limit float64 `json:"limit"`
	}
	if json.NewDecoder(request.Body).Decode(&sent) != nil || sent.Limit <= 0 || sent.Limit > 1 {
		return invalidParameter(`The body is {"limit":0.8}, more than 0 and at most 1.`)
	}
	set := func(car *PlatformCar) { car.ChargeLimit = sent.Limit }
	return p.performV2(response, request, from, command{permissionControlCharge, set}, map[string]any{"limit": sent.Limit})
}

// serveCommand is of v3, where the form of the result is not documented. Source: Smartcar, "vehicle host".
func (p *Platform) serveCommand(response http.ResponseWriter, request *http.Request) *refusal {
	wanted, known := commandNamed(request.PathValue("group") + "/" + request.PathValue("command"))
	if !known {
		return notFound("PATH", "The requested resource does not exist.")
	}
	found, _, refused := p.connectionFor(request)
	if refused == nil {
		refused = p.perform(found.VehicleID, found.Permissions, wanted)
	}
	if refused != nil {
		return refused
	}
	result := map[string]any{"status": signalStatus{Value: "SUCCESS"}}
	writeDataV3(response, resource{ID: uuid.NewString(), Type: "command", Attributes: result})
	return nil
}
