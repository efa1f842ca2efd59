package smartcartest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/milepost/milepost/api/smartcar"
)

var (
	// ErrUnknownWebhook means that no webhook with this id is registered.
	ErrUnknownWebhook = errors.New("no such webhook is registered")
	// ErrUnknownVehicle means that no car has this vehicle id.
	ErrUnknownVehicle = errors.New("there is no such vehicle")
	// ErrInactive means that a webhook is disabled or has not passed VERIFY, so that it queues nothing.
	ErrInactive = errors.New("the webhook is disabled or has not passed VERIFY")
)

// WebhooksDeps are what Webhooks need.
type WebhooksDeps struct {
	// CurrentCar tells how a car is now: Simulator.Car or Platform.CurrentCar. Required.
	CurrentCar func(vehicleID string) (Car, bool)
	// TimeScale, Timeout and Client are as in SenderDeps.
	TimeScale float64
	Timeout   time.Duration
	Client    *http.Client
	// Clock nil is the real one, Sleep too. Give both of them of one ManualClock, or only Clock.
	Clock func() time.Time
	Sleep func(ctx context.Context, wait time.Duration) error
	// Seed 0 is a random seed; any other makes ids and disorder repeatable, if the same is asked for in the same order.
	Seed uint64
	// Logger may be nil. It gets ids and statuses only.
	Logger *slog.Logger
}

func (d WebhooksDeps) validate() error {
	var faults []error
	if d.CurrentCar == nil {
		faults = append(faults, fmt.Errorf("%w: webhooks need to know the current cars", ErrOptions))
	}
	if d.Sleep != nil && d.Clock == nil {
		faults = append(faults, fmt.Errorf("%w: webhooks with a Sleep need the Clock it goes by", ErrOptions))
	}
	if d.TimeScale < 0 || d.Timeout < 0 {
		faults = append(faults, fmt.Errorf("%w: time scale and time-out must not be negative", ErrOptions))
	}
	return errors.Join(faults...)
}

// Webhook is a webhook as it is set up in the dashboard.
type Webhook struct {
	// ID, URL and Token, the application management token, are required. Name is by default that of this package's events.
	ID, Name, URL, Token string
	// Form and Mode are of all events that do not say otherwise; an empty mode is LIVE.
	Form Form
	Mode smartcar.Mode
	// SignVerify signs VERIFY too, as the documents say and the live platform does not.
	SignVerify bool
}

// Webhooks post what cars do to the receivers registered, as Smartcar does. Events wait in a queue, which Run delivers.
// Their methods may be called from several goroutines. Source: Smartcar, "delivery behaviour".
type Webhooks struct {
	deps   WebhooksDeps
	client *http.Client
	mux    *http.ServeMux

	mu     sync.Mutex
	source *rand.ChaCha8
	random *rand.Rand
	// changed is closed and replaced whenever something happens that somebody may wait for.
	changed  chan struct{}
	hooks    []*registration
	disorder Disorder
	held     []*delivering
	queue    []*delivering
	// first is how many first attempts are under way, active how many deliveries.
	first, active int
	deliveries    []*Delivery
}

// registration is a webhook and its standing; Webhooks.mu guards it.
type registration struct {
	Webhook

	verified, disabled bool
	vehicleIDs         []string
	counts             Counts
}

func (r *registration) isActive() bool { return r.verified && !r.disabled }

// NewWebhooks checks the dependencies and fills in the defaults.
func NewWebhooks(deps WebhooksDeps) (*Webhooks, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	source := seeded(deps.Seed)
	webhooks := &Webhooks{
		deps: deps, client: newClient(SenderDeps{Client: deps.Client}), changed: make(chan struct{}),
		source: source, random: rand.New(source), //nolint:gosec // To be repeatable.
	}
	webhooks.mux = webhooks.controlRoutes()
	return webhooks, nil
}

// Register adds a webhook and sends VERIFY, once. When that fails the error says why, and the webhook stays registered and
// unverified until Verify passes; until then it queues nothing. A webhook registered again, say with another URL, has to
// pass anew and keeps its vehicles.
func (w *Webhooks) Register(ctx context.Context, webhook Webhook) error {
	if webhook.ID == "" {
		return fmt.Errorf("%w: a webhook needs an id", ErrOptions)
	}
	if webhook.Token == "" {
		return smartcar.ErrNoManagementToken
	}
	webhook.Name = cmp.Or(webhook.Name, webhookName)
	registered := &registration{Webhook: webhook}
	if _, err := w.sender(registered.Webhook, SenderDeps{}); err != nil {
		return err
	}
	w.mu.Lock()
	if earlier := w.find(webhook.ID); earlier != nil {
		registered.vehicleIDs, registered.counts, registered.disabled = earlier.vehicleIDs, earlier.counts, earlier.disabled
		w.hooks[slices.Index(w.hooks, earlier)] = registered
	} else {
		w.hooks = append(w.hooks, registered)
	}
	w.mu.Unlock()
	return w.VerifyWebhook(ctx, webhook.ID)
}

