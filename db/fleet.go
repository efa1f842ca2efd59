package db

import (
	"context"
	"errors"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// ConnectedVehicle is a vehicle that an application user has connected through Smartcar.
type ConnectedVehicle struct {
	SmartcarVehicleID string
	SmartcarUserID    string
	OwnerEmail        string
	OwnerName         string
	Make              string
	Model             string
	Year              int32
}

// vehicleConnected is the audit action and reason of events that waited for their vehicle.
const (
	vehicleConnectedAction = "retry: vehicle connected"
	systemActor            = "milepost"
)

// ConnectVehicle stores an owner and an active vehicle, or activates the one that
// is there, and sets the events that failed for want of it back to received.
func (s *Store) ConnectVehicle(ctx context.Context, vehicle ConnectedVehicle) (vehicleID int64, err error) {
	err = s.inTransaction(ctx, "connect vehicle", func(queries *dbsqlc.Queries) error {
		vehicleID, err = upsertConnection(ctx, queries, vehicle)
		if err != nil {
			return err
		}
		return requeueForVehicle(ctx, queries, vehicle.SmartcarVehicleID)
	})
	return vehicleID, err
}

// DisconnectVehicle makes a connection inactive. ErrNotFound when there is no active one.
func (s *Store) DisconnectVehicle(ctx context.Context, smartcarVehicleID string) error {
	changed, err := s.queries.DeactivateConnection(ctx, smartcarVehicleID)
	if err == nil && changed == 0 {
		return &Error{Operation: "disconnect vehicle", Kind: ErrNotFound}
	}
	return translate("disconnect vehicle", err)
}

func upsertConnection(ctx context.Context, queries *dbsqlc.Queries, vehicle ConnectedVehicle) (int64, error) {
	userID, err := queries.UpsertUser(ctx, dbsqlc.UpsertUserParams{Email: vehicle.OwnerEmail, Name: vehicle.OwnerName})
	if err != nil {
		return 0, translate("store owner", err)
	}
	connection, err := queries.FindConnection(ctx, vehicle.SmartcarVehicleID)
	if err == nil {
		return connection.VehicleID, translate("activate vehicle", queries.ActivateConnection(ctx, vehicle.SmartcarVehicleID))
	}
	if translated := translate("find vehicle", err); !errors.Is(translated, ErrNotFound) {
		return 0, translated
	}
	vehicleID, err := queries.InsertVehicle(ctx, dbsqlc.InsertVehicleParams{
		YourAppUserID: userID, SmartcarUserID: vehicle.SmartcarUserID,
		Make: vehicle.Make, Model: vehicle.Model, Year: vehicle.Year,
	})
	if err != nil {
		return 0, translate("store vehicle", err)
	}
	return vehicleID, translate("store connection", queries.InsertConnection(ctx, dbsqlc.InsertConnectionParams{
		SmartcarVehicleID: vehicle.SmartcarVehicleID, VehicleID: vehicleID,
	}))
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
