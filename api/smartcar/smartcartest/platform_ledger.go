package smartcartest

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// ledger is what Smartcar remembers; Platform.mu guards it.
type ledger struct {
	Families          map[string]*family       `json:"families"`
	RefreshTokens     map[string]*refreshToken `json:"refreshTokens"`
	AccessTokens      map[string]*accessToken  `json:"accessTokens"`
	ApplicationTokens map[string]time.Time     `json:"applicationTokens"`
	Codes             map[string]*code         `json:"codes"`
	Connections       map[string]*connection   `json:"connections"`
	Subscriptions     map[string]*subscription `json:"subscriptions"`
	Blocked           map[string]bool          `json:"blocked"`
	// Sequence numbers what is listed in the order of its making.
	Sequence int `json:"sequence"`
}

// consent is what an owner allowed.
type consent struct {
	UserID      string   `json:"userId"`
	VehicleIDs  []string `json:"vehicleIds"`
	Permissions []string `json:"permissions"`
	Mode        string   `json:"mode"`
	ExternalID  string   `json:"externalId"`
}

// family is the tokens of one consent. Without vehicles it is at its end.
type family struct {
	consent

	ID           string    `json:"id"`
	Number       int       `json:"number"`
	Current      string    `json:"current"`
	Revoked      bool      `json:"revoked"`
	Refreshes    int       `json:"refreshes"`
	Reuses       int       `json:"reuses"`
	Refused      int       `json:"refused"`
	LastIssuedAt time.Time `json:"lastIssuedAt"`
}

// refreshToken is superseded when its family has a later one.
type refreshToken struct {
	FamilyID     string    `json:"familyId"`
	AccessToken  string    `json:"accessToken"`
	IssuedAt     time.Time `json:"issuedAt"`
	SupersededAt time.Time `json:"supersededAt"`
}

type accessToken struct {
	FamilyID  string    `json:"familyId"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type code struct {
	consent

	FamilyID    string    `json:"familyId"`
	RedirectURI string    `json:"redirectUri"`
	ExpiresAt   time.Time `json:"expiresAt"`
	Used        bool      `json:"used"`
}

type connection struct {
	ID          string    `json:"id"`
	UserID      string    `json:"userId"`
	VehicleID   string    `json:"vehicleId"`
	Permissions []string  `json:"permissions"`
	Mode        string    `json:"mode"`
	ExternalID  string    `json:"externalId"`
	Number      int       `json:"number"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

type subscription struct {
	ID        string    `json:"id"`
	WebhookID string    `json:"webhookId"`
	UserID    string    `json:"userId"`
	VehicleID string    `json:"vehicleId"`
	Number    int       `json:"number"`
	CreatedAt time.Time `json:"createdAt"`
}

func newLedger() ledger {
	return ledger{
		Families: make(map[string]*family), RefreshTokens: make(map[string]*refreshToken),
		AccessTokens: make(map[string]*accessToken), ApplicationTokens: make(map[string]time.Time),
		Codes: make(map[string]*code), Connections: make(map[string]*connection),
		Subscriptions: make(map[string]*subscription), Blocked: make(map[string]bool),
	}
}

// connect makes the connections of a consent, or renews those there are. Signing in ends a block.
func (l *ledger) connect(given consent, now time.Time) {
	delete(l.Blocked, given.UserID)
	for _, vehicleID := range given.VehicleIDs {
		found := l.connectionOf(given.UserID, vehicleID)
		if found == nil {
			found = &connection{
				ID: uuid.NewString(), UserID: given.UserID, VehicleID: vehicleID, CreatedAt: now, Number: l.next(),
			}
			l.Connections[found.ID] = found
		}
		found.Permissions, found.Mode, found.UpdatedAt = given.Permissions, given.Mode, now
		if given.ExternalID != "" {
			found.ExternalID = given.ExternalID
		}
	}
}

func (l *ledger) connectionOf(userID, vehicleID string) *connection {
	for _, found := range l.Connections {
		if found.UserID == userID && found.VehicleID == vehicleID {
			return found
		}
	}
	return nil
}

// disconnect ends a connection, its subscriptions and the reach of its user's tokens.
func (l *ledger) disconnect(ended *connection) {
	delete(l.Connections, ended.ID)
	maps.DeleteFunc(l.Subscriptions, func(_ string, made *subscription) bool {
		return made.UserID == ended.UserID && made.VehicleID == ended.VehicleID
	})
	isEnded := func(vehicleID string) bool { return vehicleID == ended.VehicleID }
	for _, family := range l.Families {
		if family.UserID == ended.UserID {
			family.VehicleIDs = slices.DeleteFunc(slices.Clone(family.VehicleIDs), isEnded)
		}
	}
	for _, code := range l.Codes {
		if code.UserID == ended.UserID {
			code.VehicleIDs = slices.DeleteFunc(slices.Clone(code.VehicleIDs), isEnded)
		}
	}
}

// subscribe reports whether the subscription is new.
func (l *ledger) subscribe(wanted subscription, now time.Time) bool {
	for _, made := range l.Subscriptions {
		if made.UserID == wanted.UserID && made.VehicleID == wanted.VehicleID && made.WebhookID == wanted.WebhookID {
			return false
		}
	}
	wanted.ID, wanted.CreatedAt, wanted.Number = uuid.NewString(), now, l.next()
	l.Subscriptions[wanted.ID] = &wanted
	return true
}

// selectConnections returns copies of those wanted, oldest first.
func (l *ledger) selectConnections(wanted func(*connection) bool) []connection {
	return selected(l.Connections, wanted, func(c *connection) int { return c.Number })
}

// prune forgets what has expired; asked for again it is as unknown as it would be expired.
func (l *ledger) prune(now time.Time, refreshLife time.Duration) {
	maps.DeleteFunc(l.AccessTokens, func(_ string, token *accessToken) bool { return !now.Before(token.ExpiresAt) })
	maps.DeleteFunc(l.ApplicationTokens, func(_ string, expiry time.Time) bool { return !now.Before(expiry) })
	maps.DeleteFunc(l.Codes, func(_ string, code *code) bool { return !now.Before(code.ExpiresAt) })
	maps.DeleteFunc(l.RefreshTokens, func(_ string, token *refreshToken) bool {
		return !now.Before(token.IssuedAt.Add(refreshLife))
	})
}

// selected returns copies of the values wanted in the order of their numbers.
func selected[T any](all map[string]*T, wanted func(*T) bool, number func(*T) int) []T {
	found := make([]T, 0, len(all))
	for _, value := range all {
		if wanted(value) {
			found = append(found, *value)
		}
	}
	slices.SortFunc(found, func(a, b T) int { return number(&a) - number(&b) })
	return found
}

func (l *ledger) next() int {
	l.Sequence++
	return l.Sequence
}
