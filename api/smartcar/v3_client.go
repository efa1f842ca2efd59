package smartcar

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	pageSizeV3   = 100
	headerUserID = "Sc-User-Id"
)

// V3Client calls REST v3 and its management API, in which a credential holds the application token and the user. Every error
// of its methods is a *CallError. It is for use by many goroutines at once.
// Source: Smartcar, "REST API v3", "management host".
type V3Client struct {
	client              client
	vehicle, management string
}

// NewV3Client checks the configuration.
func NewV3Client(config ClientConfig) (*V3Client, error) {
	hosts, err := config.Hosts.resolve()
	if err != nil {
		return nil, err
	}
	return &V3Client{
		client: newClient(config.HTTP, restTimeout), vehicle: hosts.Vehicle + "/v3", management: hosts.Management + "/v3",
	}, nil
}

// Vehicles lists the vehicles that the credential's user has connected, each once. Without a user it is
// ErrInvalidRequest, since Smartcar would list those of everyone.
func (c *V3Client) Vehicles(ctx context.Context, credential Credential) ([]VehicleRef, error) {
	const operation = "list vehicles"
	if credential.UserID == "" {
		return nil, refused(operation, "no user id")
	}
	connections, err := c.connections(ctx, operation, credential, "")
	if err != nil {
		return nil, err
	}
	refs := make([]VehicleRef, 0, len(connections))
	seen := make(map[string]bool)
	for _, found := range connections {
		if !seen[found.ref.ID] {
			seen[found.ref.ID] = true
			refs = append(refs, found.ref)
		}
	}
	return refs, nil
}

// FindVehicle looks up the connection of a vehicle, of the credential's user or, without one, of anybody; of several the
// one updated last. It returns ErrNotFound when there is none, as for a vehicle that only v2 knows.
func (c *V3Client) FindVehicle(ctx context.Context, credential Credential, vehicleID string) (VehicleRef, error) {
	found, err := c.find(ctx, "find vehicle", credential, vehicleID)
	return found.ref, err
}

// Vehicle describes a vehicle by its connection, and by its VIN where the owner lets it be read and Smartcar has it. It
// returns ErrNotFound when there is no connection.
func (c *V3Client) Vehicle(ctx context.Context, credential Credential, id string) (Vehicle, error) {
	found, err := c.find(ctx, "read vehicle", credential, id)
	if err != nil {
		return Vehicle{}, err
	}
	vehicle := Vehicle{ID: id, UserID: found.ref.UserID, ExternalID: found.ref.ExternalID}
	vehicle.Make, vehicle.Model, vehicle.Year = describe(member(found.attributes, "vehicle"))
	vehicle.Permissions = readPermissions(member(found.attributes, "permissions"))
	if vehicle.UserID == "" {
		return vehicle, nil // Signals are asked for in a user's name.
	}
	received, err := c.client.authorized(ctx, credential.AccessToken, call{
		operation: "read VIN", method: http.MethodGet, url: c.vehicle + "/vehicles/" + url.PathEscape(id) + "/signals/" + codeVIN,
		header: http.Header{headerUserID: {vehicle.UserID}},
	})
	if err != nil && !isWithheld(err) {
		return Vehicle{}, err
	}
	vehicle.VIN = vinOfSignal(received.object)
	return vehicle, nil
}

// vinOfSignal reads {"data":{…}} as captured in 2026, and the bare element of the documents of 2025.
func vinOfSignal(element json.RawMessage) string {
	if data := member(element, "data"); kindOf(data) == kindObject {
		element = data
	}
	if attributes := member(element, "attributes"); kindOf(attributes) == kindObject {
		element = attributes
	}
	signal := readSignal(element)
	if signal.Failure != nil {
		return "" // The body beside a failure is an older one.
	}
	return readVIN(signal.Value)
}

// Subscribe has the vehicle's events sent to a webhook. One that is subscribed stays so. Smartcar does it after answering.
func (c *V3Client) Subscribe(ctx context.Context, credential Credential, vehicleID, webhookID string) error {
	const operation = "subscribe vehicle"
	if !isSegment(vehicleID) || !isSegment(webhookID) || !isSegment(credential.UserID) {
		return refused(operation, "the user, vehicle or webhook id")
	}
	type attributes struct {
		WebhookID string `json:"webhookId"`
		UserID    string `json:"userId"`
		VehicleID string `json:"vehicleId"`
	}
	body, err := json.Marshal(map[string]any{"data": map[string]any{
		"attributes": attributes{WebhookID: webhookID, UserID: credential.UserID, VehicleID: vehicleID},
	}})
	if err != nil {
		return refused(operation, "the ids")
	}
	_, err = c.client.authorized(ctx, credential.AccessToken, call{
		operation: operation, method: http.MethodPost, url: c.management + "/subscriptions", body: body,
	})
	return unlessDone(err, ErrConflict)
}

