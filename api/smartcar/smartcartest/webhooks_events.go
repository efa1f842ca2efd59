package smartcartest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/milepost/milepost/api/smartcar"
)

// retrievalAge is how much later than the maker's data Smartcar got it, and as much before it is delivered.
const retrievalAge = time.Second

// Disorder is what Smartcar does not rule out, for the events queued from now on.
type Disorder struct {
	// Duplicates is how often an acknowledged event is delivered once more.
	Duplicates int
	// HoldBack keeps events back until there are so many, and then queues them in another order, the seed's. 0 and 1 keep
	// none back.
	HoldBack int
	// AtOnce is how many first attempts may be under way at the same time, of one vehicle too; 0 is 1. With 1 they are made
	// in the order queued. Repetitions never hold up what comes later.
	AtOnce int
}

// Disturb sets the disorder. What is held back by an earlier one is released, unless the new one holds back as well.
func (w *Webhooks) Disturb(disorder Disorder) error {
	if disorder.Duplicates < 0 || disorder.HoldBack < 0 || disorder.AtOnce < 0 {
		return fmt.Errorf("%w: disorder must not be negative", ErrOptions)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disorder = disorder
	if len(w.held) >= disorder.HoldBack {
		w.release()
	}
	w.signal()
	return nil
}

// Release queues what is held back, in another order.
func (w *Webhooks) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release()
	w.signal()
}

func (w *Webhooks) release() {
	order := w.random.Perm(len(w.held))
	if slices.IsSorted(order) && len(order) > 1 { // Chance may leave everything as it was.
		order = append(order[1:], order[0])
	}
	for _, index := range order {
		w.queue = append(w.queue, w.held[index])
	}
	w.held = nil
}

// ReportState queues a VEHICLE_STATE with the readings of a car as they are now, for each active webhook that is subscribed
// to it, and returns the ids of the events. change, optional, may make each differ, for instance in Form, Mode or
// ObservedAt; it must not call the Webhooks. ErrForm is returned for what a form cannot say.
func (w *Webhooks) ReportState(vehicleID string, change func(*VehicleState)) ([]string, error) {
	return w.report(vehicleID, stateOf(change))
}

// ReportError queues a VEHICLE_ERROR as ReportState queues a VEHICLE_STATE.
func (w *Webhooks) ReportError(vehicleID string, reported []smartcar.VehicleError, change func(*VehicleError)) ([]string, error) {
	return w.report(vehicleID, func(state VehicleState) (draft, error) {
		failed := VehicleError{Envelope: state, Errors: reported}
		if change != nil {
			change(&failed)
		}
		body, err := BuildVehicleError(failed)
		return draft{smartcar.TypeVehicleError, failed.Envelope, body}, err
	})
}

