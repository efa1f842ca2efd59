package api

import (
	"net/http"
	"slices"
	"time"
)

const (
	pendingRefresh     = 2 * time.Second
	unavailableRefresh = 5 * time.Second
)

// phaseError is the phase of a page that is about no consent.
const phaseError ConsentPhase = "error"

// refusal says why a request got no further; it stands in pages, logs and metrics.
type refusal string

const (
	refusedLinkMalformed refusal = "link_malformed"
	refusedLink          refusal = "link_invalid"
	refusedLinkExpired   refusal = "link_expired"
	refusedVehicle       refusal = "vehicle_not_connected"
	refusedCallback      refusal = "callback_malformed"
	refusedStateUnknown  refusal = "state_unknown"
	refusedStateUsed     refusal = "state_used"
	refusedStateExpired  refusal = "state_expired"
	refusedOtherBrowser  refusal = "other_browser"
	refusedConsent       refusal = "consent_unknown"
	refusedRate          refusal = "rate_limited"
	refusedUnavailable   refusal = "unavailable"
	refusedAborted       refusal = "aborted" // The browser left; nobody sees the page.
)

// message is what an owner reads: what happened, and what to do.
type message struct {
	title, happened, advice string
}

const startAgain = "Go back to the application and start again from there."

func refusalPage(why refusal) connectPage {
	status, text := refusalText(why)
	page := connectPage{status: status, phase: phaseError, reason: string(why), message: text}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		page.refresh = unavailableRefresh
	}
	return page
}

func refusalText(why refusal) (status int, text message) {
	const linkTitle = "This link is not valid"
	linkAdvice := "Go back to the application and try again: it will give you a new link."
	switch why {
	case refusedLinkMalformed:
		return http.StatusBadRequest, message{linkTitle, "The link was damaged on its way here.", linkAdvice}
	case refusedLink:
		return http.StatusForbidden, message{linkTitle, "The link is incomplete or was changed.", linkAdvice}
	case refusedLinkExpired:
		return http.StatusForbidden, message{
			"This link is not valid any more",
			"A link to connect a car works for a short time only.", linkAdvice,
		}
	case refusedVehicle:
		return http.StatusForbidden, message{
			"This car cannot be connected again",
			"The link is for a car that is not among your connected cars.",
			"Go back to the application and connect the car as a new one.",
		}
	case refusedConsent:
		return http.StatusNotFound, message{
			"This page does not exist",
			"There is nothing at this address. The link may be incomplete.", startAgain,
		}
	case refusedRate:
		return http.StatusTooManyRequests, message{
			"Too many people are here right now",
			"Nothing is lost: this page tries again by itself in a few seconds.", "Please keep this page open.",
		}
	case refusedUnavailable, refusedAborted:
		return http.StatusServiceUnavailable, message{
			"This did not work right now",
			"We have a problem at the moment. Nothing is lost: this page tries again by itself in a few seconds.",
			"Please keep this page open. If it still does not work after a minute, load it again later.",
		}
	default:
		return callbackRefusalText(why)
	}
}

func callbackRefusalText(why refusal) (status int, text message) {
	switch why {
	case refusedStateUsed:
		return http.StatusConflict, message{
			"This sign-in was used already",
			"Each sign-in counts once, and this one has arrived before.",
			"If your car shows up in the application, there is nothing to do. Otherwise go back to the application and start again.",
		}
	case refusedStateExpired:
		return http.StatusGone, message{
			"That took too long",
			"A sign-in has to be finished within 15 minutes. Your car was not connected.", startAgain,
		}
	case refusedOtherBrowser:
		return http.StatusForbidden, message{
			"You started in another browser",
			"For your safety a sign-in must end in the browser that it began in, and this browser has to accept cookies.",
			"Go back to the application in this browser and start again, or finish in the other one.",
		}
	case refusedStateUnknown:
		return http.StatusForbidden, message{
			"We do not know this sign-in",
			"It was not started here, or its address was changed. Your car was not connected.", startAgain,
		}
	default:
		return http.StatusBadRequest, message{
			"We could not read this answer",
			"What came back from the sign-in is incomplete or was changed. Your car was not connected.", startAgain,
		}
	}
}

func statusPage(status ConsentStatus) connectPage {
	page := connectPage{status: http.StatusOK, phase: status.Phase, reason: status.Reason, cars: status.Vehicles}
	switch status.Phase {
	case ConsentConnected:
		page.message = message{
			"Your car is connected", "The application now receives the readings of:",
			"There is nothing more to do. You can close this page.",
		}
		if len(page.cars) == 0 {
			page.happened = "The application now receives its readings."
		}
	case ConsentFailed:
		page.message = failureText(status.Reason)
		// Smartcar does not always say which car it was.
		page.cars = slices.DeleteFunc(slices.Clone(page.cars), func(car ConnectedCar) bool { return car == ConnectedCar{} })
	default:
		page.phase, page.refresh = ConsentPending, pendingRefresh
		page.message = message{
			"Connecting your car…", "This takes a few seconds. The page shows by itself when it is done.",
			"You can also close this page: your car is connected all the same.",
		}
	}
	return page
}

// failureText explains a failed consent to its owner. The first six are Smartcar's. Source: Smartcar, "callback".
func failureText(reason string) message {
	switch reason {
	case "access_denied":
		return message{
			"You did not allow access", "You said no to sharing the data of your car, so it was not connected.",
			"If that was a mistake, go back to the application and start again.",
		}
	case "vehicle_incompatible":
		return message{
			"This car does not work with the application",
			"It cannot send the data that the application needs, so it was not connected.",
			"If you have another car, go back to the application and connect that one.",
		}
	case "no_vehicles":
		return message{
			"We found no car in your account", "The account that you signed in to has no car in it.",
			"Check in the app of your car's brand that the car is there, or sign in to another account. Then start again.",
		}
	case "invalid_subscription":
		return message{
			"Your car's online services are not active", "The subscription of your car's brand has ended or was never started.",
			"Activate it in the app of your car's brand, then go back to the application and start again.",
		}
	case "configuration_error":
		return message{
			"The application is not set up correctly", "This is not your fault, and trying again will not help.",
			"Please tell the people who run the application.",
		}
	case "server_error":
		return message{
			"Something went wrong at Smartcar", "Smartcar, which connects us to your car, had a problem. Your car was not connected.",
			"Wait a few minutes, then go back to the application and start again.",
		}
	default:
		return laterFailureText(reason)
	}
}

// laterFailureText explains what went wrong after the owner had said yes.
func laterFailureText(reason string) message {
	switch reason {
	case "code_expired":
		return message{
			"That took too long", "Your permission ran out before we could use it. Your car was not connected.", startAgain,
		}
	case "reauthentication_failed":
		return message{
			"Signing in again was not enough", "Your car still does not let us read its data.",
			"Go back to the application and connect the car anew.",
		}
	case "already_connected_elsewhere":
		return message{
			"This car is connected already", "Somebody else has connected it with another account of the application.",
			"Sign in to that account, or have the car removed from it. Then start again.",
		}
	case "user_not_confirmed":
		return message{
			"We could not confirm that it was you", "Smartcar does not know this sign-in as yours. Your car was not connected.",
			startAgain,
		}
	case "vehicle_refused":
		return message{
			"Your car did not answer", "It did not give us the data that we need to connect it.",
			"Check that all permissions are given and that the car's online services are active. Then start again.",
		}
	default:
		return message{
			"Your car could not be connected", "Something went wrong on our side or on Smartcar's.",
			"Go back to the application and start again. If it happens again, tell the people who run the application.",
		}
	}
}
