package smartcar_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func TestParseUnitKnowsEverySpelling(t *testing.T) {
	t.Parallel()
	for unit, spellings := range map[smartcar.Unit][]string{
		smartcar.UnitKilometre:          {"km", "KM", "kilometer", "Kilometers", "kilometre", "kilo metres"},
		smartcar.UnitMile:               {"mi", "mile", "MILES"},
		smartcar.UnitPercent:            {"percent", "percentage", "%"},
		smartcar.UnitLitre:              {"l", "L", "liter", "liters", "litre", "litres"},
		smartcar.UnitGallon:             {"gal", "gallon", "gallons"},
		smartcar.UnitKilowattHour:       {"kwh", "kWh", "kwhr", "kilowatt-hours", "kilowatt_hour"},
		smartcar.UnitKilometrePerHour:   {"km/h", "kmh", "kilometers_per_hour"},
		smartcar.UnitMilePerHour:        {"mph", "miles_per_hour"},
		smartcar.UnitBar:                {"bar"},
		smartcar.UnitKilopascal:         {"kPa"},
		smartcar.UnitPoundPerSquareInch: {"psi"},
		smartcar.UnitVolt:               {"volts"},
		smartcar.UnitAmpere:             {"ampere", "amps"},
		smartcar.UnitWatt:               {"watts"},
		smartcar.UnitKilowatt:           {"kilowatts"},
		smartcar.UnitDegree:             {"degrees"},
		smartcar.UnitCelsius:            {"degrees-celsius", "°C"},
		smartcar.UnitFahrenheit:         {"°F"},
		smartcar.UnitSecond:             {"seconds"},
		smartcar.UnitMinute:             {"minutes"},
		smartcar.UnitHour:               {"hours"},
	} {
		for _, spelling := range spellings {
			got, err := smartcar.ParseUnit(spelling)
			require.NoError(t, err, spelling)
			require.Equal(t, unit, got, spelling)
		}
	}
	for _, blank := range []string{"", " ", "_-\t"} {
		_, err := smartcar.ParseUnit(blank)
		require.ErrorIs(t, err, smartcar.ErrUnitAbsent)
	}
	for _, unknown := range []string{"furlong", "m", "kms²", "\u212Am", "ſ"} {
		_, err := smartcar.ParseUnit(unknown)
		require.ErrorIs(t, err, smartcar.ErrUnitUnknown, unknown)
	}
}

func TestKilometresConvertsDistancesOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value, unit, want string
		assumed           bool
		err               error
	}{
		{"42506.3", "km", "42506.3", false, nil},
		{"42506.3", "Kilometers", "42506.3", false, nil},
		{"42506.3", "", "42506.3", true, nil},
		{"1", "mi", "1.609", false, nil},
		{"26412.1", "miles", "42506.155", false, nil},
		{"0.0004", "km", "0", false, nil},
		{"5", "percent", "0", false, smartcar.ErrUnitUnknown},
		{"5", "parsec", "0", false, smartcar.ErrUnitUnknown},
	} {
		km, assumed, err := smartcar.Kilometres(decimal.RequireFromString(c.value), c.unit)
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.want, km.String(), c)
		require.Equal(t, c.assumed, assumed, c)
	}
}

func TestNormaliseGivesMetricUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code, value, unit, want string
		wantUnit                smartcar.Unit
		assumed                 bool
		err                     error
	}{
		{"tractionbattery-stateofcharge", "62", "percent", "62", smartcar.UnitPercent, false, nil},
		{"tractionbattery-stateofcharge", "0.5", "percent", "0.5", smartcar.UnitPercent, false, nil},
		{"tractionbattery-stateofcharge", "62", "", "62", smartcar.UnitPercent, true, nil},
		{"internalcombustionengine-fuellevel", "0.77", "", "77", smartcar.UnitPercent, true, nil},
		{"internalcombustionengine-amountremaining", "10", "gallons", "37.854118", smartcar.UnitLitre, false, nil},
		{"tractionbattery-range", "100", "miles", "160.9344", smartcar.UnitKilometre, false, nil},
		{"charge-chargerate", "30", "miles_per_hour", "48.28032", smartcar.UnitKilometrePerHour, false, nil},
		{"charge-timetocomplete", "95", "", "95", smartcar.UnitMinute, true, nil},
		{"charge-timetocomplete", "2", "hours", "2", smartcar.UnitHour, false, nil},
		{"charge-wattage", "10.8", "kilowatts", "10.8", smartcar.UnitKilowatt, false, nil},
		{"climate-internaltemperature", "68", "°F", "20", smartcar.UnitCelsius, false, nil},
		{"wheel-tires", "2.58", "bar", "258", smartcar.UnitKilopascal, false, nil},
		{"wheel-tires", "258", "bar", "258", smartcar.UnitKilopascal, false, nil},
		{"wheel-tires", "699.9", "bar", "0", "", false, smartcar.ErrValueDiscarded},
		{"wheel-tires", "36", "psi", "248.211252", smartcar.UnitKilopascal, false, nil},
		{"wheel-tires", "700", "kPa", "0", "", false, smartcar.ErrValueDiscarded},
		{"wheel-tires", "230", "", "230", smartcar.UnitKilopascal, true, nil},
		{"diagnostics-oilpressure", "650", "kPa", "650", smartcar.UnitKilopascal, false, nil},
		{"diagnostics-oilpressure", "25", "bar", "2500", smartcar.UnitKilopascal, false, nil},
		{"diagnostics-oilpressure", "100", "psi", "689.4757", smartcar.UnitKilopascal, false, nil},
		{"charge-chargerphases", "3", "", "3", "", false, nil},
		{"never-heardof", "3", "km", "3", smartcar.UnitKilometre, false, nil},
		{"never-heardof", "3", "wombats", "3", "", false, smartcar.ErrUnitUnknown},
		{"odometer-traveleddistance", "3", "percent", "3", "", false, smartcar.ErrUnitUnknown},
	} {
		got, err := smartcar.Normalise(c.code, decimal.RequireFromString(c.value), c.unit)
		require.ErrorIs(t, err, c.err, c)
		require.Equal(t, c.want, got.Value.String(), c)
		require.Equal(t, c.wantUnit, got.Unit, c)
		require.Equal(t, c.assumed, got.Assumed, c)
	}
}
