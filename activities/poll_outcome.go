package activities

import (
	"errors"
	"slices"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/workflows/contract"
)

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
