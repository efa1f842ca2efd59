package smartcartest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

// deliverer records what would be posted.
type deliverer struct {
	mu       sync.Mutex
	refusals int // How many of the next VERIFY fail.
	verifies int
	report   smartcartest.Report
	bodies   [][]byte
	sent     chan struct{}
}

func (d *deliverer) Verify(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.verifies++
	if d.verifies <= d.refusals {
		return errors.New("not yet")
	}

	return nil
}

func (d *deliverer) Send(_ context.Context, body []byte) (smartcartest.Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bodies = append(d.bodies, body)
	if d.sent != nil {
		d.sent <- struct{}{}
	}

	return d.report, nil
}

type simulatorBundle struct {
	deliverer *deliverer
	simulator *smartcartest.Simulator
	log       *bytes.Buffer
}

func setupSimulator(t *testing.T, change func(*smartcartest.SimulatorDeps)) *simulatorBundle {
	t.Helper()

	bundle := &simulatorBundle{
		deliverer: &deliverer{report: smartcartest.Report{Acknowledged: true, Attempts: make([]smartcartest.Attempt, 1)}},
		log:       &bytes.Buffer{},
	}
	now := time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)
	deps := smartcartest.SimulatorDeps{
		Deliverer: bundle.deliverer,
		Logger:    slog.New(slog.NewJSONHandler(bundle.log, nil)),
		Seed:      1,
		Interval:  time.Minute,
		Clock: func() time.Time {
			now = now.Add(time.Minute)

			return now
		},
	}
	change(&deps)
	var err error
	bundle.simulator, err = smartcartest.NewSimulator(deps)
	require.NoError(t, err)

	return bundle
}

func asItIs(*smartcartest.SimulatorDeps) {}

func TestSimulatorReportsCarsThatDrive(t *testing.T) {
	t.Parallel()
	bundle := setupSimulator(t, asItIs)
	const steps = 3
	for range steps {
		require.NoError(t, bundle.simulator.Step(t.Context()))
	}

	ids := make(map[string]bool)
	odometers := make(map[string]float64)
	units := make(map[string]bool)
	for i, body := range bundle.deliverer.bodies {
		delivery, err := smartcar.Decode(body)
		require.NoError(t, err)
		event := delivery.Events[0]
		ids[event.ID] = true
		require.Equal(t, i < len(smartcartest.DefaultCars()), delivery.Triggers[0].Kind == smartcar.TriggerFirstDelivery)
		require.Len(t, event.Signals, 3)

		odometer, ok := event.Odometer()
		require.True(t, ok)
		units[odometer.Unit] = true
		number, ok := odometer.Number()
		require.True(t, ok)
		value := number.InexactFloat64()
		require.Greater(t, value, odometers[event.VehicleID])
		odometers[event.VehicleID] = value
	}
	require.Len(t, ids, steps*len(smartcartest.DefaultCars()))
	require.Len(t, odometers, len(smartcartest.DefaultCars()))
	require.Equal(t, map[string]bool{"km": true, "mi": true, "kilometers": true}, units)
}

func TestSimulatorRepeatsItselfForTheSameSeed(t *testing.T) {
	t.Parallel()
	bundles := []*simulatorBundle{
		setupSimulator(t, asItIs),
		setupSimulator(t, asItIs),
		setupSimulator(t, func(deps *smartcartest.SimulatorDeps) { deps.Seed = 2 }),
		setupSimulator(t, func(deps *smartcartest.SimulatorDeps) { deps.Seed = 0 }),
	}
	for _, bundle := range bundles {
		require.NoError(t, bundle.simulator.Step(t.Context()))
	}
	require.Equal(t, bundles[0].deliverer.bodies, bundles[1].deliverer.bodies)
	require.NotEqual(t, bundles[0].deliverer.bodies, bundles[2].deliverer.bodies)
	require.NotEqual(t, bundles[0].deliverer.bodies, bundles[3].deliverer.bodies)
}

