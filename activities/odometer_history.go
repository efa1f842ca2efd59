package activities

import (
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/milepost/milepost/db"
)

// verdict is what becomes of one odometer observation.
type verdict string

const (
	verdictEntered     verdict = "entered"
	verdictDuplicate   verdict = "duplicate"
	verdictLower       verdict = "lower"
	verdictImplausible verdict = "implausible"
)

// The rules of the business for odometer readings.
const (
	// duplicateWindow: the same value within this time of an entry is a duplicate.
	duplicateWindow = time.Hour
	// duplicatePlaces: values are the same when they agree at 0.1 km.
	duplicatePlaces = 1
	// roundingSlackKm: unit systems round differently; a fall of up to this much is no fall.
	roundingSlackKm = 1
	// plausibleKmPerDay is the most that a car is believed to drive. It is allowed from
	// the first minute on: an hour on a motorway is no fault, though its rate is higher.
	plausibleKmPerDay = 2000
	// plausibleKm is the most that any car has driven, doubled: the first reading of a car, which nothing
	// precedes, may be a marker for "not available" (4294967295), and all others would be lower.
	plausibleKm = 10_000_000
)

// history is what the readings observed so far have come to: all that the verdict
// on the next one depends on. Going through a vehicle's readings in the order of
// observation, whatever the order of arrival, gives the same entries every time.
type history struct {
	entered bool // false until there is an entry
	lastAt  time.Time
	last    decimal.Decimal
	highest decimal.Decimal
	recent  []db.Reading // entries within duplicateWindow
}

func (h *history) decide(reading db.Reading) verdict {
	h.forget(reading.ObservedAt)
	switch {
	case h.holds(reading):
		return verdictDuplicate
	case h.entered && reading.Kilometres.LessThan(h.highest.Sub(decimal.NewFromInt(roundingSlackKm))):
		return verdictLower
	case !reading.Confirmed && h.implausible(reading):
		return verdictImplausible
	default:
		return verdictEntered
	}
}

// add takes a reading with its verdict into the history.
func (h *history) add(reading db.Reading, decided verdict) {
	h.forget(reading.ObservedAt)
	if decided != verdictEntered {
		return
	}
	if !h.entered || reading.Kilometres.GreaterThan(h.highest) {
		h.highest = reading.Kilometres
	}
	h.entered, h.last, h.lastAt = true, reading.Kilometres, reading.ObservedAt
	h.recent = append(h.recent, reading)
}

// equals says that every later verdict would be the same from both histories.
func (h *history) equals(other *history) bool {
	return h.entered == other.entered && h.lastAt.Equal(other.lastAt) &&
		h.last.Equal(other.last) && h.highest.Equal(other.highest) &&
		slices.EqualFunc(h.recent, other.recent, func(a, b db.Reading) bool {
			return a.ObservedAt.Equal(b.ObservedAt) && a.Kilometres.Equal(b.Kilometres)
		})
}

func (h *history) clone() *history {
	copied := *h
	copied.recent = slices.Clone(h.recent)
	return &copied
}

func (h *history) forget(now time.Time) {
	h.recent = slices.DeleteFunc(h.recent, func(entry db.Reading) bool {
		return now.Sub(entry.ObservedAt) > duplicateWindow
	})
}

func (h *history) holds(reading db.Reading) bool {
	value := reading.Kilometres.Round(duplicatePlaces)
	return slices.ContainsFunc(h.recent, func(entry db.Reading) bool {
		return entry.Kilometres.Round(duplicatePlaces).Equal(value)
	})
}

func (h *history) implausible(reading db.Reading) bool {
	if reading.Kilometres.IsNegative() || reading.Kilometres.GreaterThan(decimal.NewFromInt(plausibleKm)) {
		return true
	}
	if !h.entered {
		return false
	}
	const day = 24 * time.Hour
	days := decimal.NewFromFloat(max(reading.ObservedAt.Sub(h.lastAt), day).Hours() / day.Hours())
	return reading.Kilometres.Sub(h.last).GreaterThan(days.Mul(decimal.NewFromInt(plausibleKmPerDay)))
}
