package api

import (
	"context"
	"errors"
	"time"

	"github.com/milepost/milepost/api/smartcar"
)

// Consents is where the journeys of owners through Smartcar's consent pages are kept, as Connect sees it. The texts of
// its errors are logged and must repeat nothing of what it was given.
type Consents interface {
	// Begin stores a consent that an owner is about to be asked for, and its owner if that is a new one;
	// ErrConsentVehicle when the consent names a vehicle that is not that user's.
	Begin(ctx context.Context, consent NewConsent) (BegunConsent, error)
	// Complete uses a state up, once, also when the answer is an error of Connect, and returns the consent's id. It
	// gives ErrStateUnknown, ErrStateUsed, ErrStateExpired or ErrStateOtherBrowser when the answer is not accepted;
	// after any other error the state can be used again. An answer from another browser uses nothing up.
	Complete(ctx context.Context, answer ConsentAnswer) (consentID string, err error)
	// Status says how far a consent is; ErrConsentUnknown when there is none.
	Status(ctx context.Context, consentID string) (ConsentStatus, error)
}

var (
	// ErrConsentVehicle says that the vehicle to be re-authenticated is not one that this user has connected.
	ErrConsentVehicle = errors.New("api: not a connected vehicle of this user")
	// ErrStateUnknown says that no consent was begun with this state.
	ErrStateUnknown = errors.New("api: unknown state")
	// ErrStateUsed says that the state has been answered already.
	ErrStateUsed = errors.New("api: state already used")
	// ErrStateExpired says that the owner took too long.
	ErrStateExpired = errors.New("api: state expired")
	// ErrStateOtherBrowser says that the answer came in another browser than the one the owner began in.
	ErrStateOtherBrowser = errors.New("api: answered in another browser")
	// ErrConsentUnknown says that there is no consent with this id.
	ErrConsentUnknown = errors.New("api: unknown consent")
)

// NewConsent is a question that an owner is about to be asked. ID, State and Browser are 128 random bits each, as 22
// characters of unpadded base64url. State and Browser prove who answers: keep hashes of them.
type NewConsent struct {
	ID, State, Browser string
	// User and Name are as in ConnectLink.
	User, Name string
	// VehicleID is the Smartcar vehicle to re-authenticate, "" for a new consent.
	VehicleID string
	// ExpiresAt is when the answer is no longer accepted, in UTC.
	ExpiresAt time.Time
}

// BegunConsent is what Smartcar's page has to be told.
type BegunConsent struct {
	// ExternalID is what Smartcar is to call the owner.
	ExternalID string
	// MissesPermissions says that a car of the owner's misses permissions, so that an earlier consent is not enough.
	MissesPermissions bool
}

// ConsentAnswer is what a browser brought back from Smartcar.
type ConsentAnswer struct {
	State string
	// Browser is "" when the browser sent no cookie, or none that was set here; it then matches no consent.
	Browser string
	// Callback has the Error when the owner or Smartcar said no.
	Callback smartcar.Callback
	// ReceivedAt is in UTC.
	ReceivedAt time.Time
}

// ConsentPhase is how far a consent is.
type ConsentPhase string

// The phases of a consent.
const (
	ConsentPending   ConsentPhase = "pending"
	ConsentConnected ConsentPhase = "connected"
	ConsentFailed    ConsentPhase = "failed"
)

// ConsentStatus is what the owner is told of a consent.
type ConsentStatus struct {
	Phase ConsentPhase
	// Reason says why a consent failed: the code of a smartcar.ConnectError, or code_expired, reauthentication_failed,
	// already_connected_elsewhere, user_not_confirmed, vehicle_refused or internal. The owner is shown a general text
	// for any other.
	Reason string
	// Vehicles are those that were connected; of a failed consent, the ones it failed for, where they are known.
	Vehicles []ConnectedCar
}

// ConnectedCar is a car as its owner knows it.
type ConnectedCar struct {
	Make  string `json:"make"`
	Model string `json:"model"`
	// Year is the model year, 0 when not known.
	Year int `json:"year"`
}
