package activities

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// The types of transient failures, as operators see them on a pending activity.
const (
	transientDatabaseUnavailable = "database_unavailable"
	transientDatabaseConflict    = "database_conflict"
	transientTemporal            = "temporal_refused"
	transientUnexpected          = "unexpected"

	transientSmartcarUnavailable = "smartcar_unavailable"
	transientRateLimited         = "smartcar_rate_limited"
	transientCredentialsRefused  = contract.ErrorCredentialsRefused
	transientSmartcarRefused     = "smartcar_refused"
	transientWrongKeyset         = contract.ErrorWrongKeyset
	transientNotConfigured       = contract.ErrorNotConfigured
	transientNoticeNotTaken      = "notice_not_taken"
)

// operatorPause is how long a call is left alone that no repetition can help, but an operator can.
const operatorPause = 15 * time.Minute

// repeatWithin lets two more tries fall into the minute for which Smartcar takes a used refresh token.
const repeatWithin = 20 * time.Second

// classify decides what is tried again, and is the only place that does. What it
// returns ends up in Temporal's histories: it holds no values of the event, and
// not the original error either, whose text might.
//
// Final are only errors that lie in the event itself. Everything else, what is
// not understood included, is tried until it works, in full view of operators.
func classify(err error) error {
	var database *db.Error
	var call *smartcar.CallError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, db.ErrUndecryptable), errors.Is(err, db.ErrRefusalInDoubt):
		return classifyTokens(err)
	case errors.Is(err, errNotConfigured):
		return paused(transientNotConfigured, errNotConfigured.Error(), operatorPause)
	case errors.Is(err, errApplicationTokenRefused):
		return paused(transientCredentialsRefused, err.Error(), operatorPause)
	case errors.Is(err, errNoticeNotTaken):
		return transient(transientNoticeNotTaken, err.Error())
	case errors.As(err, &call):
		return classifyCall(call, longestPause(err))
	case errors.Is(err, db.ErrPayloadTrimmed), errors.Is(err, smartcar.ErrMalformed):
		return classifyBody(err)
	case errors.Is(err, smartcar.ErrUnitUnknown), errors.Is(err, smartcar.ErrUnitAbsent):
		return final(contract.FailureUnitUnknown, "the odometer's unit is neither kilometres nor miles")
	case errors.Is(err, db.ErrNotFound):
		return final(contract.FailureEventNotFound, "the ledger has no such event, or its vehicle is gone")
	case errors.Is(err, db.ErrRejected):
		return final(contract.FailureDataRejected, "the database refused the event's values: "+sqlState(err))
	case errors.Is(err, db.ErrConflict):
		return transient(transientDatabaseConflict, "another transaction won: "+sqlState(err))
	case errors.As(err, &database), errors.Is(err, context.DeadlineExceeded):
		return transient(transientDatabaseUnavailable, "the database did not answer: "+sqlState(err))
	case errors.Is(err, context.Canceled):
		return err
	default:
		return unexpected(err)
	}
}

// unexpected says what may be said of an error that nothing is known of: its types,
// since its text might hold anything; of one that Temporal answered, its code.
func unexpected(err error) error {
	const none = "Unknown" // what everything else comes to
	if code := serviceerror.ToStatus(err).Code().String(); code != none {
		return transient(transientTemporal, "Temporal answered "+code)
	}
	return transient(transientUnexpected, "unexpected error: "+typesOf(err))
}

// classifyTokens says why stored tokens are of no use for now.
func classifyTokens(err error) error {
	if errors.Is(err, db.ErrRefusalInDoubt) {
		return paused(transientSmartcarRefused, db.ErrRefusalInDoubt.Error(), db.RefusalDoubt)
	}
	return paused(transientWrongKeyset, "the stored tokens were encrypted with another keyset", operatorPause)
}

