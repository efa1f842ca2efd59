package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// VehicleFilter narrows a listing; empty fields do not narrow.
type VehicleFilter struct {
	Owner             string
	State             string
	SmartcarVehicleID string
	Limit             int32
}

// VehicleSummary is a connection for support staff. Neither a VIN nor a token is in it.
type VehicleSummary struct {
	SmartcarVehicleID string     `json:"smartcarVehicleId"`
	VehicleID         int64      `json:"vehicleId"`
	Owner             string     `json:"owner"`
	Make              string     `json:"make,omitempty"`
	Model             string     `json:"model,omitempty"`
	Year              int32      `json:"year,omitempty"`
	Active            bool       `json:"active"`
	State             string     `json:"state"`
	ReauthSince       *time.Time `json:"reauthSince,omitempty"`
	// Degraded: something is to be done at the maker's end; see ErrorsOfVehicle.
	Degraded            bool       `json:"degraded,omitempty"`
	API                 string     `json:"api"`
	Permissions         []string   `json:"permissions"`
	SubscribedWebhookID string     `json:"subscribedWebhookId,omitempty"`
	TokenStatus         *string    `json:"tokenStatus,omitempty"`
	TokenIssuedAt       *time.Time `json:"tokenIssuedAt,omitempty"`
	TokenExpiresAt      *time.Time `json:"tokenExpiresAt,omitempty"`
	LastError           *string    `json:"lastError,omitempty"`
}

// ListVehicles gives connections in the order of their Smartcar ids.
func (s *Store) ListVehicles(ctx context.Context, filter VehicleFilter) ([]VehicleSummary, error) {
	rows, err := s.queries.ListConnections(ctx, dbsqlc.ListConnectionsParams{
		Owner: filter.Owner, ConnectionState: filter.State,
		SmartcarVehicleID: filter.SmartcarVehicleID, MaxRows: filter.Limit,
	})
	if err != nil {
		return nil, translate("list vehicles", err)
	}
	vehicles := make([]VehicleSummary, len(rows))
	for i, row := range rows {
		vehicles[i] = VehicleSummary{
			SmartcarVehicleID: row.SmartcarVehicleID, VehicleID: row.VehicleID, Owner: row.Owner,
			Make: row.Make, Model: row.Model, Year: row.Year,
			Active: row.IsActive, State: row.ConnectionState, ReauthSince: row.ReauthSince, Degraded: row.Degraded, API: row.Api,
			Permissions: row.Permissions, SubscribedWebhookID: row.SubscribedWebhookID,
			TokenStatus: row.TokenStatus, TokenIssuedAt: row.TokenIssuedAt, TokenExpiresAt: row.TokenExpiresAt,
			LastError: row.LastError,
		}
	}
	return vehicles, nil
}

// PossibleDuplicate are two vehicles that may be one car under two Smartcar ids.
type PossibleDuplicate struct {
	VehicleID      int64 `json:"vehicleId"`
	OtherVehicleID int64 `json:"otherVehicleId"`
	// Of the Smartcar ids that each has, one: `vehicles merge` takes any.
	SmartcarVehicleID      string `json:"smartcarVehicleId"`
	OtherSmartcarVehicleID string `json:"otherSmartcarVehicleId"`
	Owner                  string `json:"owner"`
	Make                   string `json:"make"`
	Model                  string `json:"model"`
	Year                   int32  `json:"year"`
}

// PossibleDuplicates lists vehicles of one owner with the same make, model and year and no different VINs.
func (s *Store) PossibleDuplicates(ctx context.Context, limit int32) ([]PossibleDuplicate, error) {
	rows, err := s.queries.PossibleDuplicates(ctx, limit)
	if err != nil {
		return nil, translate("list possible duplicates", err)
	}
	duplicates := make([]PossibleDuplicate, len(rows))
	for i, row := range rows {
		duplicates[i] = PossibleDuplicate(row)
	}
	return duplicates, nil
}

// VehicleToMigrate is an active v2 vehicle.
type VehicleToMigrate struct {
	SmartcarVehicleID string
	SmartcarUserID    string // whose consent it is called under; "" when not known
}

// VehiclesToMigrate lists active v2 vehicles in the order of their ids; start with after "".
func (s *Store) VehiclesToMigrate(ctx context.Context, after string, limit int32) ([]VehicleToMigrate, error) {
	rows, err := s.queries.ConnectionsToMigrate(ctx, dbsqlc.ConnectionsToMigrateParams{After: after, MaxRows: limit})
	if err != nil {
		return nil, translate("list vehicles to migrate", err)
	}
	vehicles := make([]VehicleToMigrate, len(rows))
	for i, row := range rows {
		vehicles[i] = VehicleToMigrate(row)
	}
	return vehicles, nil
}

// MoveVehicleToV3 lets a vehicle be called through the application token from now
// on, and its TokenRefresh workflow find that. One that waited for its owner only
// since its v2 tokens were refused waits no more, and the application is told. False
// when it is not an active v2 vehicle any more. Its v2 tokens stay stored.
func (s *Store) MoveVehicleToV3(ctx context.Context, smartcarVehicleID, smartcarUserID string) (moved bool, err error) {
	err = s.inTransaction(ctx, "move vehicle to v3", func(queries *dbsqlc.Queries) error {
		changed, err := queries.MoveConnectionToV3(ctx, dbsqlc.MoveConnectionToV3Params{
			SmartcarVehicleID: smartcarVehicleID, SmartcarUserID: smartcarUserID,
		})
		if err != nil || changed == 0 {
			return translate("move vehicle to v3", err)
		}
		moved = true
		resumed, err := queries.ResumeMovedConnection(ctx, smartcarVehicleID)
		if err != nil {
			return translate("resume vehicle", err)
		}
		if resumed > 0 {
			err := writeNotices(ctx, queries, NoticeReauthResolved, "", time.Now(), []string{smartcarVehicleID})
			if err != nil {
				return err
			}
		}
		return requestWorkflow(ctx, queries, WorkflowRequest{
			Kind: RequestTokenRefresh, Subject: smartcarVehicleID, Signal: SignalReconnected,
		})
	})
	return moved, err
}
