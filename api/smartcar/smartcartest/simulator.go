package smartcartest

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
)

const defaultInterval = 5 * time.Second

// Deliverer is what the Simulator posts with: a Sender.
type Deliverer interface {
	Verify(ctx context.Context) error
	Send(ctx context.Context, body []byte) (Report, error)
}

// SimulatorDeps are what a Simulator needs.
type SimulatorDeps struct {
	Deliverer Deliverer
	// Cars to drive; none is DefaultCars.
	Cars []Car
	// Interval between two reports of a car; 0 is 5 s.
	Interval time.Duration
	// StateFile keeps the odometers over restarts, lest they run backwards; empty
	// keeps nothing.
	StateFile string
	// Logger may be nil. Clock nil is the real one. Seed 0 is a random seed; any
	// other makes ids and speeds, hence all events, repeatable.
	Logger *slog.Logger
	Clock  func() time.Time
	Seed   uint64
}

func (d SimulatorDeps) validate() error {
	var faults []error
	if d.Deliverer == nil {
		faults = append(faults, fmt.Errorf("%w: the simulator needs a deliverer", ErrOptions))
	}
	if d.Interval < 0 {
		faults = append(faults, fmt.Errorf("%w: the simulator's interval must not be negative", ErrOptions))
	}

	return errors.Join(faults...)
}

// Simulator drives cars and posts what they report. Its methods may be called
// from several goroutines.
type Simulator struct {
	deps   SimulatorDeps
	source *rand.ChaCha8
	random *rand.Rand

	mu       sync.Mutex
	verified bool
	last     time.Time
	fleet    []*fleetCar
}

// fleetCar is a car and what became of its reports.
type fleetCar struct {
	Car

	reported float64
	counts   Counts
}

// Counts tell what became of a car's events. Attempts count requests.
type Counts struct {
	Sent         int `json:"sent"`
	Acknowledged int `json:"acknowledged"`
	Dropped      int `json:"dropped"`
	Attempts     int `json:"attempts"`
}

// NewSimulator checks the dependencies and loads the state.
func NewSimulator(deps SimulatorDeps) (*Simulator, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	if len(deps.Cars) == 0 {
		deps.Cars = DefaultCars()
	}
	if deps.Interval == 0 {
		deps.Interval = defaultInterval
	}
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}

	source := seeded(deps.Seed)
	simulator := &Simulator{deps: deps, source: source, random: rand.New(source)} //nolint:gosec // To be repeatable.
	for _, car := range deps.Cars {
		simulator.fleet = append(simulator.fleet, &fleetCar{Car: car})
	}

	return simulator, simulator.load()
}

// seeded is random for the seed 0, and repeatable for any other.
func seeded(number uint64) *rand.ChaCha8 {
	var seed [32]byte
	if number == 0 {
		_, _ = cryptorand.Read(seed[:]) // It never fails, by its documentation.
	} else {
		binary.LittleEndian.PutUint64(seed[:], number)
	}

	return rand.NewChaCha8(seed)
}

// Run verifies the receiver, waiting until it passes, then drives and reports
// until ctx ends, which is no error. Deliveries overlap: one that is being
// retried does not hold up later ones.
func (s *Simulator) Run(ctx context.Context) error {
	for {
		err := s.Verify(ctx)
		if err == nil {
			break
		}
		s.deps.Logger.WarnContext(ctx, "simulator: the receiver is not verified", "error", err)
		if pause(ctx, s.deps.Interval) != nil {
			return nil // The end of ctx is how Run ends.
		}
	}

	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	ticker := time.NewTicker(s.deps.Interval)
	defer ticker.Stop()
	for {
		events, err := s.advance()
		if err != nil {
			return err
		}
		for _, event := range events {
			deliveries.Go(func() { s.deliver(ctx, event) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Verify sends VERIFY once and remembers that the receiver passed.
func (s *Simulator) Verify(ctx context.Context) error {
	if err := s.deps.Deliverer.Verify(ctx); err != nil {
		return fmt.Errorf("verify the receiver: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified = true

	return nil
}

// Step drives the cars once and returns when their events are delivered or
// dropped. It is Run for tests that set their own pace.
func (s *Simulator) Step(ctx context.Context) error {
	events, err := s.advance()
	if err != nil {
		return err
	}
	for _, event := range events {
		s.deliver(ctx, event)
	}

	if err := ctx.Err(); err != nil {
		return fmt.Errorf("drive and report: %w", err)
	}

	return nil
}

// Car returns a car as it is now, and whether the simulator drives it: what PlatformDeps.CurrentCar asks for.
func (s *Simulator) Car(vehicleID string) (Car, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, car := range s.fleet {
		if car.VehicleID == vehicleID {
			return car.Car, true
		}
	}

	return Car{}, false
}

type event struct {
	id   string
	car  *fleetCar
	body []byte
}

// advance drives each car for the time since the last call. A car whose odometer
// did not move by what it displays has nothing to report.
func (s *Simulator) advance() ([]event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	now := s.deps.Clock()
	elapsed := s.deps.Interval
	if !s.last.IsZero() {
		elapsed = now.Sub(s.last)
	}
	s.last = now

	var events []event
	for _, car := range s.fleet {
		car.Speed = minSpeed + s.random.Float64()*(maxSpeed-minSpeed)
		car.Drive(elapsed)
		if car.Odometer() == car.reported { // Both are rounded alike.
			continue
		}
		id, err := uuid.NewRandomFromReader(s.source)
		if err != nil {
			return nil, fmt.Errorf("make an event id: %w", err)
		}
		events = append(events, event{id: id.String(), car: car, body: car.report(id.String(), now)})
		car.reported = car.Odometer()
		car.counts.Sent++
	}

	return events, s.save()
}

func (c *fleetCar) report(eventID string, now time.Time) []byte {
	return BuildVehicleState(VehicleState{
		EventID: eventID, DeliveryID: eventID,
		VehicleID: c.VehicleID, UserID: c.UserID, Make: c.Make, Model: c.Model, Year: c.Year,
		Odometer: c.Odometer(), Unit: c.Unit, ObservedAt: now, DeliveredAt: now,
		FirstDelivery: c.counts.Sent == 0, Readings: c.readings(),
	})
}

func (s *Simulator) deliver(ctx context.Context, event event) {
	report, err := s.deps.Deliverer.Send(ctx, event.body)

	s.mu.Lock()
	defer s.mu.Unlock()
	event.car.counts.Attempts += len(report.Attempts)
	switch {
	case report.Acknowledged:
		event.car.counts.Acknowledged++
	case err == nil:
		event.car.counts.Dropped++
		s.deps.Logger.WarnContext(ctx, "simulator: event dropped", "eventId", event.id, "status", report.Status)
	case ctx.Err() == nil:
		s.deps.Logger.ErrorContext(ctx, "simulator: event not sent", "eventId", event.id, "error", err)
	}
}