// classifyBody says why an event's body is of no use.
func classifyBody(err error) error {
	if errors.Is(err, db.ErrPayloadTrimmed) {
		return final(contract.FailurePayloadTrimmed,
			"the event was processed before, and its payload trimmed since; if its reading, which is in "+
				"odometer_readings, is right, retry with the reading confirmed")
	}
	return final(contract.FailureMalformedPayload, "the signed body could not be understood; see the event's payload")
}

// classifyCall decides over a call to Smartcar that failed. None is final: an answer
// that ends something is taken as data by the activity that asked. What an operator
// must put right is tried again at long intervals, and blames no owner.
func classifyCall(call *smartcar.CallError, longest time.Duration) error {
	switch {
	case errors.Is(call, smartcar.ErrRateLimited):
		return paused(transientRateLimited, call.Error(), min(call.RetryAfter, longest))
	case errors.Is(call, smartcar.ErrUnavailable):
		return paused(transientSmartcarUnavailable, call.Error(), min(call.RetryAfter, longest))
	case isOperatorsFault(call):
		return paused(transientCredentialsRefused,
			call.Error()+": check SMARTCAR_CLIENT_ID, SMARTCAR_CLIENT_SECRET and Smartcar's dashboard", min(operatorPause, longest))
	default:
		return transient(transientSmartcarRefused, call.Error())
	}
}

// longestPause bounds what Smartcar asks to wait: a refresh token that it may have used is sent again while it is
// still taken, whoever else must wait. Source: Smartcar, "Lifetimes and rotation".
func longestPause(err error) time.Duration {
	if fault, found := errors.AsType[*db.RefreshError](err); found && fault.UnknownOutcome {
		return repeatWithin
	}
	return math.MaxInt64
}

// isOperatorsFault: the application itself was refused, whoever it asked for. Source: Smartcar, "OAuth errors".
func isOperatorsFault(err error) bool {
	return errors.Is(err, smartcar.ErrInvalidClient) || errors.Is(err, smartcar.ErrClientRefused) ||
		errors.Is(err, smartcar.ErrBilling) || errors.Is(err, errApplicationTokenRefused)
}

// refreshFault tells the vault what an exchange came to: a refusal ends the family
// once confirmed, everything else leaves it as it is.
func refreshFault(err error) *db.RefreshError {
	fault := &db.RefreshError{Kind: transientUnexpected, UnknownOutcome: true, Err: err}
	if call, found := errors.AsType[*smartcar.CallError](err); found {
		fault.UnknownOutcome = call.UnknownOutcome
	}
	switch {
	case errors.Is(err, smartcar.ErrInvalidGrant):
		fault.Kind, fault.Err = "invalid_grant", errors.Join(db.ErrRefreshRefused, err)
	case errors.Is(err, smartcar.ErrInvalidClient):
		fault.Kind = "invalid_client"
	case errors.Is(err, smartcar.ErrClientRefused):
		fault.Kind = transientSmartcarRefused
	case errors.Is(err, smartcar.ErrRateLimited):
		fault.Kind = transientRateLimited
	case errors.Is(err, smartcar.ErrUnavailable):
		fault.Kind = transientSmartcarUnavailable
	}
	return fault
}

