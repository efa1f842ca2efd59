package smartcartest

import (
	"slices"
	"time"

	"github.com/milepost/milepost/api/smartcar"
)

// keptDeliveries bounds what Deliveries remembers, for a simulator that runs for days.
const keptDeliveries = 10_000

// Delivery is an event of one webhook and what became of it, so far.
type Delivery struct {
	EventID, WebhookID, VehicleID string
	Type                          smartcar.EventType
	Form                          Form
	Mode                          smartcar.Mode
	FirstDelivery                 bool
	QueuedAt                      time.Time
	// Attempts in order, up to four, then the duplicates.
	Attempts []Attempt
	// Acknowledged and Dropped are both false until it is over, and for one that failed: Err says then why.
	Acknowledged, Dropped bool
	Err                   error
}

// IsOver tells whether nothing more becomes of it.
func (d Delivery) IsOver() bool { return d.Acknowledged || d.Dropped || d.Err != nil }

// Statuses are those of the attempts, 0 where no answer came.
func (d Delivery) Statuses() []int {
	statuses := make([]int, 0, len(d.Attempts))
	for _, attempt := range d.Attempts {
		statuses = append(statuses, attempt.Status)
	}
	return statuses
}

// Deliveries are all in the order in which they were queued; of very many the last 10,000.
func (w *Webhooks) Deliveries() []Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]Delivery, 0, len(w.deliveries))
	for _, kept := range w.deliveries {
		all = append(all, kept.copied())
	}
	return all
}

func (d Delivery) copied() Delivery {
	d.Attempts = slices.Clone(d.Attempts)
	return d
}

// Delivery returns the delivery of an event, and whether it is one of Deliveries.
func (w *Webhooks) Delivery(eventID string) (Delivery, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.delivery(eventID)
}

func (w *Webhooks) delivery(eventID string) (Delivery, bool) {
	index := slices.IndexFunc(w.deliveries, func(kept *Delivery) bool { return kept.EventID == eventID })
	if index < 0 {
		return Delivery{}, false
	}
	return w.deliveries[index].copied(), true
}

// Counts are of a webhook since it was registered first: Sent are the events queued, those held back included. They are
// zero for a webhook that is not registered.
func (w *Webhooks) Counts(webhookID string) Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	if hook := w.find(webhookID); hook != nil {
		return hook.counts
	}
	return Counts{}
}

func (w *Webhooks) keep(added *Delivery) {
	w.deliveries = append(w.deliveries, added)
	if excess := len(w.deliveries) - keptDeliveries; excess > 0 {
		w.deliveries = slices.Delete(w.deliveries, 0, excess)
	}
}
