package smartcartest

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"
)

// PlatformUser is somebody who can sign in on the Connect page.
type PlatformUser struct {
	// ID is Smartcar's user id.
	ID, Name string
	Cars     []PlatformCar
}

// PlatformCar is a car as the REST APIs show it. Its UserID is that of the PlatformUser.
type PlatformCar struct {
	Car

	// VIN is invented from the vehicle id when empty: 17 characters without I, O and Q.
	VIN string
	// Lacks are permissions that the car cannot serve, such as "read_odometer", besides those of the other powertrain.
	Lacks []string
	// ObservedAt is when the maker recorded the data; zero is a few seconds before each request.
	ObservedAt time.Time
	// Stale are codes of signals that v3 shows as failed, VEHICLE_STATE and UNREACHABLE, with their last body of an hour before.
	Stale []string
	// Charging (plugged in, too) and Unlocked are as the last command had it.
	Charging, Unlocked bool
	// ChargeLimit is a share of 1; 0 is 0.8.
	ChargeLimit float64
}

func (c PlatformCar) lacks(permission string) bool {
	foreign := []string{permissionBattery, permissionCharge, permissionControlCharge}
	if c.Electric {
		foreign = []string{permissionFuel, permissionEngineOil}
	}
	return slices.Contains(foreign, permission) || slices.Contains(c.Lacks, permission)
}

func (c PlatformCar) powertrain() string {
	if c.Electric {
		return "BEV"
	}
	return "ICE"
}

func (c PlatformCar) observedAt(now time.Time) time.Time {
	const usualAge = 8 * time.Second
	if c.ObservedAt.IsZero() {
		return now.Add(-usualAge)
	}
	return c.ObservedAt
}

// ownedCar is a car and what changes of it; Platform.mu guards it.
type ownedCar struct{ PlatformCar }

func defaultUsers() []PlatformUser {
	var users []PlatformUser
	for _, car := range DefaultCars() {
		name, _, _ := strings.Cut(car.Name, "'s ")
		users = append(users, PlatformUser{ID: car.UserID, Name: name, Cars: []PlatformCar{{Car: car}}})
	}
	return users
}

func register(given []PlatformUser) (users []PlatformUser, cars map[string]*ownedCar) {
	cars = make(map[string]*ownedCar)
	for _, user := range given {
		user.Cars = slices.Clone(user.Cars)
		for i := range user.Cars {
			car := &user.Cars[i]
			car.UserID = user.ID
			if car.VIN == "" {
				car.VIN = inventVIN(car.VehicleID)
			}
			cars[car.VehicleID] = &ownedCar{PlatformCar: *car}
		}
		users = append(users, user)
	}
	return users, cars
}

// inventVIN derives a VIN from a vehicle id. No maker has the prefix.
func inventVIN(vehicleID string) string {
	const (
		prefix   = "ZZZ"
		alphabet = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
		length   = 17
	)
	vin := []byte(prefix)
	for _, chance := range sha256.Sum256([]byte(vehicleID)) {
		if len(vin) < length {
			vin = append(vin, alphabet[int(chance)%len(alphabet)])
		}
	}
	return string(vin)
}

// car returns a copy of a car as it is now.
func (p *Platform) car(vehicleID string) (PlatformCar, bool) {
	p.mu.Lock()
	owned, ok := p.cars[vehicleID]
	if !ok {
		p.mu.Unlock()
		return PlatformCar{}, false
	}
	car := owned.PlatformCar
	p.mu.Unlock()

	if p.deps.CurrentCar != nil {
		if now, ok := p.deps.CurrentCar(vehicleID); ok {
			now.UserID, now.VehicleID = car.UserID, car.VehicleID
			car.Car = now
		}
	}
	return car, true
}

// UpdateCar changes a car and reports whether there is one with this id. Its ids stay as they are.
func (p *Platform) UpdateCar(vehicleID string, change func(*PlatformCar)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	owned, ok := p.cars[vehicleID]
	if !ok {
		return false
	}
	userID := owned.UserID
	change(&owned.PlatformCar)
	owned.UserID, owned.VehicleID = userID, vehicleID
	return true
}

// user returns a user with the cars as they are now.
func (p *Platform) user(userID string) (PlatformUser, bool) {
	index := slices.IndexFunc(p.users, func(user PlatformUser) bool { return user.ID == userID })
	if index < 0 {
		return PlatformUser{}, false
	}
	user := p.users[index]
	user.Cars = nil
	for _, given := range p.users[index].Cars {
		if car, ok := p.car(given.VehicleID); ok {
			user.Cars = append(user.Cars, car)
		}
	}
	return user, true
}