// isRefusal: asking for the same vehicle again would be answered the same way. A
// credential that is not accepted counts, since it has been renewed before.
func isRefusal(err error) bool {
	for _, kind := range []error{
		smartcar.ErrForbidden, smartcar.ErrNotFound, smartcar.ErrAccount, smartcar.ErrNotCapable,
		smartcar.ErrInvalidRequest, smartcar.ErrConflict, smartcar.ErrUnauthorized, errNeedsOwner,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// errorTypeUpstream: the maker failed, and not Smartcar. Source: Smartcar, "v2 error body".
const errorTypeUpstream = "UPSTREAM"

// isAnswer: the error is what Smartcar says, or that it says nothing, and not a fault of ours.
func isAnswer(err error) bool {
	var call *smartcar.CallError
	return errors.As(err, &call) || errors.Is(err, errNeedsOwner) || errors.Is(err, errApplicationTokenRefused)
}

// isPutOff says that Smartcar has not answered for the vehicle, and is to be asked again.
func isPutOff(outcome contract.PollOutcome) bool {
	return slices.Contains([]contract.PollOutcome{
		contract.PollDeferred, contract.PollVehicleUnreachable, contract.PollSmartcarUnavailable, contract.PollNeedsOperator,
	}, outcome)
}

// outcomeOfError says what a poll comes to that was refused, or not answered. For a
// vehicle that is not provisioned, as for one that does not send its odometer, there
// is nothing to be had. Source: Smartcar, "v2 error body", "v3 errors", "signals list".
func outcomeOfError(err error) contract.PollOutcome {
	call, isCall := errors.AsType[*smartcar.CallError](err)
	switch {
	case errors.Is(err, errNeedsOwner):
		return contract.PollNeedsOwner
	case errors.Is(err, errApplicationTokenRefused):
		return contract.PollNeedsOperator
	case errors.Is(err, smartcar.ErrNotProvisioned):
		return contract.PollNotGiven
	case isCall && (call.Type == errorTypeUpstream || call.Code == errorTypeUpstream):
		return contract.PollVehicleUnreachable
	default:
		return outcomeOfReaction(smartcar.ReactionTo(err))
	}
}

// outcomeOfFailure is the same for an odometer that failed in an answer.
func outcomeOfFailure(failure *smartcar.SignalFailure) contract.PollOutcome {
	if failure.Type == errorTypeUpstream {
		return contract.PollVehicleUnreachable
	}
	return outcomeOfReaction(failure.Reaction())
}

func outcomeOfReaction(reaction smartcar.Reaction) contract.PollOutcome {
	switch reaction {
	case smartcar.ReactionOwner, smartcar.ReactionRefreshOnce: // refreshed it has been
		return contract.PollNeedsOwner
	case smartcar.ReactionReconsent:
		return contract.PollNoPermission
	case smartcar.ReactionPermanent:
		return contract.PollNotSupported
	case smartcar.ReactionWaitForVehicle:
		return contract.PollVehicleUnreachable
	case smartcar.ReactionOperator:
		return contract.PollNeedsOperator
	case smartcar.ReactionDoNotRetry:
		return contract.PollRefused
	case smartcar.ReactionNone, smartcar.ReactionRetryLater, smartcar.ReactionWaitForApplication:
		return contract.PollSmartcarUnavailable
	default:
		return contract.PollSmartcarUnavailable
	}
}

const (
	// pollPause is the least time before what was not answered is asked again. Each time in a row doubles it: the
	// attempt alone may wake a vehicle.
	pollPause        = 5 * time.Minute
	longestPollPause = 24 * time.Hour
)

// pauseBeforePoll is how long a vehicle is left alone after so many polls without an answer, and one more.
func pauseBeforePoll(unanswered int32) time.Duration {
	pause := pollPause
	for range unanswered {
		if pause *= 2; pause >= longestPollPause {
			return longestPollPause
		}
	}
	return pause
}

// paused is tried again after the given time; zero leaves it to the policy.
func paused(kind, message string, pause time.Duration) error {
	if pause <= 0 {
		return transient(kind, message)
	}
	return temporal.NewApplicationErrorWithOptions(message, kind, temporal.ApplicationErrorOptions{NextRetryDelay: pause})
}

func final(class contract.FailureClass, message string) error {
	return temporal.NewNonRetryableApplicationError(message, string(class), nil)
}

func transient(kind, message string) error {
	return temporal.NewApplicationError(message, kind)
}

func sqlState(err error) string {
	var database *db.Error
	if errors.As(err, &database) && database.SQLState != "" {
		return "SQLSTATE " + database.SQLState
	}
	return "no SQLSTATE"
}
