package smartcar

import (
	"errors"
	"strings"
	"unicode"

	"github.com/shopspring/decimal"
)

// Unit is a unit of measurement in its usual symbol.
type Unit string

// The units that Smartcar's documents and deliveries use, and those that cars themselves use.
// Source: Smartcar, "units".
const (
	UnitKilometre          Unit = "km"
	UnitMile               Unit = "mi"
	UnitKilometrePerHour   Unit = "km/h"
	UnitMilePerHour        Unit = "mph"
	UnitPercent            Unit = "percent"
	UnitLitre              Unit = "L"
	UnitGallon             Unit = "gal"
	UnitKilowattHour       Unit = "kWh"
	UnitKilowatt           Unit = "kW"
	UnitWatt               Unit = "W"
	UnitVolt               Unit = "V"
	UnitAmpere             Unit = "A"
	UnitBar                Unit = "bar"
	UnitKilopascal         Unit = "kPa"
	UnitPoundPerSquareInch Unit = "psi"
	UnitDegree             Unit = "degrees"
	UnitCelsius            Unit = "°C"
	UnitFahrenheit         Unit = "°F"
	UnitSecond             Unit = "s"
	UnitMinute             Unit = "min"
	UnitHour               Unit = "h"
)

var (
	// ErrUnitAbsent says that no unit was sent; the metric default of the signal may be assumed and must be marked.
	ErrUnitAbsent = errors.New("smartcar: no unit")
	// ErrUnitUnknown says that a unit is not known, or does not measure what it was given for. The value must not
	// be converted.
	ErrUnitUnknown = errors.New("smartcar: unknown unit")
)

// kilometreDecimals is the precision of converted distances: one metre.
const kilometreDecimals = 3

// ParseUnit reads a unit in any spelling that Smartcar documents or sends; case, white space, "_" and "-" do not
// matter. It returns ErrUnitAbsent for blank text and ErrUnitUnknown otherwise. Source: Smartcar, "units".
//
//nolint:cyclop // A table of names, which as a map would be a mutable global.
func ParseUnit(text string) (Unit, error) {
	switch foldUnit(text) {
	case "":
		return "", ErrUnitAbsent
	case "km", "kilometer", "kilometers", "kilometre", "kilometres":
		return UnitKilometre, nil
	case "mi", "mile", "miles":
		return UnitMile, nil
	case "km/h", "kmh", "kph", "kilometersperhour", "kilometresperhour":
		return UnitKilometrePerHour, nil
	case "mph", "mi/h", "milesperhour":
		return UnitMilePerHour, nil
	case "percent", "percentage", "%":
		return UnitPercent, nil
	case "l", "liter", "liters", "litre", "litres":
		return UnitLitre, nil
	case "gal", "gallon", "gallons":
		return UnitGallon, nil
	case "kwh", "kwhr", "kilowatthour", "kilowatthours":
		return UnitKilowattHour, nil
	case "kw", "kilowatt", "kilowatts":
		return UnitKilowatt, nil
	case "w", "watt", "watts":
		return UnitWatt, nil
	case "v", "volt", "volts":
		return UnitVolt, nil
	case "a", "amp", "amps", "ampere", "amperes":
		return UnitAmpere, nil
	case "bar":
		return UnitBar, nil
	case "kpa", "kilopascal", "kilopascals":
		return UnitKilopascal, nil
	case "psi":
		return UnitPoundPerSquareInch, nil
	case "degree", "degrees":
		return UnitDegree, nil
	case "°c", "c", "celsius", "degreescelsius":
		return UnitCelsius, nil
	case "°f", "f", "fahrenheit", "degreesfahrenheit":
		return UnitFahrenheit, nil
	case "s", "second", "seconds":
		return UnitSecond, nil
	case "min", "minute", "minutes":
		return UnitMinute, nil
	case "h", "hour", "hours":
		return UnitHour, nil
	default:
		return "", ErrUnitUnknown
	}
}

// foldUnit lowers ASCII letters only: full Unicode folding would turn foreign letters into units.
func foldUnit(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || unicode.IsSpace(r):
			return -1
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return r
		}
	}, text)
}

// Kilometres converts a distance in the unit as sent (see ParseUnit) to kilometres, rounded to metres; a mile is
// 1.609344 km. Without a unit it takes the value for kilometres and sets assumed. For an unknown unit or one that
// is not of length it returns ErrUnitUnknown. Rule: odometer units.
func Kilometres(value decimal.Decimal, unit string) (km decimal.Decimal, assumed bool, err error) {
	parsed, err := ParseUnit(unit)
	if errors.Is(err, ErrUnitAbsent) {
		return value.Round(kilometreDecimals), true, nil
	}
	if err != nil {
		return decimal.Decimal{}, false, err
	}
	if parsed != UnitKilometre && parsed != UnitMile {
		return decimal.Decimal{}, false, ErrUnitUnknown
	}
	metric, _ := toMetric(value, parsed)
	return metric.Round(kilometreDecimals), false, nil
}
