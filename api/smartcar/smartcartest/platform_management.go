package smartcartest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

const (
	pageSizeV3       = 50
	pageSizeWebhooks = 25
	maxPageSizeV3    = 100
)

func (p *Platform) serveConnections(response http.ResponseWriter, request *http.Request) *refusal {
	query := request.URL.Query()
	p.mu.Lock()
	found := p.ledger.selectConnections(func(one *connection) bool {
		return matches(query.Get("filter[userId]"), one.UserID) && matches(query.Get("filter[vehicleId]"), one.VehicleID) &&
			matches(query.Get("filter[vehicle.mode]"), one.Mode) && matches(query.Get("filter[user.externalId]"), one.ExternalID)
	})
	p.mu.Unlock()
	return writePageV3(response, query, pageSizeV3, found, func(one connection) any { return p.connectionResource(request, one) })
}

func (p *Platform) serveConnection(response http.ResponseWriter, request *http.Request) *refusal {
	p.mu.Lock()
	found, ok := p.ledger.Connections[request.PathValue("id")]
	var one connection
	if ok {
		one = *found
	}
	p.mu.Unlock()
	if !ok {
		return notFound("", "There is no such connection.")
	}
	writeDataV3(response, p.connectionResource(request, one))
	return nil
}

func (p *Platform) serveDeleteConnection(response http.ResponseWriter, request *http.Request) *refusal {
	id := request.PathValue("id")
	if len(p.disconnect(func(one *connection) bool { return one.ID == id })) == 0 {
		return notFound("", "There is no such connection.")
	}
	response.WriteHeader(http.StatusNoContent)
	return nil
}

// serveDeleteUser ends all connections of a user, who can connect again.
func (p *Platform) serveDeleteUser(response http.ResponseWriter, request *http.Request) *refusal {
	id := request.PathValue("id")
	if len(p.disconnect(func(one *connection) bool { return one.UserID == id })) == 0 {
		return notFound("", "There is no such user.")
	}
	response.WriteHeader(http.StatusNoContent)
	return nil
}

// connectionResource is an element of the list of connections. Source: Smartcar, "management host".
func (p *Platform) connectionResource(request *http.Request, one connection) any {
	type user struct {
		ID         string `json:"id"`
		ExternalID string `json:"externalId,omitempty"`
	}
	type attributes struct {
		Permissions []string          `json:"permissions"`
		Vehicle     vehicleAttributes `json:"vehicle"`
		User        user              `json:"user"`
	}
	type element struct {
		resource

		Relationships map[string]any `json:"relationships"`
	}
	related := func(id, kind string) any {
		return map[string]any{"data": map[string]string{"id": id, "type": kind}}
	}
	car, _ := p.car(one.VehicleID)
	return element{
		resource: resource{
			ID: one.ID, Type: "connection",
			Attributes: attributes{one.Permissions, attributesOf(car, one.Mode), user{one.UserID, one.ExternalID}},
			Meta:       map[string]string{"createdAt": iso(one.CreatedAt), "updatedAt": iso(one.UpdatedAt)},
			Links:      selfLink(request, "/v3/connections/"+one.ID),
		},
		Relationships: map[string]any{"vehicle": related(one.VehicleID, "vehicle"), "user": related(one.UserID, "user")},
	}
}

func writePageV3[T any](response http.ResponseWriter, query url.Values, usual int, all []T, element func(T) any) *refusal {
	number, okNumber := numberOf(query, "page[number]", 1)
	size, okSize := numberOf(query, "page[size]", usual)
	if !okNumber || !okSize || number < 1 || number > len(all)+1 || size < 1 || size > maxPageSizeV3 {
		return invalidParameter("page[number] is 1 to the last, page[size] 1 to 100.")
	}
	first := min((number-1)*size, len(all))
	elements := make([]any, 0, size)
	for _, one := range all[first:min(first+size, len(all))] {
		elements = append(elements, element(one))
	}
	writeJSON(response, http.StatusOK, map[string]any{
		"data": elements, "meta": map[string]int{"pageNumber": number, "pageSize": size, "totalCount": len(all)},
	})
	return nil
}

func (p *Platform) webhooks() []string {
	if len(p.deps.WebhookIDs) == 0 {
		return []string{webhookID}
	}
	return p.deps.WebhookIDs
}

