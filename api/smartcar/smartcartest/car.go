package smartcartest

import (
	"math"
	"time"
)

const (
	kilometresPerMile = 1.609344
	// A car at this speed day and night stays below what counts as plausible for
	// a day. Rule: implausible readings, 2,000 km per day.
	maxSpeed = 78
	minSpeed = 42

	percentPerKilometre = 0.2
	emptyLevel          = 10
	fullLevel           = 90
)

// Car is a made-up car. It is not safe for concurrent use.
type Car struct {
	// Name is for people and of no meaning.
	Name string
	// VehicleID and UserID are Smartcar's ids.
	VehicleID, UserID string
	Make, Model       string
	Year              int
	// Unit is in what and how the car reports its odometer: km, kilometers or mi.
	Unit string
	// Electric cars report a state of charge, others a fuel level.
	Electric bool
	// OdometerKm is in kilometres whatever the unit, Level in percent, Speed in km/h.
	OdometerKm, Level, Speed float64

	latitude, longitude float64
}

// DefaultCars are the three cars of the workbench.
func DefaultCars() []Car {
	return []Car{
		{
			Name: "Ada's hatchback", VehicleID: "5b0a7f52-9c1e-4e63-8d27-1f6c3b9ae401",
			UserID: "c1d5e2a8-34b7-4f90-a6c1-8e0f7d2b5101", Make: "VOLKSWAGEN", Model: "ID.3", Year: 2023,
			Unit: "km", Electric: true, OdometerKm: 18204.6, Level: 71, Speed: 60, latitude: 52.1, longitude: 5.3,
		},
		{
			Name: "Grace's pickup", VehicleID: "e7c94d10-2f68-47ab-b5d3-60a9f1e8c402",
			UserID: "a94f3b67-50de-4c12-9b8e-2d71c6e05102", Make: "FORD", Model: "F-150", Year: 2021,
			Unit: "mi", OdometerKm: 98211, Level: 64, Speed: 60, latitude: 41.6, longitude: -93.6,
		},
		{
			Name: "Alan's saloon", VehicleID: "08f2b6d9-7a35-4c8e-91e4-d5c7a0b3f403",
			UserID: "6e2810cd-f7a9-4b35-8d04-93b5f1a75103", Make: "BMW", Model: "320i", Year: 2020,
			Unit: "kilometers", OdometerKm: 55930.2, Level: 48, Speed: 60, latitude: 48.7, longitude: 9.1,
		},
	}
}

// Drive moves the car on at its speed. An empty battery or tank is filled on the way.
func (c *Car) Drive(elapsed time.Duration) {
	distance := c.Speed * elapsed.Hours()
	c.OdometerKm += distance
	c.Level -= distance * percentPerKilometre
	if c.Level < emptyLevel {
		c.Level = fullLevel
	}
}

// Odometer is what the car reports, in its own unit with one decimal.
func (c *Car) Odometer() float64 {
	const decimals = 10
	value := c.OdometerKm
	if c.Unit == "mi" {
		value /= kilometresPerMile
	}

	return math.Round(value*decimals) / decimals
}

func (c *Car) readings() []SignalReading {
	level := &writer{}
	level.open('{')
	level.decimal("value", math.Round(c.Level))
	level.text("unit", "percent")
	level.close("}")
	energy := SignalReading{
		Code: "internalcombustionengine-fuellevel", Name: "FuelLevel", Group: "InternalCombustionEngine", Body: level.buffer,
	}
	if c.Electric {
		energy = SignalReading{
			Code: "tractionbattery-stateofcharge", Name: "StateOfCharge", Group: "TractionBattery", Body: level.buffer,
		}
	}

	latitude, longitude := c.position()
	position := &writer{}
	position.open('{')
	position.decimal("latitude", latitude)
	position.decimal("longitude", longitude)
	position.close("}")

	return []SignalReading{
		energy,
		{Code: "location-preciselocation", Name: "PreciseLocation", Group: "Location", Body: position.buffer},
	}
}

// position goes round and round near where the car started.
func (c *Car) position() (latitude, longitude float64) {
	const (
		radius    = 0.1
		lap       = 30
		precision = 10000
	)
	angle := c.OdometerKm / lap
	latitude = math.Round((c.latitude+radius*math.Sin(angle))*precision) / precision
	longitude = math.Round((c.longitude+radius*math.Cos(angle))*precision) / precision

	return latitude, longitude
}
