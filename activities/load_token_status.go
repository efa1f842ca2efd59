package activities

import (
	"context"
	"errors"
	"hash/fnv"
	"math"
	"strconv"
	"time"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// Refreshing says when tokens are refreshed.
type Refreshing string

// The ways to keep tokens.
const (
	// RefreshProactively keeps an access token good at all times.
	RefreshProactively Refreshing = "proactive"
	// RefreshToKeepAlive refreshes when a token is needed, and in any case weekly: a
	// refresh token that is not used dies after 60 days. Source: Smartcar, "Lifetimes and rotation".
	RefreshToKeepAlive Refreshing = "keepalive"
)

// When a refresh is due, as parts of the access token's life: families that were
// issued together are spread over the time between, so that a fleet that was
// connected, or came back, in one minute does not refresh in one.
const (
	earliestRefresh = 0.5
	latestRefresh   = 0.88
	// vehicleSpread keeps the vehicles of one family apart: the first refreshes, the others find it done.
	vehicleSpread = 0.02
)

// When a family is due that is only kept alive.
const (
	keepAliveInterval = 7 * 24 * time.Hour
	keepAliveSpread   = 24 * time.Hour
)

// LoadTokenStatus says how a vehicle's tokens stand and when they are due.
//
// Idempotent: it only reads. Tried again while the database is away.
func (a *Activities) LoadTokenStatus(ctx context.Context, input contract.LoadTokenStatusInput) (contract.TokenStatus, error) {
	if a.deps.Vault == nil {
		return contract.TokenStatus{}, classify(errNotConfigured)
	}
	status, err := a.deps.Vault.TokenStatus(ctx, input.SmartcarVehicleID)
	if errors.Is(err, db.ErrNotFound) {
		return contract.TokenStatus{State: contract.ConnectionEnded}, nil
	}
	if err != nil {
		return contract.TokenStatus{}, classify(err)
	}
	return a.describeTokens(status), nil
}

func (a *Activities) describeTokens(status db.TokenStatus) contract.TokenStatus {
	described := contract.TokenStatus{
		State: connectionState(status), TokenID: status.TokenID, Generation: status.Generation,
		IssuedAt: status.IssuedAt, ExpiresAt: status.ExpiresAt, LastError: status.LastError,
	}
	if described.State == contract.ConnectionActive {
		described.RefreshAt = refreshAt(status, a.deps.Refreshing)
	}
	return described
}

func connectionState(status db.TokenStatus) contract.ConnectionState {
	switch {
	case status.State == db.StateDisconnecting:
		return contract.ConnectionDisconnecting
	case !status.Active || status.API != db.APIv2 || status.TokenID == 0:
		return contract.ConnectionEnded
	case !status.Valid:
		return contract.ConnectionReauthRequired
	default:
		return contract.ConnectionActive
	}
}

// refreshAt is the same whenever it is asked for one pair and vehicle, so that
// looking again does not move it.
func refreshAt(status db.TokenStatus, refreshing Refreshing) time.Time {
	family := strconv.FormatInt(status.TokenID, 10) + "/" + strconv.FormatInt(status.Generation, 10)
	if refreshing == RefreshToKeepAlive {
		early := time.Duration(fraction(family) * float64(keepAliveSpread))
		own := time.Duration(fraction(family+status.SmartcarVehicleID) * float64(time.Hour))
		return status.IssuedAt.Add(keepAliveInterval - keepAliveSpread + early + own)
	}
	life := float64(status.ExpiresAt.Sub(status.IssuedAt))
	part := earliestRefresh + (latestRefresh-earliestRefresh)*fraction(family) +
		vehicleSpread*fraction(family+status.SmartcarVehicleID)
	return status.IssuedAt.Add(time.Duration(life * part))
}

// fraction spreads texts evenly over [0, 1).
func fraction(text string) float64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(text)) // it never fails
	const (
		// FNV's high bits hardly differ between short texts that end alike: a multiplication by an odd number mixes them.
		half, odd = 32, 0x9e3779b97f4a7c15
		// A float64 holds 53 bits exactly.
		exactBits, dropped = 53, 64 - 53
	)
	mixed := hash.Sum64()
	mixed = (mixed ^ mixed>>half) * odd
	mixed = (mixed ^ mixed>>half) * odd
	return float64(mixed>>dropped) / math.Exp2(exactBits)
}
