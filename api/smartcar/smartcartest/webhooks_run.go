package smartcartest

import (
	"context"
	"fmt"
	"sync"
)

// delivering is a delivery on its way. Webhooks.mu guards what it embeds.
type delivering struct {
	*Delivery

	webhook    Webhook
	body       []byte
	duplicates int
}

// Run delivers what is queued, as it comes, until ctx ends, which is no error; what is under way then fails. Call it once.
func (w *Webhooks) Run(ctx context.Context) error {
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	for {
		event, ok := w.next(ctx)
		if !ok {
			return nil
		}
		deliveries.Go(func() { w.deliver(ctx, event) })
	}
}

// next waits for an event that may start now.
func (w *Webhooks) next(ctx context.Context) (*delivering, bool) {
	var event *delivering
	err := w.await(ctx, func() bool {
		if len(w.queue) == 0 || w.first >= max(w.disorder.AtOnce, 1) {
			return false
		}
		event, w.queue = w.queue[0], w.queue[1:]
		w.first++
		w.active++
		return true
	})
	return event, err == nil
}

// Idle waits until nothing is queued or under way. What is held back does not count.
func (w *Webhooks) Idle(ctx context.Context) error {
	return w.await(ctx, func() bool { return len(w.queue) == 0 && w.active == 0 })
}

// await waits until condition, which is called with the lock held, is true.
func (w *Webhooks) await(ctx context.Context, condition func() bool) error {
	for ctx.Err() == nil {
		w.mu.Lock()
		isTrue, changed := condition(), w.changed
		w.mu.Unlock()
		if isTrue {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return fmt.Errorf("wait for webhooks: %w", ctx.Err())
}

// signal is called with the lock held, after each change that somebody may wait for.
func (w *Webhooks) signal() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Webhooks) deliver(ctx context.Context, event *delivering) {
	attempts := 0
	sender, err := w.sender(event.webhook, SenderDeps{
		Duplicates: event.duplicates,
		NewID: func() string {
			attempts++
			return deliveryID(event.EventID, attempts)
		},
		OnAttempt: func(attempt Attempt) { w.note(event, attempt) },
	})
	var report Report
	if err == nil {
		report, err = sender.Send(ctx, event.body)
	}
	w.finish(event, report, err)
	if event.Dropped {
		w.deps.Logger.WarnContext(ctx, "webhooks: event dropped", "eventId", event.EventID, "status", report.Status)
	}
}

func (w *Webhooks) note(event *delivering, attempt Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(event.Attempts) == 0 {
		w.first--
	}
	event.Attempts = append(event.Attempts, attempt)
	if hook := w.find(event.WebhookID); hook != nil {
		hook.counts.Attempts++
	}
	w.signal()
}

func (w *Webhooks) finish(event *delivering, report Report, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(event.Attempts) == 0 {
		w.first--
	}
	w.active--
	event.Acknowledged, event.Err = report.Acknowledged, err
	event.Dropped = err == nil && !report.Acknowledged
	if hook := w.find(event.WebhookID); hook != nil {
		if event.Acknowledged {
			hook.counts.Acknowledged++
		}
		if event.Dropped {
			hook.counts.Dropped++
		}
	}
	w.signal()
}