func TestSimulatorStaysPlausible(t *testing.T) {
	t.Parallel()
	bundle := setupSimulator(t, asItIs)
	const aDay = 24 * 60
	for range aDay {
		require.NoError(t, bundle.simulator.Step(t.Context()))
	}
	cars, _ := bundle.simulator.Status()
	for i, car := range smartcartest.DefaultCars() {
		driven := cars[i].Odometer - car.Odometer()
		require.Positive(t, driven)
		require.Less(t, driven, 2000.0)
	}
}

func TestSimulatorSendsNothingForACarThatStands(t *testing.T) {
	t.Parallel()
	standing := time.Now()
	bundle := setupSimulator(t, func(deps *smartcartest.SimulatorDeps) { deps.Clock = func() time.Time { return standing } })
	require.NoError(t, bundle.simulator.Step(t.Context()))
	first := len(bundle.deliverer.bodies)
	require.NoError(t, bundle.simulator.Step(t.Context()))
	require.Len(t, bundle.deliverer.bodies, first)
}

func TestSimulatorRunVerifiesFirstAndKeepsTrying(t *testing.T) {
	t.Parallel()
	bundle := setupSimulator(t, func(deps *smartcartest.SimulatorDeps) { deps.Interval = time.Millisecond })
	bundle.deliverer.refusals = 2
	bundle.deliverer.sent = make(chan struct{})
	_, verified := bundle.simulator.Status()
	require.False(t, verified)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- bundle.simulator.Run(ctx) }()
	<-bundle.deliverer.sent
	_, verified = bundle.simulator.Status()
	require.True(t, verified)
	require.Equal(t, 3, bundle.deliverer.verifies)
	cancel()
	for {
		select {
		case <-bundle.deliverer.sent:
			continue
		case err := <-ended:
			require.NoError(t, err)
		}

		break
	}
}

func TestSimulatorKeepsItsOdometersOverARestart(t *testing.T) {
	t.Parallel()
	stateFile := filepath.Join(t.TempDir(), "simulator.json")
	keep := func(deps *smartcartest.SimulatorDeps) { deps.StateFile = stateFile }
	first := setupSimulator(t, keep)
	require.NoError(t, first.simulator.Step(t.Context()))
	before, _ := first.simulator.Status()

	second := setupSimulator(t, keep)
	after, _ := second.simulator.Status()
	for i := range before {
		require.InDelta(t, before[i].Odometer, after[i].Odometer, 0.001)
		require.Greater(t, after[i].Odometer, smartcartest.DefaultCars()[i].Odometer())
	}
}

func TestSimulatorShowsWhatBecameOfItsEvents(t *testing.T) {
	t.Parallel()
	bundle := setupSimulator(t, asItIs)
	require.NoError(t, bundle.simulator.Step(t.Context()))
	bundle.deliverer.report = smartcartest.Report{Attempts: make([]smartcartest.Attempt, 4)}
	require.NoError(t, bundle.simulator.Step(t.Context()))
	handler, err := bundle.simulator.Handler()
	require.NoError(t, err)

	get := func(path string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))

		return recorder
	}
	var cars []smartcartest.CarStatus
	answer := get("/cars")
	require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &cars))
	require.Len(t, cars, 3)
	require.Equal(t, smartcartest.Counts{Sent: 2, Acknowledged: 1, Dropped: 1, Attempts: 5}, cars[0].Counts)

	page := get("/").Body.String()
	require.Contains(t, page, "Ada&#39;s hatchback")
	require.Contains(t, page, "Waiting for the receiver")
	require.Equal(t, http.StatusNotFound, get("/elsewhere").Code)

	require.Contains(t, bundle.log.String(), "event dropped")
	for _, shown := range []string{page, answer.Body.String(), bundle.log.String()} {
		require.NotContains(t, shown, "latitude")
		require.NotContains(t, shown, "longitude")
	}
}

func TestSimulatorNeedsADeliverer(t *testing.T) {
	t.Parallel()
	_, err := smartcartest.NewSimulator(smartcartest.SimulatorDeps{Interval: -1})
	require.ErrorContains(t, err, "deliverer")
	require.ErrorContains(t, err, "negative")
}
