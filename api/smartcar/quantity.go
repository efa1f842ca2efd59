package smartcar

import (
	"errors"

	"github.com/shopspring/decimal"
)

const (
	codeStateOfCharge   = "tractionbattery-stateofcharge"
	codeNominalCapacity = "tractionbattery-nominalcapacity"
	codeFuelLevel       = "internalcombustionengine-fuellevel"
	codeOilLife         = "internalcombustionengine-oillife"
	codeLocation        = "location-preciselocation"
	codeVIN             = "vehicleidentification-vin"
	codeTires           = "wheel-tires"
)

const (
	// No car tyre is filled to more bar than this; a greater value is kPa under a wrong name.
	maxTyreBar = 20
	// Above this many kPa a tyre pressure is a marker for "not available".
	maxTyreKilopascal = 600
	hundred           = 100
	quantityDecimals  = 6
)

// Conversion factors in millionths and billionths: 1 mi = 1.609344 km, 1 psi = 6.894757 kPa, 1 gal = 3.785411784 L.
const (
	millimetresPerMile  = 1_609_344
	millipascalsPerPSI  = 6_894_757
	nanolitresPerGallon = 3_785_411_784
	millionths          = -6
	billionths          = -9
)

// ErrValueDiscarded says that a value is a marker for "not available" and not a reading.
var ErrValueDiscarded = errors.New("smartcar: the value is a not-available marker")

// Quantity is a value in its metric unit: km, km/h, percent 0 to 100, L, kWh, kPa, °C; other units stay as sent.
type Quantity struct {
	Value decimal.Decimal
	// Unit is "" for a signal that has none.
	Unit Unit
	// Assumed says that no unit was sent and the metric default of the signal was taken.
	Assumed bool
}

// Normalise converts the value of the signal with that code from the unit as sent to metric, rounded to six
// decimals. A share without a unit that is at most 1 is a fraction and becomes percent. A tyre's pressure above 20
// bar is taken for kPa. It returns ErrUnitUnknown, with the value unconverted and without a unit, when the unit is not
// known or measures something else than the signal does, and ErrValueDiscarded for a tyre's above 600 kPa.
// Source: Smartcar, "units" and "signal catalogue".
func Normalise(code string, value decimal.Decimal, unit string) (Quantity, error) {
	usual := defaultUnit(code)
	sent, err := ParseUnit(unit)
	assumed := errors.Is(err, ErrUnitAbsent)
	if assumed {
		if usual == "" {
			return Quantity{Value: value}, nil
		}
		sent, value = usual, percentOfFraction(value, usual)
	} else if err != nil {
		return Quantity{Value: value}, err
	}
	if usual != "" && dimension(usual) != dimension(sent) {
		return Quantity{Value: value}, ErrUnitUnknown
	}
	if code == codeTires && sent == UnitBar && value.GreaterThan(decimal.NewFromInt(maxTyreBar)) {
		sent = UnitKilopascal
	}
	metric, metricUnit := toMetric(value, sent)
	if code == codeTires && metric.GreaterThan(decimal.NewFromInt(maxTyreKilopascal)) {
		return Quantity{}, ErrValueDiscarded
	}
	return Quantity{Value: metric.Round(quantityDecimals), Unit: metricUnit, Assumed: assumed}, nil
}

func percentOfFraction(value decimal.Decimal, unit Unit) decimal.Decimal {
	if unit == UnitPercent && value.Abs().LessThanOrEqual(decimal.NewFromInt(1)) {
		return value.Mul(decimal.NewFromInt(hundred))
	}
	return value
}

// toMetric converts imperial units and bar, and leaves all others. The factors are exact but the one of psi.
func toMetric(value decimal.Decimal, unit Unit) (decimal.Decimal, Unit) {
	switch unit {
	case UnitMile:
		return value.Mul(decimal.New(millimetresPerMile, millionths)), UnitKilometre
	case UnitMilePerHour:
		return value.Mul(decimal.New(millimetresPerMile, millionths)), UnitKilometrePerHour
	case UnitGallon:
		return value.Mul(decimal.New(nanolitresPerGallon, billionths)), UnitLitre
	case UnitBar:
		return value.Mul(decimal.NewFromInt(hundred)), UnitKilopascal
	case UnitPoundPerSquareInch:
		return value.Mul(decimal.New(millipascalsPerPSI, millionths)), UnitKilopascal
	case UnitFahrenheit:
		const freezing, fifths, ninths = 32, 5, 9
		celsius := value.Sub(decimal.NewFromInt(freezing)).Mul(decimal.NewFromInt(fifths))
		return celsius.DivRound(decimal.NewFromInt(ninths), quantityDecimals), UnitCelsius
	default:
		return value, unit
	}
}

// dimension maps units that can stand for one another to one of them.
func dimension(unit Unit) Unit {
	switch unit {
	case UnitSecond, UnitMinute, UnitHour:
		return UnitSecond
	case UnitWatt, UnitKilowatt:
		return UnitWatt
	default:
		_, metric := toMetric(decimal.Decimal{}, unit)
		return metric
	}
}

// defaultUnit is the metric unit of a signal, "" when it has none or is not in the catalogue.
func defaultUnit(code string) Unit {
	switch code {
	case CodeOdometer, "tractionbattery-range", "internalcombustionengine-range":
		return UnitKilometre
	case "charge-chargerate", "motion-currentspeed":
		return UnitKilometrePerHour
	case codeStateOfCharge, "lowvoltagebattery-stateofcharge", codeFuelLevel, codeOilLife, "charge-chargelimits":
		return UnitPercent
	case "internalcombustionengine-amountremaining":
		return UnitLitre
	case codeNominalCapacity, "charge-energyadded":
		return UnitKilowattHour
	case "charge-wattage":
		return UnitWatt
	case "charge-voltage":
		return UnitVolt
	case "charge-amperage", "charge-amperagemax", "charge-amperagerequested":
		return UnitAmpere
	case "charge-timetocomplete":
		return UnitMinute
	case codeTires:
		return UnitBar
	case "climate-internaltemperature", "climate-externaltemperature", "hvac-cabintargettemperature":
		return UnitCelsius
	default:
		return ""
	}
}
