package smartcar

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

const (
	pageSizeV2        = 50
	permissionReadVIN = "read_vin"
)

// V2Client calls REST v2, in which a credential holds the user's access token. Every error of its methods is a
// *CallError. It is for use by many goroutines at once. Source: Smartcar, "REST API v2".
type V2Client struct {
	client client
	base   string
}

// NewV2Client checks the configuration.
func NewV2Client(config ClientConfig) (*V2Client, error) {
	hosts, err := config.Hosts.resolve()
	if err != nil {
		return nil, err
	}
	return &V2Client{client: newClient(config.HTTP, restTimeout), base: hosts.API + "/v2.0"}, nil
}

// User returns the id of the Smartcar user to whom the token belongs.
func (c *V2Client) User(ctx context.Context, credential Credential) (string, error) {
	received, err := c.get(ctx, "read user", credential, "/user")
	if err != nil {
		return "", err
	}
	id := opaqueID(member(received.object, "id"))
	if id == "" {
		return "", received.unusable("read user")
	}
	return id, nil
}

// Vehicles lists the vehicles that the owner has connected with this consent, each once.
func (c *V2Client) Vehicles(ctx context.Context, credential Credential) ([]VehicleRef, error) {
	ids, err := c.list(ctx, "list vehicles", credential, "/vehicles", "vehicles", opaqueID)
	if err != nil {
		return nil, err
	}
	refs := make([]VehicleRef, 0, len(ids))
	for _, id := range ids {
		refs = append(refs, VehicleRef{ID: id, UserID: credential.UserID})
	}
	return refs, nil
}

// Vehicle describes a vehicle in two requests, or three when its VIN may be read. Permissions and VIN are left empty when
// the owner has not granted them or the vehicle does not tell.
func (c *V2Client) Vehicle(ctx context.Context, credential Credential, id string) (Vehicle, error) {
	const operation = "read vehicle"
	if !isSegment(id) {
		return Vehicle{}, refused(operation, "the vehicle id")
	}
	path := "/vehicles/" + url.PathEscape(id)
	received, err := c.get(ctx, operation, credential, path)
	if err != nil {
		return Vehicle{}, err
	}
	if received.object == nil {
		return Vehicle{}, received.unusable(operation)
	}
	vehicle := Vehicle{ID: id, UserID: credential.UserID}
	vehicle.Make, vehicle.Model, vehicle.Year = describe(received.object)

	vehicle.Permissions, err = c.list(ctx, "read permissions", credential, path+"/permissions", "permissions", opaqueID)
	if err != nil && !isWithheld(err) {
		return Vehicle{}, err
	}
	if !slices.Contains(vehicle.Permissions, permissionReadVIN) {
		return vehicle, nil
	}
	received, err = c.get(ctx, "read VIN", credential, path+"/vin")
	if err != nil && !isWithheld(err) {
		return Vehicle{}, err
	}
	vehicle.VIN = readVIN(member(received.object, "vin"))
	return vehicle, nil
}

// isWithheld reports whether an optional part of a vehicle is not to be had. A vehicle that is asleep or out of reach
// must not keep its owner from connecting it.
func isWithheld(err error) bool {
	return errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotCapable) || errors.Is(err, ErrVehicleState)
}

// Subscribe has the vehicle's events sent to a webhook. One that is subscribed stays so.
// Source: Smartcar, "webhook subscription v2".
func (c *V2Client) Subscribe(ctx context.Context, credential Credential, vehicleID, webhookID string) error {
	const operation = "subscribe vehicle"
	if !isSegment(vehicleID) || !isSegment(webhookID) {
		return refused(operation, "the vehicle or webhook id")
	}
	_, err := c.client.authorized(ctx, credential.AccessToken, call{
		operation: operation, method: http.MethodPost,
		url: c.base + "/vehicles/" + url.PathEscape(vehicleID) + "/webhooks/" + url.PathEscape(webhookID),
	})
	return unlessDone(err, ErrConflict)
}

// Disconnect ends the application's connection to the vehicle; a vehicle that is not found is disconnected. The
// credential may hold the application management token in place of the user's.
func (c *V2Client) Disconnect(ctx context.Context, credential Credential, vehicleID string) error {
	const operation = "disconnect vehicle"
	if !isSegment(vehicleID) {
		return refused(operation, "the vehicle id")
	}
	_, err := c.client.authorized(ctx, credential.AccessToken, call{
		operation: operation, method: http.MethodDelete, url: c.base + "/vehicles/" + url.PathEscape(vehicleID) + "/application",
	})
	return unlessDone(err, ErrNotFound)
}

// unlessDone drops an error that says that what was asked for is so already.
func unlessDone(err, done error) error {
	if errors.Is(err, done) {
		return nil
	}
	return err
}

func (c *V2Client) get(ctx context.Context, operation string, credential Credential, path string) (answer, error) {
	return c.client.authorized(ctx, credential.AccessToken, call{operation: operation, method: http.MethodGet, url: c.base + path})
}

// list reads the strings of a paged list; read returns "" for one of no use.
func (c *V2Client) list(
	ctx context.Context, operation string, credential Credential, path, name string, read func([]byte) string,
) ([]string, error) {
	itself := func(item string) string { return item }
	return collect(ctx, operation, pageSizeV2, itself, func(ctx context.Context, _, skip int) (page[string], error) {
		query := url.Values{"limit": {strconv.Itoa(pageSizeV2)}, "offset": {strconv.Itoa(skip)}}
		received, err := c.get(ctx, operation, credential, path+"?"+query.Encode())
		if err != nil {
			return page[string]{}, err
		}
		listed := member(received.object, name)
		if kindOf(listed) != kindArray {
			return page[string]{}, received.unusable(operation)
		}
		part := page[string]{total: total(member(member(received.object, "paging"), "count"))}
		for element := range elements(listed) {
			part.sent++
			if item := read(element); item != "" {
				part.items = append(part.items, item)
			}
		}
		return part, nil
	})
}
