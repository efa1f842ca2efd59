package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// The states of a vehicle's connection.
const (
	StateConnected      = "connected"
	StateReauthRequired = "reauth_required"
	StateDisconnecting  = "disconnecting"
	StateDisconnected   = "disconnected"
)

// The generations of Smartcar's platform, as a connection is kept under one of them.
const (
	APIv2 = "v2"
	APIv3 = "v3"
)

// TokenStatus is what may be shown of a vehicle's connection and its token family.
type TokenStatus struct {
	SmartcarVehicleID string
	SmartcarUserID    string
	State             string
	Active            bool
	API               string
	// TokenID is 0 when the vehicle has no token family; then what follows is zero.
	TokenID    int64
	Valid      bool // false once Smartcar has refused the family
	Generation int64
	IssuedAt   time.Time
	ExpiresAt  time.Time
	LastError  string // a kind; "" after a success
}

// TokenStatus reads how a vehicle and its tokens stand. ErrNotFound when Smartcar's id is not known.
func (v *Vault) TokenStatus(ctx context.Context, smartcarVehicleID string) (TokenStatus, error) {
	row, err := v.store.queries.TokenStatus(ctx, smartcarVehicleID)
	if err != nil {
		return TokenStatus{}, translate("load token status", err)
	}
	return TokenStatus{
		SmartcarVehicleID: row.SmartcarVehicleID, SmartcarUserID: row.SmartcarUserID,
		State: row.ConnectionState, Active: row.IsActive, API: row.Api,
		TokenID: valueOr(row.TokenID, 0), Valid: valueOr(row.Status, "") == tokensActive,
		Generation: valueOr(row.Generation, 0), IssuedAt: valueOr(row.IssuedAt, time.Time{}).UTC(),
		ExpiresAt: valueOr(row.ExpiresAt, time.Time{}).UTC(), LastError: valueOr(row.LastError, ""),
	}, nil
}

// UnfinishedRefresh is a call to Smartcar whose end is not known.
type UnfinishedRefresh struct {
	SmartcarVehicleID string
	TokenID           int64
	Generation        int64
}

// UnfinishedRefreshes lists one vehicle of each family that is to be refreshed again
// now, since a call that began no longer than grace ago has no end, and is not under
// way: its process died, or its answer was lost.
func (v *Vault) UnfinishedRefreshes(ctx context.Context, now time.Time, grace time.Duration) ([]UnfinishedRefresh, error) {
	rows, err := v.store.queries.UnfinishedRefreshes(ctx, dbsqlc.UnfinishedRefreshesParams{Now: now, Since: now.Add(-grace)})
	if err != nil {
		return nil, translate("list unfinished refreshes", err)
	}
	unfinished := make([]UnfinishedRefresh, len(rows))
	for i, row := range rows {
		unfinished[i] = UnfinishedRefresh(row)
	}
	return unfinished, nil
}

// VehiclesWithTokens lists, in the order of their ids, vehicles that tokens are to
// be kept fresh for, or that are being disconnected; start with after "".
func (s *Store) VehiclesWithTokens(ctx context.Context, after string, limit int32) ([]string, error) {
	ids, err := s.queries.VehiclesWithTokens(ctx, dbsqlc.VehiclesWithTokensParams{After: after, MaxRows: limit})
	return ids, translate("list vehicles with tokens", err)
}
