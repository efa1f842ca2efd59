package smartcartest

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
)

const maxPageSizeManagement = 100

// serveUnsubscribeV2 takes the application management token. Source: Smartcar, "webhook subscription v2".
func (p *Platform) serveUnsubscribeV2(response http.ResponseWriter, request *http.Request) {
	if !p.isManagementToken(bearer(request)) {
		unauthenticated().writeV2(response)
		return
	}
	vehicleID, webhookID := request.PathValue("id"), request.PathValue("webhook")
	isEnded := false
	p.end(func() {
		before := len(p.ledger.Subscriptions)
		maps.DeleteFunc(p.ledger.Subscriptions, func(_ string, made *subscription) bool {
			return made.VehicleID == vehicleID && made.WebhookID == webhookID
		})
		isEnded = len(p.ledger.Subscriptions) < before
	})
	if !isEnded {
		notFound("", "There is no such subscription.").writeV2(response)
		return
	}
	writeJSON(response, http.StatusOK, map[string]string{"status": "success"})
}

// serveDisconnectV2 takes the user's access token, also of one that is blocked, or the application management token.
func (p *Platform) serveDisconnectV2(response http.ResponseWriter, request *http.Request) {
	vehicleID, userID := request.PathValue("id"), ""
	if !p.isManagementToken(bearer(request)) {
		p.mu.Lock()
		token := p.ledger.AccessTokens[bearer(request)]
		if token == nil || !p.deps.Clock().Before(token.ExpiresAt) || len(p.ledger.Families[token.FamilyID].VehicleIDs) == 0 {
			p.mu.Unlock()
			unauthenticated().writeV2(response)
			return
		}
		userID = p.ledger.Families[token.FamilyID].UserID
		p.mu.Unlock()
	}
	ended := p.disconnect(func(found *connection) bool {
		return found.VehicleID == vehicleID && (userID == "" || found.UserID == userID)
	})
	if len(ended) == 0 {
		notFound("", "The vehicle is not connected.").writeV2(response)
		return
	}
	writeJSON(response, http.StatusOK, map[string]string{"status": "success"})
}

func (p *Platform) disconnect(wanted func(*connection) bool) []connection {
	var ended []connection
	p.end(func() {
		ended = p.ledger.selectConnections(wanted)
		for i := range ended {
			p.ledger.disconnect(&ended[i])
		}
	})
	return ended
}

// authenticateManagement takes HTTP Basic with the user "default" and the application management token.
func (p *Platform) authenticateManagement(request *http.Request) *refusal {
	user, token, _ := request.BasicAuth()
	if user != "default" || !p.isManagementToken(token) {
		return unauthenticated()
	}
	return nil
}

func selectsV2(request *http.Request) func(*connection) bool {
	query := request.URL.Query()
	return func(found *connection) bool {
		return matches(query.Get("user_id"), found.UserID) && matches(query.Get("vehicle_id"), found.VehicleID) &&
			matches(query.Get("mode"), found.Mode)
	}
}

func matches(wanted, value string) bool { return wanted == "" || wanted == value }

// serveConnectionsV2 pages by a cursor. Source: Smartcar, "management v2".
func (p *Platform) serveConnectionsV2(response http.ResponseWriter, request *http.Request) {
	if refused := p.authenticateManagement(request); refused != nil {
		refused.writeV2(response)
		return
	}
	query := request.URL.Query()
	limit, okLimit := numberOf(query, "limit", pageSizeV2)
	after, okCursor := numberOf(query, "cursor", 0)
	if !okLimit || !okCursor || limit < 1 || limit > maxPageSizeManagement {
		invalidParameter("limit is 1 to 100, cursor one that was sent.").writeV2(response)
		return
	}
	isWanted := selectsV2(request)
	p.mu.Lock()
	found := p.ledger.selectConnections(func(one *connection) bool { return one.Number > after && isWanted(one) })
	p.mu.Unlock()
	var cursor any
	if len(found) > limit {
		found = found[:limit]
		cursor = strconv.Itoa(found[limit-1].Number)
	}
	type element struct {
		VehicleID   string `json:"vehicleId"`
		UserID      string `json:"userId"`
		ConnectedAt string `json:"connectedAt"`
		Mode        string `json:"mode"`
	}
	elements := make([]element, 0, len(found))
	for _, one := range found {
		elements = append(elements, element{one.VehicleID, one.UserID, iso(one.CreatedAt), one.Mode})
	}
	writeJSON(response, http.StatusOK, map[string]any{"connections": elements, "paging": map[string]any{"cursor": cursor}})
}

func (p *Platform) serveDeleteConnectionsV2(response http.ResponseWriter, request *http.Request) {
	if refused := p.authenticateManagement(request); refused != nil {
		refused.writeV2(response)
		return
	}
	query := request.URL.Query()
	if (query.Get("user_id") == "") == (query.Get("vehicle_id") == "") {
		invalidParameter("Either user_id or vehicle_id is required.").writeV2(response)
		return
	}
	type element struct {
		VehicleID string `json:"vehicleId"`
		UserID    string `json:"userId"`
	}
	elements := make([]element, 0)
	for _, ended := range p.disconnect(selectsV2(request)) {
		elements = append(elements, element{ended.VehicleID, ended.UserID})
	}
	writeJSON(response, http.StatusOK, map[string]any{"connections": slices.Clip(elements)})
}
