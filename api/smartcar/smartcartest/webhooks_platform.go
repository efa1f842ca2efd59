package smartcartest

import "slices"

// subscribedCar is a subscription without the user: all that a webhook knows.
type subscribedCar struct{ webhookID, vehicleID string }

// CurrentCar returns a car as it is now, and whether the platform has it: what WebhooksDeps.CurrentCar asks for.
func (p *Platform) CurrentCar(vehicleID string) (Car, bool) {
	car, ok := p.car(vehicleID)
	return car.Car, ok
}

// SubscribedVehicles are those of a webhook, longest first: whom to Subscribe when a platform was started with a StateFile.
func (p *Platform) SubscribedVehicles(webhookID string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var vehicleIDs []string
	for _, one := range p.subscribedCars() {
		if one.webhookID == webhookID {
			vehicleIDs = append(vehicleIDs, one.vehicleID)
		}
	}
	return vehicleIDs
}

// subscribedCars are in the order of their subscriptions. It is called with the lock held.
func (p *Platform) subscribedCars() []subscribedCar {
	var cars []subscribedCar
	all := selected(p.ledger.Subscriptions, func(*subscription) bool { return true }, func(made *subscription) int { return made.Number })
	for _, made := range all {
		if one := (subscribedCar{made.WebhookID, made.VehicleID}); !slices.Contains(cars, one) {
			cars = append(cars, one)
		}
	}
	return cars
}

// end makes a change that may end subscriptions, keeps it, and reports those that ended.
func (p *Platform) end(change func()) {
	p.mu.Lock()
	before := p.subscribedCars()
	change()
	p.save()
	after := p.subscribedCars()
	p.mu.Unlock()
	if p.deps.OnUnsubscribed == nil {
		return
	}
	for _, one := range before {
		if !slices.Contains(after, one) {
			p.deps.OnUnsubscribed(one.webhookID, one.vehicleID)
		}
	}
}