// PressTestButton queues the sample that the dashboard's button sends: invented values of an invented car, in mode TEST.
// Source: Smartcar, "VEHICLE_STATE".
func (w *Webhooks) PressTestButton(webhookID string) (eventID string, err error) {
	const odometer, year = 78432, 2020
	sample := Car{
		VehicleID: "36ab27d0-fd9d-4455-823a-ce30af709ffc", UserID: "b0c5e1d4-6a27-4f38-9e15-7d20c4a86f11",
		Make: "TESLA", Model: "Model 3", Year: year, Unit: "km", OdometerKm: odometer,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	hook := w.find(webhookID)
	if hook == nil {
		return "", ErrUnknownWebhook
	}
	if !hook.isActive() {
		return "", ErrInactive
	}
	return w.add(hook, sample, stateOf(func(state *VehicleState) {
		state.Mode = smartcar.ModeTest
		state.Readings = []SignalReading{{
			Code: "internalcombustionengine-fuellevel", Name: "FuelLevel", Group: "InternalCombustionEngine",
			Body: json.RawMessage(`{"value":65,"unit":"percent"}`), Timeless: true,
		}}
	}))
}

// draft is a body and what it was made from.
type draft struct {
	kind  smartcar.EventType
	state VehicleState
	body  []byte
}

func stateOf(change func(*VehicleState)) func(VehicleState) (draft, error) {
	return func(state VehicleState) (draft, error) {
		if change != nil {
			change(&state)
		}
		if state.Form == SeedStyle && !state.Mode.IsLive() {
			return draft{}, fmt.Errorf("%w: the seed style has no mode, so all it says is live", ErrForm)
		}
		return draft{smartcar.TypeVehicleState, state, BuildVehicleState(state)}, nil
	}
}

func (w *Webhooks) report(vehicleID string, build func(VehicleState) (draft, error)) ([]string, error) {
	car, ok := w.deps.CurrentCar(vehicleID)
	if !ok {
		return nil, ErrUnknownVehicle
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var (
		ids    []string
		faults []error
	)
	for _, hook := range w.hooks {
		if !hook.isActive() || !slices.Contains(hook.vehicleIDs, vehicleID) {
			continue
		}
		id, err := w.add(hook, car, build)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		ids = append(ids, id)
	}
	return ids, errors.Join(faults...)
}

// sendFirst queues a FIRST_DELIVERY of each of these vehicles, or of all when none is named.
func (w *Webhooks) sendFirst(hook *registration, vehicleIDs ...string) error {
	w.mu.Lock()
	if len(vehicleIDs) == 0 {
		vehicleIDs = slices.Clone(hook.vehicleIDs)
	}
	w.mu.Unlock()
	var faults []error
	for _, vehicleID := range vehicleIDs {
		car, ok := w.deps.CurrentCar(vehicleID) // Not with the lock held: it takes locks of its own.
		if !ok || hook.Form == EventBased {
			continue
		}
		w.mu.Lock()
		if hook.isActive() && w.find(hook.ID) == hook {
			_, err := w.add(hook, car, stateOf(func(state *VehicleState) { state.FirstDelivery = true }))
			faults = append(faults, err)
		}
		w.mu.Unlock()
	}
	return errors.Join(faults...)
}

// add makes an event of a car and queues it. It is called with the lock held.
func (w *Webhooks) add(hook *registration, car Car, build func(VehicleState) (draft, error)) (string, error) {
	now, eventID := w.deps.Clock(), w.newID()
	made, err := build(VehicleState{
		EventID: eventID, DeliveryID: deliveryID(eventID, 0), WebhookID: hook.ID, WebhookName: hook.Name,
		VehicleID: car.VehicleID, UserID: car.UserID, Make: car.Make, Model: car.Model, Year: car.Year,
		PowertrainType: PlatformCar{Car: car}.powertrain(), Odometer: car.Odometer(), Unit: car.Unit, Readings: car.readings(),
		ObservedAt: now.Add(-2 * retrievalAge), RetrievedAt: now.Add(-retrievalAge), DeliveredAt: now,
		Form: hook.Form, Mode: hook.Mode,
	})
	if err != nil {
		return "", err
	}
	made.state = made.state.withDefaults()
	event := &delivering{
		webhook: hook.Webhook, body: made.body, duplicates: w.disorder.Duplicates,
		Delivery: &Delivery{
			EventID: made.state.EventID, WebhookID: hook.ID, VehicleID: made.state.VehicleID, Type: made.kind,
			Form: made.state.Form, Mode: made.state.Mode, FirstDelivery: made.state.FirstDelivery, QueuedAt: now,
		},
	}
	hook.counts.Sent++
	w.keep(event.Delivery)
	if w.disorder.HoldBack > 1 {
		w.held = append(w.held, event)
		if len(w.held) >= w.disorder.HoldBack {
			w.release()
		}
	} else {
		w.queue = append(w.queue, event)
	}
	w.signal()
	return event.EventID, nil
}

// newID is called with the lock held.
func (w *Webhooks) newID() string {
	return uuid.Must(uuid.NewRandomFromReader(w.source)).String() // ChaCha8 never fails to be read.
}

// deliveryID derives the id of an attempt, which so does not depend on what else is under way.
func deliveryID(eventID string, attempt int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(eventID+"/"+strconv.Itoa(attempt))).String()
}
