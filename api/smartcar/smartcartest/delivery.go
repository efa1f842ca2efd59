package smartcartest

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// schedule is when the attempts of a delivery start, counted from the first; the
// event is dropped for ever after the last.
// Source: Smartcar, "delivery behaviour".
func schedule() []time.Duration {
	return []time.Duration{0, 25 * time.Second, 75 * time.Second, 175 * time.Second}
}

// Attempt is one request of a delivery.
type Attempt struct {
	// After is the time since the first attempt, Took how long this one lasted.
	After, Took time.Duration
	// Status of the answer, 0 when none came; then Err says why.
	Status int
	Err    error
}

// Acknowledged tells whether the receiver answered with any 2xx.
func (a Attempt) Acknowledged() bool {
	return a.Status >= http.StatusOK && a.Status < http.StatusMultipleChoices
}

// Report is what became of one event.
type Report struct {
	// Attempts in order, up to four, then the duplicates asked for.
	Attempts []Attempt
	// Acknowledged tells whether one of the up to four attempts was.
	Acknowledged bool
	// Status is that of the attempt that was acknowledged, else of the last.
	Status int
	// DroppedAfter is how long it took to give up; 0 when acknowledged.
	DroppedAfter time.Duration
}

// Send delivers an event: an attempt that is not answered with a 2xx in time is
// repeated up to three times, with the same eventId, stamped and signed anew. A
// dropped event is no error; an error means that ctx ended or that the body
// cannot be stamped, and the report tells of the attempts so far.
func (s *Sender) Send(ctx context.Context, body []byte) (Report, error) {
	var report Report
	begin := s.now()
	for _, offset := range schedule() {
		wait := time.Duration(float64(offset)*s.deps.TimeScale) - s.now().Sub(begin)
		if err := s.deps.Sleep(ctx, wait); err != nil {
			return report, err
		}
		attempt, err := s.attempt(ctx, body, begin)
		if err != nil {
			return report, err
		}
		report.Attempts = append(report.Attempts, attempt)
		report.Status = attempt.Status
		if attempt.Acknowledged() {
			report.Acknowledged = true

			return s.repeat(ctx, body, begin, report)
		}
	}
	report.DroppedAfter = s.now().Sub(begin)

	return report, nil
}

// repeat delivers an acknowledged event again, as happens when Smartcar missed
// the answer.
func (s *Sender) repeat(ctx context.Context, body []byte, begin time.Time, report Report) (Report, error) {
	for range s.deps.Duplicates {
		attempt, err := s.attempt(ctx, body, begin)
		if err != nil {
			return report, err
		}
		report.Attempts = append(report.Attempts, attempt)
	}

	return report, nil
}

func (s *Sender) attempt(ctx context.Context, body []byte, begin time.Time) (Attempt, error) {
	if !s.deps.KeepDelivery {
		stamped, err := Restamp(body, s.deps.NewID(), s.deps.Clock())
		if err != nil {
			return Attempt{}, err
		}
		body = stamped
	}

	start := s.now()
	status, err := s.Post(ctx, body)
	if ctx.Err() != nil && err != nil {
		return Attempt{}, fmt.Errorf("deliver: %w", ctx.Err())
	}

	attempt := Attempt{After: start.Sub(begin), Took: s.now().Sub(start), Status: status, Err: err}
	s.deps.OnAttempt(attempt)

	return attempt, nil
}

func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for the next attempt: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}
