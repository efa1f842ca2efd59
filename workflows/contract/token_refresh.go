package contract

import "time"

// The signals of TokenRefresh. Each tells that the database holds something new, or
// asks for something at once; one too many does no harm.
const (
	// SignalReconnected: the owner has connected or re-authenticated.
	SignalReconnected = "reconnected"
	// SignalRefreshNow: refresh without waiting for the next time that is due.
	SignalRefreshNow = "refresh-now"
	// SignalDisconnect: the vehicle has been disconnected here; Smartcar is to be told.
	SignalDisconnect = "disconnect"
)

// QueryTokenRefreshStatus is the query that gives a TokenRefreshStatus.
const QueryTokenRefreshStatus = "status"

// TokenRefreshInput starts TokenRefresh, and carries it over into its next run.
type TokenRefreshInput struct {
	SmartcarVehicleID string `json:"smartcarVehicleId"`
	// RefreshNow is true when the run before was asked to refresh and had not done so yet.
	RefreshNow bool `json:"refreshNow,omitempty"`
	// Refreshes counts what the runs before have done.
	Refreshes int `json:"refreshes,omitempty"`
	// ContinueAfter is the number of history events after which the workflow continues as new;
	// zero means DefaultContinueAfter.
	ContinueAfter int `json:"continueAfter,omitempty"`
}

// DefaultContinueAfter keeps a history short, since it is read again at each wake; it
// is far below the 2,000 events at which Temporal's own advice begins to count.
const DefaultContinueAfter = 500

// ConnectionState is how a vehicle's connection stands, as far as its tokens go.
type ConnectionState string

// The states that TokenRefresh tells apart.
const (
	// ConnectionActive: tokens are kept fresh.
	ConnectionActive ConnectionState = "active"
	// ConnectionReauthRequired: Smartcar refused the tokens; the owner must act.
	ConnectionReauthRequired ConnectionState = "reauth_required"
	// ConnectionDisconnecting: no reading is taken any more, and Smartcar is to be told.
	ConnectionDisconnecting ConnectionState = "disconnecting"
	// ConnectionEnded: there are no tokens to be kept here, or no vehicle.
	ConnectionEnded ConnectionState = "ended"
)

// TokenStatus is what TokenRefresh knows of its vehicle's tokens. No token is in it.
type TokenStatus struct {
	State ConnectionState `json:"state"`
	// TokenID is the family's id; Generation counts its pairs.
	TokenID    int64     `json:"tokenId,omitempty"`
	Generation int64     `json:"generation,omitempty"`
	IssuedAt   time.Time `json:"issuedAt,omitzero"`
	ExpiresAt  time.Time `json:"expiresAt,omitzero"`
	// RefreshAt is when the next refresh is due.
	RefreshAt time.Time `json:"refreshAt,omitzero"`
	// LastError is the kind of the last failure, "" after a success.
	LastError string `json:"lastError,omitempty"`
}

// TokenRefreshStatus is the answer to QueryTokenRefreshStatus.
type TokenRefreshStatus struct {
	State TokenRefreshPhase `json:"state"`
	// NextRefreshAt is zero while none is planned; after one in vain it is when that is tried again.
	NextRefreshAt time.Time `json:"nextRefreshAt,omitzero"`
	LastRefreshAt time.Time `json:"lastRefreshAt,omitzero"`
	ExpiresAt     time.Time `json:"expiresAt,omitzero"`
	LastError     string    `json:"lastError,omitempty"`
	// Refreshes counts the refreshes that this vehicle's workflow has asked for, over all its runs.
	Refreshes int `json:"refreshes"`
}

// TokenRefreshPhase is what TokenRefresh is doing.
type TokenRefreshPhase string

// The phases of TokenRefresh.
const (
	PhaseLoading        TokenRefreshPhase = "loading"
	PhaseSleeping       TokenRefreshPhase = "sleeping"
	PhaseRefreshing     TokenRefreshPhase = "refreshing"
	PhaseReauthRequired TokenRefreshPhase = "reauth_required"
	PhaseDisconnecting  TokenRefreshPhase = "disconnecting"
	PhaseEnded          TokenRefreshPhase = "ended"
)

// TokenRefreshResult is what a completed TokenRefresh says.
type TokenRefreshResult struct {
	State     ConnectionState `json:"state"`
	Refreshes int             `json:"refreshes"`
}

// LoadTokenStatusInput names a vehicle.
type LoadTokenStatusInput struct {
	SmartcarVehicleID string `json:"smartcarVehicleId"`
}

// RefreshTokensInput says whose tokens are to be fresh.
type RefreshTokensInput struct {
	SmartcarVehicleID string `json:"smartcarVehicleId"`
	// Generation is the pair that is due; one that is later by now was refreshed for another
	// vehicle of the family, and is left alone. Zero means whatever is there.
	Generation int64 `json:"generation,omitempty"`
	// TokenID is the family that Generation counts in; when the vehicle has another one by now,
	// that is left alone, too. Zero means whichever it has.
	TokenID int64 `json:"tokenId,omitempty"`
	// EvenIfInvalid tries tokens that Smartcar has refused before.
	EvenIfInvalid bool `json:"evenIfInvalid,omitempty"`
}

// The types of errors of activities that pass only when an operator has acted.
const (
	ErrorCredentialsRefused = "smartcar_credentials_refused" //nolint:gosec // a word for a failure
	ErrorWrongKeyset        = "wrong_keyset"
	ErrorNotConfigured      = "connect_not_configured"
)

// OperatorsErrors lists them.
func OperatorsErrors() []string {
	return []string{ErrorCredentialsRefused, ErrorWrongKeyset, ErrorNotConfigured}
}

// EndConnectionInput names a vehicle that is being disconnected.
type EndConnectionInput struct {
	SmartcarVehicleID string `json:"smartcarVehicleId"`
}

// CheckFleetResult is what one comparison found.
type CheckFleetResult struct {
	Vehicles int `json:"vehicles"`
	// Started lacked a workflow, Nudged had one without need.
	Started int `json:"started"`
	Nudged  int `json:"nudged"`
	// Requeued are events that had failed for want of a vehicle that is connected.
	Requeued int `json:"requeued,omitempty"`
	// Requested are consents and notices that are open for long, whose workflows were asked for again.
	Requested int `json:"requested,omitempty"`
}
