// Package load posts the events of a made-up fleet, as Smartcar would, for
// benchmarks and for tests of what happens under load.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/db"
)

const (
	// fleetSize is enough that cars do not wait for each other's row locks.
	fleetSize     = 200
	firstOdometer = 10_000
	// Every round takes each car a little further and later; a rate far below what is implausible.
	kilometresPerRound = 0.5
	timePerRound       = 2 * time.Minute
	// history is how far back the first round lies.
	history = 30 * 24 * time.Hour

	patience = 15 * time.Second
	userID   = "7c2f0f2e-5b7e-4d1c-9c55-0f4a3c1d9e11"
)

// Connector stores the fleet: *db.Store.
type Connector interface {
	ConnectVehicle(ctx context.Context, vehicle db.ConnectedVehicle) (int64, error)
}

// Deps say where to post and what with.
type Deps struct {
	// URL is the receiver's, path included; Token signs.
	URL, Token string
	Vehicles   Connector
	// Concurrency is how many posts are under way at once.
	Concurrency int
}

// Load is a fleet whose every event brings another reading, and every reading an entry.
type Load struct {
	deps     Deps
	keyring  smartcar.Keyring
	client   *http.Client
	vehicles []string
	begin    time.Time
}

// New connects the fleet.
func New(ctx context.Context, deps Deps) (*Load, error) {
	keyring, err := smartcar.NewKeyring(deps.Token)
	if err != nil {
		return nil, fmt.Errorf("prepare signing: %w", err)
	}
	load := &Load{
		deps: deps, keyring: keyring, begin: time.Now().Add(-history),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: deps.Concurrency}},
	}
	for range fleetSize {
		vehicle := uuid.NewString()
		_, err := deps.Vehicles.ConnectVehicle(ctx, db.ConnectedVehicle{
			SmartcarVehicleID: vehicle, OwnerEmail: "load@milepost.example", Make: "POLESTAR", Model: "Polestar 2", Year: 2023,
		})
		if err != nil {
			return nil, fmt.Errorf("connect the fleet: %w", err)
		}
		load.vehicles = append(load.vehicles, vehicle)
	}
	return load, nil
}

// Vehicle is the Smartcar vehicle id of the n-th event.
func (l *Load) Vehicle(n int) string { return l.vehicles[n%len(l.vehicles)] }

// Body is the n-th event under the given id.
func (l *Load) Body(n int, eventID string) []byte {
	round := n / len(l.vehicles)
	return smartcartest.BuildVehicleState(smartcartest.VehicleState{
		EventID: eventID, DeliveryID: uuid.NewString(), VehicleID: l.Vehicle(n), UserID: userID,
		Make: "POLESTAR", Model: "Polestar 2", Year: 2023,
		Odometer:   firstOdometer + float64(round)*kilometresPerRound,
		ObservedAt: l.begin.Add(time.Duration(round) * timePerRound), DeliveredAt: time.Now(),
	})
}

// Each runs task for 0 to count-1, so many at once as the load's concurrency says.
// The first error ends it.
func (l *Load) Each(ctx context.Context, count int, task func(ctx context.Context, i int) error) error {
	return Concurrently(ctx, l.deps.Concurrency, count, task)
}

// Concurrently runs task for 0 to count-1, so many at once. The first error ends it.
func Concurrently(ctx context.Context, concurrency, count int, task func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range concurrency {
		group.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return nil
				}
				if err := task(ctx, i); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// Post posts a signed body and gives the status of the answer. An error means
// that there was no answer.
func (l *Load) Post(ctx context.Context, body []byte) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.deps.URL, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("prepare the post: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(smartcar.SignatureHeader, l.keyring.Sign(body))
	response, err := l.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("post: %w", err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return response.StatusCode, nil
}
