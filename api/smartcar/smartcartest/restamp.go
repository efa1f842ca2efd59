package smartcartest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

var (
	// ErrNotAnObject means that a body is not a JSON object.
	ErrNotAnObject = errors.New("the body is not a JSON object")
	// ErrNoEventID means that a body has no eventId to replace.
	ErrNoEventID = errors.New("the body has no eventId")
)

// From this number on a time is taken for milliseconds rather than seconds.
const firstMilliseconds = 1_000_000_000_000

// Restamp returns the body as a further delivery of the same event: with another
// meta.deliveryId, and with meta.deliveredAt (and the older deliveryTime) in the
// form it already has: an ISO 8601 string, or a number of milliseconds or
// seconds. Every other byte stays. A body without these members is returned as
// it is. Source: Smartcar, "delivery behaviour".
func Restamp(body []byte, deliveryID string, at time.Time) ([]byte, error) {
	meta, err := member(body, "meta")
	if err != nil || meta.isMissing() {
		return slices.Clone(body), err
	}

	stamped := slices.Clone(body[meta.start:meta.end])
	for _, name := range []string{"deliveryId", "deliveredAt", "deliveryTime"} {
		place, err := member(stamped, name)
		if err != nil {
			return nil, fmt.Errorf("meta: %w", err)
		}
		if place.isMissing() {
			continue
		}
		value := quoted(deliveryID)
		if name != "deliveryId" {
			value = timeLike(stamped[place.start:place.end], at)
		}
		stamped = slices.Replace(stamped, place.start, place.end, value...)
	}

	return slices.Concat(body[:meta.start], stamped, body[meta.end:]), nil
}

// NewEvent returns the body as another event: with another eventId, and every
// other byte as it was. A body without one is ErrNoEventID.
func NewEvent(body []byte, eventID string) ([]byte, error) {
	place, err := member(body, "eventId")
	if err != nil {
		return nil, err
	}
	if place.isMissing() {
		return nil, ErrNoEventID
	}

	return slices.Concat(body[:place.start], quoted(eventID), body[place.end:]), nil
}

// timeLike writes the time in the form of the old value.
func timeLike(old []byte, at time.Time) []byte {
	if old[0] == '"' {
		return quoted(at.UTC().Format(isoTimestamp))
	}
	value := at.UnixMilli()
	if number, err := strconv.ParseFloat(string(old), doubleBits); err == nil && number < firstMilliseconds {
		value = at.Unix()
	}

	return strconv.AppendInt(nil, value, decimalBase)
}

// place is where a value stands in a body.
type place struct{ start, end int }

func (p place) isMissing() bool { return p.end == 0 }

// member finds the value of a member of the outermost object.
func member(body []byte, name string) (place, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return place{}, ErrNotAnObject
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return place{}, ErrNotAnObject
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return place{}, ErrNotAnObject // The decoder's words might repeat the body.
		}
		if key == name {
			end := int(decoder.InputOffset())

			return place{start: end - len(value), end: end}, nil
		}
	}

	return place{}, nil
}
