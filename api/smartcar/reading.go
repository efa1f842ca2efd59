package smartcar

import (
	"encoding/json"
	"slices"
	"strings"
)

// endpoint is a read of v2 with the signals of 4.0 that its answer holds. Source: Smartcar, "endpoints" of REST v2.
type endpoint struct {
	path     string
	readings []reading
}

// reading finds one signal in the answer of an endpoint.
type reading struct {
	// signal is "Group.Name".
	signal string
	body   bodyMaker
}

// bodyMaker makes the body that a webhook has for the signal from what v2 answers. The unit system is that of the answer,
// "" when it was not said. A member that is absent becomes {"value":null}, which is no reading.
type bodyMaker func(sent json.RawMessage, system string) any

// endpoints lists the reads that stand for signals. A function, since a variable would be mutable.
func endpoints() []endpoint {
	return []endpoint{
		{"/odometer", []reading{{"Odometer.TraveledDistance", measured("distance", UnitKilometre, UnitMile)}}},
		{"/battery", []reading{
			{"TractionBattery.StateOfCharge", share("percentRemaining")},
			{"TractionBattery.Range", measured("range", UnitKilometre, UnitMile)},
		}},
		{"/charge", []reading{
			{"Charge.IsCharging", charging},
			{"Charge.IsChargingCableConnected", plain("isPluggedIn")},
			{"Charge.DetailedChargingStatus", plain("state")},
		}},
		{"/fuel", []reading{
			{"InternalCombustionEngine.FuelLevel", share("percentRemaining")},
			{"InternalCombustionEngine.AmountRemaining", measured("amountRemaining", UnitLitre, UnitGallon)},
			{"InternalCombustionEngine.Range", measured("range", UnitKilometre, UnitMile)},
		}},
		{"/location", []reading{{"Location.PreciseLocation", asSent}}},
		{"/tires/pressure", []reading{{"Wheel.Tires", tires}}},
		{"/engine/oil", []reading{{"InternalCombustionEngine.OilLife", share("lifeRemaining")}}},
		{"/vin", []reading{{"VehicleIdentification.VIN", plain("vin")}}},
	}
}

// endpointsFor keeps what has to be asked for the wanted codes, and of it the readings that are wanted.
func endpointsFor(wanted []string) []endpoint {
	var asked []endpoint
	for _, known := range endpoints() {
		known.readings = slices.DeleteFunc(known.readings, func(r reading) bool {
			return !slices.Contains(wanted, refFromText(r.signal).Code)
		})
		if len(known.readings) > 0 {
			asked = append(asked, known)
		}
	}
	return asked
}

// signalOf makes the signal that a webhook would carry; of an answer that is not an object it is a failed one.
func (r reading) signalOf(sent json.RawMessage, system string) Signal {
	signal := r.empty()
	if kindOf(sent) == kindObject {
		// Marshal fails only for what cannot be here: the parts are valid JSON, or text.
		if body, err := json.Marshal(r.body(sent, system)); err == nil {
			signal.readBody(body)
		}
	}
	if signal.Body == nil {
		signal.Failure = &SignalFailure{Status: statusFailed}
	}
	return signal
}

func (r reading) empty() Signal {
	ref := refFromText(r.signal)
	return Signal{Code: ref.Code, Name: ref.Name, Group: ref.Group}
}

type valueBody struct {
	Value json.RawMessage `json:"value"`
	Unit  string          `json:"unit,omitempty"`
}

func plain(name string) bodyMaker {
	return func(sent json.RawMessage, _ string) any { return valueBody{Value: member(sent, name)} }
}

func asSent(sent json.RawMessage, _ string) any { return sent }

func measured(name string, metric, imperial Unit) bodyMaker {
	return func(sent json.RawMessage, system string) any {
		return valueBody{Value: member(sent, name), Unit: unitIn(system, metric, imperial)}
	}
}

// unitIn leaves a unit system nobody knows as it is, so that it cannot pass for metric.
func unitIn(system string, metric, imperial Unit) string {
	switch strings.ToLower(system) {
	case "metric":
		return string(metric)
	case "imperial":
		return string(imperial)
	default:
		return system
	}
}

// share turns a fraction of v2 into the percent of a webhook: 0.62 becomes 62, and 0.6200000000000001 too.
func share(name string) bodyMaker {
	return func(sent json.RawMessage, _ string) any {
		body := valueBody{Value: member(sent, name), Unit: string(UnitPercent)}
		fraction := Signal{Value: body.Value}
		if value, ok := fraction.Number(); ok {
			body.Value = json.RawMessage(percentOfFraction(value, UnitPercent).Round(quantityDecimals).String())
		}
		return body
	}
}

// charging says nothing for a state that is not in Smartcar's list.
func charging(sent json.RawMessage, _ string) any {
	switch text(member(sent, "state")) {
	case "CHARGING":
		return valueBody{Value: json.RawMessage("true")}
	case "NOT_CHARGING", "FULLY_CHARGED":
		return valueBody{Value: json.RawMessage("false")}
	default:
		return valueBody{}
	}
}

type tire struct {
	Row      int             `json:"row"`
	Column   int             `json:"column"`
	Pressure json.RawMessage `json:"tirePressure"`
}

type tiresBody struct {
	Values      []tire `json:"values"`
	RowCount    int    `json:"rowCount"`
	ColumnCount int    `json:"columnCount"`
	Unit        string `json:"unit,omitempty"`
}

// tires numbers rows from the front and columns from the left. Source: Smartcar, "signal catalogue".
func tires(sent json.RawMessage, system string) any {
	rows := [...][2]string{{"frontLeft", "frontRight"}, {"backLeft", "backRight"}}
	body := tiresBody{
		Values: []tire{}, RowCount: len(rows), ColumnCount: len(rows[0]), Unit: unitIn(system, UnitKilopascal, UnitPoundPerSquareInch),
	}
	for row, columns := range rows {
		for column, name := range columns {
			if pressure := member(sent, name); !isAbsent(pressure) {
				body.Values = append(body.Values, tire{Row: row, Column: column, Pressure: pressure})
			}
		}
	}
	return body
}