func webhookResource(request *http.Request, id string) any {
	return resource{
		ID: id, Type: "webhook", Attributes: map[string]string{"name": webhookName}, Links: selfLink(request, "/v3/webhooks/"+id),
	}
}

func (p *Platform) serveWebhooks(response http.ResponseWriter, request *http.Request) *refusal {
	return writePageV3(response, request.URL.Query(), pageSizeWebhooks, p.webhooks(), func(id string) any {
		return webhookResource(request, id)
	})
}

func (p *Platform) serveWebhook(response http.ResponseWriter, request *http.Request) *refusal {
	id := request.PathValue("id")
	if !slices.Contains(p.webhooks(), id) {
		return notFound("", "There is no such webhook.")
	}
	writeDataV3(response, webhookResource(request, id))
	return nil
}

type subscriptionAttributes struct {
	WebhookID string `json:"webhookId"`
	UserID    string `json:"userId"`
	VehicleID string `json:"vehicleId"`
}

func subscriptionResource(request *http.Request, made subscription) any {
	return resource{
		ID: made.ID, Type: "subscription", Attributes: subscriptionAttributes{made.WebhookID, made.UserID, made.VehicleID},
		Meta: map[string]string{"createdAt": iso(made.CreatedAt)}, Links: selfLink(request, "/v3/subscriptions/"+made.ID),
	}
}

func (p *Platform) serveSubscriptions(response http.ResponseWriter, request *http.Request) *refusal {
	query := request.URL.Query()
	p.mu.Lock()
	found := selected(p.ledger.Subscriptions, func(made *subscription) bool {
		return matches(query.Get("filter[userId]"), made.UserID) && matches(query.Get("filter[vehicleId]"), made.VehicleID) &&
			matches(query.Get("filter[webhookId]"), made.WebhookID)
	}, func(made *subscription) int { return made.Number })
	p.mu.Unlock()
	return writePageV3(response, query, pageSizeV3, found, func(made subscription) any { return subscriptionResource(request, made) })
}

func (p *Platform) serveSubscription(response http.ResponseWriter, request *http.Request) *refusal {
	p.mu.Lock()
	found, ok := p.ledger.Subscriptions[request.PathValue("id")]
	var made subscription
	if ok {
		made = *found
	}
	p.mu.Unlock()
	if !ok {
		return notFound("", "There is no such subscription.")
	}
	writeDataV3(response, subscriptionResource(request, made))
	return nil
}

func (p *Platform) serveSubscribe(response http.ResponseWriter, request *http.Request) *refusal {
	var body struct {
		Data struct {
			Attributes subscriptionAttributes `json:"attributes"`
		} `json:"data"`
	}
	asked := &body.Data.Attributes
	if json.NewDecoder(request.Body).Decode(&body) != nil || asked.UserID == "" || asked.VehicleID == "" || asked.WebhookID == "" {
		return invalidParameter(`The body is {"data":{"attributes":{"webhookId","userId","vehicleId"}}}.`)
	}
	p.mu.Lock()
	isConnected := p.ledger.connectionOf(asked.UserID, asked.VehicleID) != nil
	p.mu.Unlock()
	if !isConnected || !p.isWebhook(asked.WebhookID) {
		return notFound("", "There is no such webhook, or no such vehicle of this user.")
	}
	if !p.subscribe(subscription{WebhookID: asked.WebhookID, UserID: asked.UserID, VehicleID: asked.VehicleID}) {
		return &refusal{status: http.StatusConflict, kind: "CONFLICT", description: "The subscription exists."}
	}
	writeJSON(response, http.StatusAccepted, map[string]any{
		"meta": map[string]string{"message": "subscription creation in progress"},
	})
	return nil
}

func (p *Platform) serveUnsubscribe(response http.ResponseWriter, request *http.Request) *refusal {
	id := request.PathValue("id")
	var ok bool
	p.end(func() {
		_, ok = p.ledger.Subscriptions[id]
		delete(p.ledger.Subscriptions, id)
	})
	if !ok {
		return notFound("", "There is no such subscription.")
	}
	response.WriteHeader(http.StatusNoContent)
	return nil
}
