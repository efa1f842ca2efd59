package smartcar

import (
	"math"
	"strconv"
	"time"
)

const (
	// From this number on a time is in milliseconds; below, in seconds.
	firstMillisecondTime = 1e12
	// From this number on a time is in microseconds.
	firstMicrosecondTime = 1e15
	lastYear             = 9999
	zonelessTime         = "2006-01-02T15:04:05"
)

// timestamp reads a time as an ISO 8601 string or as a number of seconds, milliseconds or microseconds since 1970,
// told apart by size, also in quotes. It is zero when absent, 0, not a time, or outside 1970 to 9999.
// Source: Smartcar, "envelope of 4.0 events".
func timestamp(raw []byte) time.Time {
	sent := text(raw)
	if sent == "" || len(sent) > maxNumberLength {
		return time.Time{}
	}
	at := epochTime(sent)
	if at.IsZero() {
		at = isoTime(sent)
	}
	if at.Unix() <= 0 || at.Year() > lastYear {
		return time.Time{}
	}
	return at.UTC()
}

// timeOf is timestamp, and whether that is all there is to the value; 0 says that there is no time.
func timeOf(raw []byte) (time.Time, bool) {
	at := timestamp(raw)
	return at, !at.IsZero() || isAbsent(raw) || string(raw) == "0"
}

func epochTime(sent string) time.Time {
	if whole, err := strconv.ParseInt(sent, 10, 64); err == nil {
		return scaledTime(float64(whole), whole)
	}
	number, err := strconv.ParseFloat(sent, 64)
	if err != nil || math.IsNaN(number) || math.Abs(number) >= math.MaxInt64 {
		return time.Time{}
	}
	whole, fraction := math.Modf(number)
	at := scaledTime(number, int64(whole))
	if number < firstMillisecondTime {
		return at.Add(time.Duration(fraction * float64(time.Second)))
	}
	return at
}

func scaledTime(size float64, whole int64) time.Time {
	switch {
	case size >= firstMicrosecondTime:
		return time.UnixMicro(whole)
	case size >= firstMillisecondTime:
		return time.UnixMilli(whole)
	default:
		return time.Unix(whole, 0)
	}
}

func isoTime(sent string) time.Time {
	for _, layout := range [...]string{time.RFC3339, zonelessTime} {
		if at, err := time.Parse(layout, sent); err == nil {
			return at
		}
	}
	return time.Time{}
}
