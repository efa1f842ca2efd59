package smartcar

import (
	"errors"
	"time"
)

const (
	// Smartcar promises no Retry-After for the application's bucket, which fills in an hour.
	applicationPause     = time.Minute
	longApplicationPause = time.Hour
	// Makers allow from once in 72 minutes (Hyundai, Kia) to far more.
	vehiclePause = 30 * time.Minute
	// A maker's own limit lasts until the maker lifts it.
	makerPause = time.Hour
	// An operator must act; a call a day finds out whether one has.
	planPause = 24 * time.Hour
	longPause = 24 * time.Hour
)

// reach is who has to wait; more is worse.
type reach int

const (
	reachNothing reach = iota
	reachVehicle
	reachApplication
)

// pause is how long to wait after a refusal: as asked, or else first, doubled with each refusal in a row up to longest.
type pause struct {
	reach                 reach
	asked, first, longest time.Duration
}

// pauseAfter tells limits from other failures. Without a code that says otherwise a limit is the application's. Something
// unavailable that names a time, such as a Breaker, makes the application wait too. Source: Smartcar, "rate limits".
func pauseAfter(failure *CallError) pause {
	asked := failure.RetryAfter
	switch {
	case failure.isMakersLimit():
		return pause{reachVehicle, asked, makerPause, longPause}
	case errors.Is(failure, ErrRateLimited) && failure.Code == codeVehicle:
		return pause{reachVehicle, asked, vehiclePause, longPause}
	case errors.Is(failure, ErrRateLimited):
		return pause{reachApplication, asked, applicationPause, longApplicationPause}
	case errors.Is(failure, ErrBilling) && (failure.Code == "VEHICLE_LIMIT" || failure.Code == "VEHICLE_REQUEST_LIMIT"):
		return pause{reachVehicle, asked, planPause, planPause}
	case errors.Is(failure, ErrBilling):
		return pause{reachApplication, asked, longApplicationPause, longApplicationPause}
	case asked > 0 && failure.Type == typeUpstream:
		return pause{reachVehicle, asked, asked, asked}
	case asked > 0 && errors.Is(failure, ErrUnavailable):
		return pause{reachApplication, asked, asked, asked}
	default:
		return pause{}
	}
}

func (p pause) length(refusals int) time.Duration {
	if p.asked > 0 {
		return p.asked
	}
	length := p.first
	for i := 1; i < refusals && length < p.longest; i++ {
		length *= 2
	}
	return min(length, p.longest)
}
