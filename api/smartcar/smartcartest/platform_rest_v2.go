package smartcartest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	pageSizeV2    = 10
	maxPageSizeV2 = 50
	unitSystem    = "Sc-Unit-System"
	metric        = "metric"
	imperial      = "imperial"
)

func (p *Platform) routesV2() map[string]http.HandlerFunc {
	routes := map[string]http.HandlerFunc{
		"GET /v2.0/user":                                p.v2(p.serveUser),
		"GET /v2.0/vehicles":                            p.v2(p.serveVehicles),
		"GET /v2.0/vehicles/{id}":                       p.v2(p.serveRead("/")),
		"GET /v2.0/vehicles/{id}/permissions":           p.v2(p.servePermissions),
		"POST /v2.0/vehicles/{id}/batch":                p.v2(p.serveBatch),
		"POST /v2.0/vehicles/{id}/charge":               p.v2(p.serveAction("charge")),
		"POST /v2.0/vehicles/{id}/charge/limit":         p.v2(p.serveSetLimit),
		"POST /v2.0/vehicles/{id}/security":             p.v2(p.serveAction("security")),
		"POST /v2.0/vehicles/{id}/webhooks/{webhook}":   p.v2(p.serveSubscribeV2),
		"DELETE /v2.0/vehicles/{id}/webhooks/{webhook}": p.serveUnsubscribeV2,
		"DELETE /v2.0/vehicles/{id}/application":        p.serveDisconnectV2,
		"GET /v2.0/compatibility":                       p.serveCompatibility,
		"GET /v2.0/management/connections":              p.serveConnectionsV2,
		"DELETE /v2.0/management/connections":           p.serveDeleteConnectionsV2,
		"/v2.0/": func(response http.ResponseWriter, _ *http.Request) {
			notFound("PATH", "The requested resource does not exist.").writeV2(response)
		},
	}
	for path := range p.reads {
		if path != "/" {
			routes["GET /v2.0/vehicles/{id}"+path] = p.v2(p.serveRead(path))
		}
	}
	return routes
}

// caller is the family to which an access token belongs.
type caller struct {
	consent

	unitSystem string
}

type handlerV2 func(http.ResponseWriter, *http.Request, caller) *refusal

// v2 finds the caller by the access token and counts the call.
func (p *Platform) v2(handle handlerV2) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		from, refused := p.authenticate(request)
		if refused == nil {
			refused = p.overApplicationLimit(p.deps.Clock())
		}
		if refused == nil {
			refused = handle(response, request, from)
		}
		if refused != nil {
			refused.writeV2(response)
		}
	}
}

