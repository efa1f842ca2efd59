package smartcartest

import (
	"context"
	"errors"
	"fmt"

	"github.com/milepost/milepost/api/smartcar"
)

// Verify sends VERIFY to each webhook that has not passed yet. With Send it makes the Webhooks a Simulator's Deliverer.
func (w *Webhooks) Verify(ctx context.Context) error {
	w.mu.Lock()
	var unverified []string
	for _, hook := range w.hooks {
		if !hook.verified {
			unverified = append(unverified, hook.ID)
		}
	}
	w.mu.Unlock()
	var faults []error
	for _, id := range unverified {
		faults = append(faults, w.VerifyWebhook(ctx, id))
	}
	return errors.Join(faults...)
}

// Send reports the car of a Simulator's event as ReportState does, in the webhooks' own forms, and returns when Run has
// delivered that, which for what is held back is when it has been released. It is acknowledged when all webhooks that
// want it have acknowledged it, also when there are none.
func (w *Webhooks) Send(ctx context.Context, body []byte) (Report, error) {
	event, err := smartcar.Decode(body)
	if err != nil {
		return Report{}, fmt.Errorf("read the simulator's event: %w", err)
	}
	ids, err := w.ReportState(event.Events[0].VehicleID, nil)
	if err != nil {
		return Report{}, err
	}
	report := Report{Acknowledged: true}
	for _, id := range ids {
		var delivered Delivery
		err := w.await(ctx, func() bool {
			var isKept bool
			delivered, isKept = w.delivery(id)
			return delivered.IsOver() || !isKept
		})
		if err != nil {
			return report, err
		}
		report.Attempts = append(report.Attempts, delivered.Attempts...)
		if len(delivered.Attempts) > 0 && (report.Acknowledged || !delivered.Acknowledged) {
			report.Status = delivered.Attempts[len(delivered.Attempts)-1].Status
		}
		report.Acknowledged = report.Acknowledged && delivered.Acknowledged
	}
	return report, nil
}