// VerifyWebhook sends VERIFY, as the dashboard's button does. One that passes for the first time sends each of its
// vehicles' FIRST_DELIVERY; a failure leaves it as it was.
func (w *Webhooks) VerifyWebhook(ctx context.Context, webhookID string) error {
	w.mu.Lock()
	hook := w.find(webhookID)
	w.mu.Unlock()
	if hook == nil {
		return ErrUnknownWebhook
	}
	sender, err := w.sender(hook.Webhook, SenderDeps{VerifyBody: func(challenge string) []byte { return w.verifyBody(hook, challenge) }})
	if err != nil {
		return err
	}
	if err := sender.Verify(ctx); err != nil {
		return fmt.Errorf("verify webhook %q: %w", webhookID, err)
	}
	w.mu.Lock()
	isNew := !hook.verified
	hook.verified = true
	w.mu.Unlock()
	if !isNew {
		return nil
	}
	return w.sendFirst(hook)
}

// Subscribe makes a webhook report a vehicle, from a FIRST_DELIVERY on. A vehicle that is subscribed already stays so.
// EventBased webhooks have no first delivery.
func (w *Webhooks) Subscribe(webhookID, vehicleID string) error {
	if _, ok := w.deps.CurrentCar(vehicleID); !ok {
		return ErrUnknownVehicle
	}
	w.mu.Lock()
	hook := w.find(webhookID)
	if hook == nil {
		w.mu.Unlock()
		return ErrUnknownWebhook
	}
	isNew := !slices.Contains(hook.vehicleIDs, vehicleID)
	if isNew {
		hook.vehicleIDs = append(hook.vehicleIDs, vehicleID)
	}
	w.mu.Unlock()
	if !isNew {
		return nil
	}
	return w.sendFirst(hook, vehicleID)
}

// Unsubscribe makes a webhook report a vehicle no more. What is queued is still delivered.
func (w *Webhooks) Unsubscribe(webhookID, vehicleID string) error {
	return w.change(webhookID, func(hook *registration) {
		hook.vehicleIDs = slices.DeleteFunc(slices.Clone(hook.vehicleIDs), func(id string) bool { return id == vehicleID })
	})
}

// Disable makes a webhook queue nothing. What is queued is still delivered.
func (w *Webhooks) Disable(webhookID string) error {
	return w.change(webhookID, func(hook *registration) { hook.disabled = true })
}

// Enable ends Disable: each vehicle sends a FIRST_DELIVERY.
func (w *Webhooks) Enable(webhookID string) error {
	var enabled *registration
	err := w.change(webhookID, func(hook *registration) {
		if hook.disabled {
			enabled = hook
		}
		hook.disabled = false
	})
	if err != nil || enabled == nil {
		return err
	}
	return w.sendFirst(enabled)
}

func (w *Webhooks) verifyBody(hook *registration, challenge string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	eventID := w.newID()
	return VehicleState{
		EventID: eventID, DeliveryID: deliveryID(eventID, 0), DeliveredAt: w.deps.Clock(),
		WebhookID: hook.ID, WebhookName: hook.Name, Form: hook.Form,
	}.withDefaults().verify(challenge)
}

func (w *Webhooks) change(webhookID string, change func(*registration)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	hook := w.find(webhookID)
	if hook == nil {
		return ErrUnknownWebhook
	}
	change(hook)
	return nil
}

func (w *Webhooks) find(webhookID string) *registration {
	index := slices.IndexFunc(w.hooks, func(hook *registration) bool { return hook.ID == webhookID })
	if index < 0 {
		return nil
	}
	return w.hooks[index]
}

// sender makes the sender of one delivery; more is what only that one has.
func (w *Webhooks) sender(webhook Webhook, more SenderDeps) (*Sender, error) {
	more.URL, more.Token, more.SignVerify = webhook.URL, webhook.Token, webhook.SignVerify
	more.TimeScale, more.Timeout, more.Client = w.deps.TimeScale, w.deps.Timeout, w.client
	more.Clock, more.Sleep = w.deps.Clock, w.deps.Sleep
	return NewSender(more)
}