func (p *Platform) authenticate(request *http.Request) (caller, *refusal) {
	from := caller{unitSystem: request.Header.Get(unitSystem)}
	if from.unitSystem == "" {
		from.unitSystem = metric
	}
	if from.unitSystem != metric && from.unitSystem != imperial {
		return caller{}, invalidParameter("SC-Unit-System is metric or imperial.")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	token := p.ledger.AccessTokens[bearer(request)]
	if token == nil || !p.deps.Clock().Before(token.ExpiresAt) {
		return caller{}, unauthenticated()
	}
	owner := p.ledger.Families[token.FamilyID]
	if len(owner.VehicleIDs) == 0 {
		return caller{}, unauthenticated()
	}
	if p.ledger.Blocked[owner.UserID] {
		return caller{}, accountRefused()
	}
	from.consent = owner.consent
	return from, nil
}

func bearer(request *http.Request) string {
	token, ok := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

func (p *Platform) serveUser(response http.ResponseWriter, _ *http.Request, from caller) *refusal {
	writeJSON(response, http.StatusOK, map[string]string{"id": from.UserID})
	return nil
}

func (p *Platform) serveVehicles(response http.ResponseWriter, request *http.Request, from caller) *refusal {
	return writePageV2(response, request.URL.Query(), "vehicles", from.VehicleIDs)
}

func (p *Platform) servePermissions(response http.ResponseWriter, request *http.Request, from caller) *refusal {
	if !slices.Contains(from.VehicleIDs, request.PathValue("id")) {
		return notPermitted()
	}
	return writePageV2(response, request.URL.Query(), "permissions", from.Permissions)
}

func writePageV2(response http.ResponseWriter, query url.Values, name string, all []string) *refusal {
	limit, okLimit := numberOf(query, "limit", pageSizeV2)
	offset, okOffset := numberOf(query, "offset", 0)
	if !okLimit || !okOffset || limit < 1 || limit > maxPageSizeV2 || offset < 0 {
		return invalidParameter("limit is 1 to 50, offset 0 or more.")
	}
	first := min(offset, len(all))
	part := append([]string{}, all[first:min(first+limit, len(all))]...)
	writeJSON(response, http.StatusOK, map[string]any{"paging": map[string]int{"count": len(all), "offset": offset}, name: part})
	return nil
}

func numberOf(query url.Values, name string, usual int) (int, bool) {
	if !query.Has(name) {
		return usual, true
	}
	number, err := strconv.Atoi(query.Get(name))
	return number, err == nil
}

func (p *Platform) serveRead(path string) handlerV2 {
	return func(response http.ResponseWriter, request *http.Request, from caller) *refusal {
		answered := p.readVehicle(from, request.PathValue("id"), path)
		if answered.refused != nil {
			return answered.refused
		}
		for name, value := range answered.headers {
			response.Header().Set(name, value)
		}
		writeJSON(response, http.StatusOK, answered.body)
		return nil
	}
}

// serveBatch is 200 although items fail; every item counts against the limits.
func (p *Platform) serveBatch(response http.ResponseWriter, request *http.Request, from caller) *refusal {
	type item struct {
		Path string `json:"path"`
	}
	var wanted struct {
		Requests []item `json:"requests"`
	}
	if json.NewDecoder(request.Body).Decode(&wanted) != nil || len(wanted.Requests) == 0 {
		return invalidParameter(`The body is {"requests":[{"path":"/odometer"}]}.`)
	}
	if !slices.Contains(from.VehicleIDs, request.PathValue("id")) {
		return notPermitted()
	}
	responses := make([]map[string]any, 0, len(wanted.Requests))
	for i, one := range wanted.Requests {
		var answered readAnswer
		if i > 0 { // The batch itself has counted as the first.
			answered.refused = p.overApplicationLimit(p.deps.Clock())
		}
		if answered.refused == nil {
			answered = p.readVehicle(from, request.PathValue("id"), one.Path)
		}
		if refused := answered.refused; refused != nil {
			answered.headers = map[string]string{}
			if refused.retryAfter != "" {
				answered.headers["retry-after"] = refused.retryAfter
			}
			responses = append(responses, map[string]any{
				"path": one.Path, "code": refused.status, "headers": answered.headers,
				"body": refused.bodyV2(response.Header().Get(headerRequestID)),
			})
			continue
		}
		responses = append(responses, map[string]any{
			"path": one.Path, "code": http.StatusOK, "body": answered.body, "headers": answered.headers,
		})
	}
	writeJSON(response, http.StatusOK, map[string]any{"responses": responses})
	return nil
}

// serveCompatibility takes HTTP Basic with the client's id and secret. It knows the platform's own cars.
func (p *Platform) serveCompatibility(response http.ResponseWriter, request *http.Request) {
	id, secret, _ := request.BasicAuth()
	if id != p.deps.ClientID || secret != p.deps.ClientSecret {
		unauthenticated().writeV2(response)
		return
	}
	query := request.URL.Query()
	if query.Get("vin") == "" || query.Get("scope") == "" {
		invalidParameter("vin and scope are required.").writeV2(response)
		return
	}
	type capability struct {
		Permission string `json:"permission"`
		Endpoint   string `json:"endpoint"`
		Capable    bool   `json:"capable"`
		Reason     any    `json:"reason"`
	}
	car, known := p.carByVIN(query.Get("vin"))
	capabilities := make([]capability, 0)
	for path, one := range p.reads {
		if !known || !slices.Contains(strings.Fields(query.Get("scope")), one.permission) {
			continue
		}
		told := capability{Permission: one.permission, Endpoint: path, Capable: !car.lacks(one.permission)}
		if !told.Capable {
			told.Reason = "VEHICLE_NOT_CAPABLE"
		}
		capabilities = append(capabilities, told)
	}
	slices.SortFunc(capabilities, func(a, b capability) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	var reason any
	if !known {
		reason = "VEHICLE_NOT_COMPATIBLE"
	}
	writeJSON(response, http.StatusOK, map[string]any{"compatible": known, "reason": reason, "capabilities": capabilities})
}

func (p *Platform) carByVIN(vin string) (PlatformCar, bool) {
	for _, known := range p.users {
		user, _ := p.user(known.ID)
		for _, car := range user.Cars {
			if car.VIN == vin {
				return car, true
			}
		}
	}
	return PlatformCar{}, false
}
