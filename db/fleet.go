package db

import (
	"context"
	"errors"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// ErrOtherOwner says that the connection is in use by another user of the application.
var ErrOtherOwner = errors.New("connected by another user already")

// ConnectedVehicle is a vehicle that an application user has connected through Smartcar.
type ConnectedVehicle struct {
	SmartcarVehicleID string
	SmartcarUserID    string
	// OwnerID is the owner's row; when it is 0 the owner is found, or made, by OwnerEmail.
	OwnerID    int64
	OwnerEmail string
	OwnerName  string
	Make       string
	Model      string
	Year       int32
	// VIN tells that a new Smartcar id is a car of this owner that is known already; "" when not known.
	VIN         string
	Permissions []string
	API         string // APIv2 or APIv3; "" means APIv2
	TokenID     int64  // 0 leaves the tokens as they are
	ConsentID   string // "" for none
}

// vehicleConnected is the audit action and reason of events that waited for their vehicle.
const (
	vehicleConnectedAction = "retry: vehicle connected"
	systemActor            = "milepost"
)

// ConnectVehicle stores an owner and an active vehicle, or brings the one that is
// there up to date, in one transaction with all that follows: the events that failed
// for want of the vehicle are received again, the errors that needed the owner have
// ended, the application's notice is written, and the workflow that keeps its tokens is
// asked for. ErrOtherOwner when somebody else's connection is in use.
func (s *Store) ConnectVehicle(ctx context.Context, vehicle ConnectedVehicle) (vehicleID int64, err error) {
	if vehicle.API == "" {
		vehicle.API = APIv2
	}
	err = s.inTransaction(ctx, "connect vehicle", func(queries *dbsqlc.Queries) error {
		connecting := &connecting{queries: queries, vehicle: vehicle}
		vehicleID, err = connecting.run(ctx)
		return err
	})
	return vehicleID, err
}

// Owner gives an owner's id, and stores one who is new.
func (s *Store) Owner(ctx context.Context, email, name string) (int64, error) {
	owner, err := s.queries.UpsertUser(ctx, dbsqlc.UpsertUserParams{Email: email, Name: name})
	return owner.ID, translate("store owner", err)
}

type connecting struct {
	queries *dbsqlc.Queries
	vehicle ConnectedVehicle
	known   bool
	found   dbsqlc.FindConnectionRow
}

func (c *connecting) run(ctx context.Context) (int64, error) {
	if err := c.lockOwner(ctx); err != nil {
		return 0, err
	}
	vehicleID, err := c.findVehicle(ctx)
	if err != nil {
		return 0, err
	}
	vehicle := c.vehicle
	described, err := c.queries.DescribeVehicle(ctx, dbsqlc.DescribeVehicleParams{
		ID: vehicleID, SmartcarUserID: vehicle.SmartcarUserID, Make: vehicle.Make, Model: vehicle.Model,
		Year: vehicle.Year, Vin: vehicle.VIN,
	})
	if err != nil {
		return 0, translate("describe vehicle", err)
	}
	if described == 0 {
		return 0, &Error{Operation: "describe vehicle", Kind: ErrConflict} // merged since it was found
	}
	if err := c.storeConnection(ctx, vehicleID); err != nil {
		return 0, err
	}
	if err := endErrorsForOwner(ctx, c.queries, vehicle.SmartcarVehicleID); err != nil {
		return 0, err
	}
	if err := requeueForVehicle(ctx, c.queries, vehicle.SmartcarVehicleID); err != nil {
		return 0, err
	}
	if err := c.tell(ctx); err != nil {
		return 0, err
	}
	if vehicle.TokenID == 0 && c.found.TokenID == nil {
		return vehicleID, nil
	}
	return vehicleID, requestWorkflow(ctx, c.queries, WorkflowRequest{
		Kind: RequestTokenRefresh, Subject: vehicle.SmartcarVehicleID, Signal: SignalReconnected,
	})
}

func (c *connecting) lockOwner(ctx context.Context) error {
	if c.vehicle.OwnerID != 0 {
		_, err := c.queries.LockUser(ctx, c.vehicle.OwnerID)
		return translate("lock owner", err)
	}
	owner, err := c.queries.UpsertUser(ctx, dbsqlc.UpsertUserParams{Email: c.vehicle.OwnerEmail, Name: c.vehicle.OwnerName})
	c.vehicle.OwnerID = owner.ID
	return translate("store owner", err)
}

// findVehicle gives the vehicle that the connection belongs to: the one it had, the
// owner's vehicle with the same VIN, or a new one.
func (c *connecting) findVehicle(ctx context.Context) (int64, error) {
	var err error
	c.found, err = c.queries.FindConnection(ctx, c.vehicle.SmartcarVehicleID)
	translated := translate("find connection", err)
	if translated != nil && !errors.Is(translated, ErrNotFound) {
		return 0, translated
	}
	c.known = translated == nil
	switch {
	case c.known && c.found.YourAppUserID == c.vehicle.OwnerID:
		return c.found.VehicleID, nil
	case c.known && c.found.IsActive:
		return 0, &callerError{err: ErrOtherOwner}
	}
	// A car that changed hands gets a history of its own: the old owner's stays with the old owner.
	if c.vehicle.VIN != "" {
		id, err := c.queries.FindVehicleByVIN(ctx, dbsqlc.FindVehicleByVINParams{YourAppUserID: c.vehicle.OwnerID, Vin: c.vehicle.VIN})
		translated := translate("find vehicle by VIN", err)
		if translated == nil || !errors.Is(translated, ErrNotFound) {
			return id, translated
		}
	}
	id, err := c.queries.InsertVehicle(ctx, dbsqlc.InsertVehicleParams{
		YourAppUserID: c.vehicle.OwnerID, SmartcarUserID: c.vehicle.SmartcarUserID,
		Make: c.vehicle.Make, Model: c.vehicle.Model, Year: c.vehicle.Year, Vin: c.vehicle.VIN,
	})
	return id, translate("store vehicle", err)
}

func (c *connecting) storeConnection(ctx context.Context, vehicleID int64) error {
	vehicle := c.vehicle
	params := dbsqlc.StoreConnectionParams{
		SmartcarVehicleID: vehicle.SmartcarVehicleID, VehicleID: vehicleID, SmartcarUserID: vehicle.SmartcarUserID,
		Api: vehicle.API, Permissions: append([]string{}, vehicle.Permissions...),
		ConsentID: vehicle.ConsentID,
	}
	if c.known && c.found.YourAppUserID == vehicle.OwnerID {
		params.TokenID = c.found.TokenID // another owner's are of no use
	}
	if vehicle.TokenID != 0 {
		params.TokenID = &vehicle.TokenID
		err := c.queries.NameTokenFamily(ctx, dbsqlc.NameTokenFamilyParams{
			ID: vehicle.TokenID, SmartcarVehicleID: vehicle.SmartcarVehicleID, SmartcarUserID: vehicle.SmartcarUserID,
		})
		if err != nil {
			return translate("name token family", err)
		}
	}
	stored, err := c.queries.StoreConnection(ctx, params)
	if err != nil {
		return translate("store connection", err)
	}
	if stored == 0 {
		return &Error{Operation: "store connection", Kind: ErrConflict}
	}
	if vehicle.ConsentID != "" {
		err := c.queries.NoteConnectedVehicle(ctx, dbsqlc.NoteConnectedVehicleParams{
			ID: vehicle.ConsentID, SmartcarVehicleID: vehicle.SmartcarVehicleID,
		})
		if err != nil {
			return translate("note connected vehicle", err)
		}
	}
	if c.known && c.found.TokenID != nil && (params.TokenID == nil || *c.found.TokenID != *params.TokenID) {
		return translate("delete unused tokens", c.queries.DeleteUnusedTokens(ctx, *c.found.TokenID))
	}
	return nil
}

// tell writes the notice of what changed: nothing, when the vehicle was connected all along.
func (c *connecting) tell(ctx context.Context) error {
	vehicles := []string{c.vehicle.SmartcarVehicleID}
	switch {
	case !c.known || !c.found.IsActive:
		return writeNotices(ctx, c.queries, NoticeConnected, "", time.Now(), vehicles)
	case c.found.ConnectionState == StateReauthRequired:
		return writeNotices(ctx, c.queries, NoticeReauthResolved, "", time.Now(), vehicles)
	default:
		return nil
	}
}

// requeueForVehicle retries what failed because the vehicle was unknown or inactive.
func requeueForVehicle(ctx context.Context, queries *dbsqlc.Queries, smartcarVehicleID string) error {
	eventIDs, err := queries.RequeueEventsOfVehicle(ctx, smartcarVehicleID)
	if err != nil {
		return translate("requeue events of vehicle", err)
	}
	for _, eventID := range eventIDs {
		err := queries.InsertEventAudit(ctx, dbsqlc.InsertEventAuditParams{
			EventID: eventID, Action: vehicleConnectedAction, Actor: systemActor,
		})
		if err != nil {
			return translate("write audit", err)
		}
	}
	return nil
}

// RequeueConnected retries up to limit events that failed because their vehicle was
// unknown or inactive, and whose vehicle is connected all the same, and says how many:
// they failed while it was being connected.
func (s *Store) RequeueConnected(ctx context.Context, limit int32) (requeued int, err error) {
	count, err := s.queries.RequeueEventsOfConnectedVehicles(ctx, dbsqlc.RequeueEventsOfConnectedVehiclesParams{
		Action: vehicleConnectedAction, Actor: systemActor, MaxEvents: limit,
	})
	return int(count), translate("requeue events of connected vehicles", err)
}

// VehicleSubscribed notes the webhook that a vehicle is subscribed to.
func (s *Store) VehicleSubscribed(ctx context.Context, smartcarVehicleID, webhookID string) error {
	return translate("note subscription", s.queries.NoteSubscription(ctx, dbsqlc.NoteSubscriptionParams{
		SmartcarVehicleID: smartcarVehicleID, WebhookID: webhookID,
	}))
}

// ResolveReauthentication ends a vehicle's wait for its owner, and says so to the
// application; one that does not wait is not told of. Either way the errors that
// needed the owner have ended.
func (s *Store) ResolveReauthentication(ctx context.Context, smartcarVehicleID string) error {
	return s.inTransaction(ctx, "resolve re-authentication", func(queries *dbsqlc.Queries) error {
		noted, err := queries.NoteReauthentication(ctx, smartcarVehicleID)
		if err != nil || noted == 0 {
			return translate("resolve re-authentication", err)
		}
		if err := endErrorsForOwner(ctx, queries, smartcarVehicleID); err != nil {
			return err
		}
		changed, err := queries.ResolveReauthenticationOfVehicle(ctx, smartcarVehicleID)
		if err != nil || changed == 0 {
			return translate("resolve re-authentication", err)
		}
		err = writeNotices(ctx, queries, NoticeReauthResolved, "", time.Now(), []string{smartcarVehicleID})
		if err != nil {
			return err
		}
		return requestWorkflow(ctx, queries, WorkflowRequest{
			Kind: RequestTokenRefresh, Subject: smartcarVehicleID, Signal: SignalReconnected,
		})
	})
}

// DisconnectVehicle makes a connection inactive at once, and asks its workflow to
// tell Smartcar. ErrNotFound when there is no active one.
func (s *Store) DisconnectVehicle(ctx context.Context, smartcarVehicleID string) error {
	return s.inTransaction(ctx, "disconnect vehicle", func(queries *dbsqlc.Queries) error {
		changed, err := queries.BeginDisconnect(ctx, smartcarVehicleID)
		if err == nil && changed == 0 {
			return &Error{Operation: "disconnect vehicle", Kind: ErrNotFound}
		}
		if err != nil {
			return translate("disconnect vehicle", err)
		}
		err = writeNotices(ctx, queries, NoticeDisconnected, "", time.Now(), []string{smartcarVehicleID})
		if err != nil {
			return err
		}
		return requestWorkflow(ctx, queries, WorkflowRequest{
			Kind: RequestTokenRefresh, Subject: smartcarVehicleID, Signal: SignalDisconnect,
		})
	})
}

// DisconnectEnded notes that Smartcar has been told, and forgets the tokens unless
// another vehicle needs them.
func (s *Store) DisconnectEnded(ctx context.Context, smartcarVehicleID string, tokenID int64) error {
	return s.inTransaction(ctx, "end disconnection", func(queries *dbsqlc.Queries) error {
		if _, err := queries.EndDisconnect(ctx, smartcarVehicleID); err != nil {
			return translate("end disconnection", err)
		}
		return translate("delete unused tokens", queries.DeleteUnusedTokens(ctx, tokenID))
	})
}