// Disconnect ends every connection of the vehicle, of the credential's user or, without one, of anybody. A vehicle without
// a connection is disconnected.
func (c *V3Client) Disconnect(ctx context.Context, credential Credential, vehicleID string) error {
	const operation = "disconnect vehicle"
	if !isSegment(vehicleID) {
		return refused(operation, "the vehicle id")
	}
	connections, err := c.connections(ctx, operation, credential, vehicleID)
	if err != nil {
		return unlessDone(err, ErrNotFound)
	}
	for _, found := range connections {
		_, err := c.client.authorized(ctx, credential.AccessToken, call{
			operation: operation, method: http.MethodDelete, url: c.management + "/connections/" + url.PathEscape(found.id),
		})
		if err := unlessDone(err, ErrNotFound); err != nil {
			return err
		}
	}
	return nil
}

func (c *V3Client) find(ctx context.Context, operation string, credential Credential, vehicleID string) (connection, error) {
	if !isSegment(vehicleID) {
		return connection{}, refused(operation, "the vehicle id")
	}
	connections, err := c.connections(ctx, operation, credential, vehicleID)
	if err != nil {
		return connection{}, err
	}
	if len(connections) == 0 {
		return connection{}, &CallError{Operation: operation + ": no connection", Kind: ErrNotFound}
	}
	latest := connections[0]
	for _, found := range connections[1:] {
		if found.ref.UpdatedAt.After(latest.ref.UpdatedAt) {
			latest = found
		}
	}
	return latest, nil
}

// connection is an element of /connections.
type connection struct {
	id         string
	ref        VehicleRef
	attributes json.RawMessage
}

// connections lists those of the credential's user and of the vehicle, either of which may be "". What does not match is
// left out even if Smartcar should send it: a filter that was ignored must not give away, or end, a stranger's connection.
func (c *V3Client) connections(ctx context.Context, operation string, credential Credential, vehicleID string) ([]connection, error) {
	id := func(found connection) string { return found.id }
	all, err := collect(ctx, operation, pageSizeV3, id, func(ctx context.Context, number, _ int) (page[connection], error) {
		query := url.Values{"page[number]": {strconv.Itoa(number)}, "page[size]": {strconv.Itoa(pageSizeV3)}}
		if credential.UserID != "" {
			query.Set("filter[userId]", credential.UserID)
		}
		if vehicleID != "" {
			query.Set("filter[vehicleId]", vehicleID)
		}
		received, err := c.client.authorized(ctx, credential.AccessToken, call{
			operation: operation, method: http.MethodGet, url: c.management + "/connections?" + query.Encode(),
		})
		if err != nil {
			return page[connection]{}, err
		}
		listed := member(received.object, "data")
		if kindOf(listed) != kindArray {
			return page[connection]{}, received.unusable(operation)
		}
		part := page[connection]{total: total(member(member(received.object, "meta"), "totalCount"))}
		for element := range elements(listed) {
			part.sent++
			if found := readConnection(element); found.id != "" && found.ref.ID != "" {
				part.items = append(part.items, found)
			}
		}
		return part, nil
	})
	return slices.DeleteFunc(all, func(found connection) bool {
		return !matches(found.ref.UserID, credential.UserID) || !matches(found.ref.ID, vehicleID)
	}), err
}

func matches(id, wanted string) bool { return wanted == "" || strings.EqualFold(id, wanted) }

func readConnection(raw json.RawMessage) connection {
	attributes, related, meta := member(raw, "attributes"), member(raw, "relationships"), member(raw, "meta")
	user := member(attributes, "user")
	found := connection{id: opaqueID(member(raw, "id")), attributes: attributes, ref: VehicleRef{
		ID:         opaqueID(relatedID(related, "vehicle")),
		UserID:     opaqueID(relatedID(related, "user")),
		ExternalID: externalID(member(user, "externalId")),
		CreatedAt:  timestamp(member(meta, "createdAt")),
		UpdatedAt:  timestamp(member(meta, "updatedAt")),
	}}
	if found.ref.UserID == "" {
		found.ref.UserID = opaqueID(member(user, "id"))
	}
	if found.ref.ID == "" {
		found.ref.ID = opaqueID(member(member(attributes, "vehicle"), "id"))
	}
	return found
}

func externalID(raw json.RawMessage) string {
	if id := text(raw); isPrintable(id, maxExternalLength) {
		return id
	}
	return ""
}

func relatedID(relationships json.RawMessage, name string) json.RawMessage {
	return member(member(member(relationships, name), "data"), "id")
}
