package smartcar

import (
	"errors"
	"net/http"
	"slices"
)

// Reaction is what to do about a failure. Source: Smartcar, "v2 error body", "rate limits", "VEHICLE_ERROR".
type Reaction string

// Reactions.
const (
	// ReactionNone is for what did not fail.
	ReactionNone Reaction = ""
	// ReactionDoNotRetry is for a fault of ours, or for what is done already.
	ReactionDoNotRetry Reaction = "do_not_retry"
	// ReactionRefreshOnce asks for another access token and one more try.
	ReactionRefreshOnce Reaction = "refresh_once"
	// ReactionOwner asks the owner to act, in the maker's account or at the vehicle.
	ReactionOwner Reaction = "owner_action"
	// ReactionReconsent asks the owner to connect again, if what failed is wanted; until then do not ask for it.
	ReactionReconsent Reaction = "reconsent"
	// ReactionWaitForVehicle leaves this vehicle alone for a while; see Budget.
	ReactionWaitForVehicle Reaction = "wait_for_vehicle"
	// ReactionWaitForApplication stops all calls for a while; see Budget.
	ReactionWaitForApplication Reaction = "wait_for_application"
	// ReactionOperator alerts an operator: the plan, or the application's settings.
	ReactionOperator Reaction = "operator"
	// ReactionPermanent stops asking this endpoint or signal of this vehicle.
	ReactionPermanent Reaction = "permanent"
	// ReactionRetryLater tries again with growing delays.
	ReactionRetryLater Reaction = "retry_later"
)

const (
	codeVehicle   = "VEHICLE"
	typeRateLimit = "RATE_LIMIT"
	typeUpstream  = "UPSTREAM"
)

// ReactionTo says what to do about an error of this package's clients. An error that is not a *CallError is to be retried later.
//
//nolint:cyclop // A table.
func ReactionTo(err error) Reaction {
	var failure *CallError
	if err == nil {
		return ReactionNone
	}
	if !errors.As(err, &failure) {
		return ReactionRetryLater
	}
	is := func(kinds ...error) bool { return slices.Contains(kinds, failure.Kind) }
	switch {
	case is(ErrInvalidRequest, ErrNotFound, ErrConflict):
		return ReactionDoNotRetry
	case is(ErrUnauthorized):
		return ReactionRefreshOnce
	case is(ErrAccount):
		return ReactionOwner
	case is(ErrForbidden, ErrInvalidGrant):
		return ReactionReconsent
	case is(ErrVehicleState):
		if failure.Code == "REMOTE_ACCESS_DISABLED" {
			return ReactionOwner
		}
		return ReactionWaitForVehicle
	case is(ErrRateLimited):
		if failure.Code == codeVehicle {
			return ReactionWaitForVehicle
		}
		return ReactionWaitForApplication
	case is(ErrBilling, ErrInvalidClient, ErrClientRefused):
		return ReactionOperator
	case is(ErrNotCapable):
		if failure.Code == "PLATFORM_NOT_CAPABLE" {
			return ReactionReconsent // Smartcar's own resolution of it is REAUTHENTICATE.
		}
		return ReactionPermanent
	default: // ErrUnavailable, ErrNotProvisioned.
		if failure.isMakersLimit() {
			return ReactionWaitForVehicle
		}
		return ReactionRetryLater
	}
}

// Reaction says what to do about a signal that failed, polled or delivered, by the same table as ReactionTo.
func (f *SignalFailure) Reaction() Reaction {
	if f == nil {
		return ReactionNone
	}
	return ReactionTo(&CallError{Kind: kindOfType(f.Type), Type: f.Type, Code: f.Code})
}

// isMakersLimit reports 502 UPSTREAM/RATE_LIMIT, by which the maker limits one vehicle.
func (e *CallError) isMakersLimit() bool { return e.Type == typeUpstream && e.Code == typeRateLimit }

// wasSent reports whether Smartcar may have counted the request.
func (e *CallError) wasSent() bool { return e.HTTPStatus != 0 || e.UnknownOutcome }

// kindOfType gives the kind of an error that has a type and no HTTP status, as those of signals.
func kindOfType(name string) error {
	switch name {
	case "VALIDATION":
		return ErrInvalidRequest
	case "CONNECTED_SERVICES_ACCOUNT":
		return ErrAccount
	case "AUTHENTICATION":
		return ErrUnauthorized
	case "PERMISSION":
		return ErrForbidden
	case "RESOURCE_NOT_FOUND":
		return ErrNotFound
	case "VEHICLE_STATE":
		return ErrVehicleState
	case typeRateLimit:
		return ErrRateLimited
	case "BILLING":
		return ErrBilling
	case "COMPATIBILITY":
		return ErrNotCapable
	default: // SERVER, UPSTREAM, and what nobody knows yet.
		return ErrUnavailable
	}
}

// typeOfStatus names the type that Smartcar's answers of this status have.
func typeOfStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "VALIDATION"
	case http.StatusUnauthorized:
		return "AUTHENTICATION"
	case http.StatusForbidden:
		return "PERMISSION"
	case http.StatusNotFound:
		return "RESOURCE_NOT_FOUND"
	case http.StatusConflict:
		return "VEHICLE_STATE"
	case http.StatusTooManyRequests:
		return typeRateLimit
	case statusBilling:
		return "BILLING"
	case http.StatusNotImplemented:
		return "COMPATIBILITY"
	case http.StatusBadGateway:
		return typeUpstream
	default:
		return "SERVER"
	}
}
