package smartcartest

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// ManualClock stands still until it is told to advance. Its Now and Sleep are a Sender's and the Webhooks' Clock and Sleep,
// so that 175 s of attempts take no time. It may be used by several goroutines.
type ManualClock struct {
	mu       sync.Mutex
	now      time.Time
	sleepers []sleeper
	// changed is closed and replaced when somebody falls asleep.
	changed chan struct{}
}

type sleeper struct {
	until time.Time
	wake  chan struct{}
}

// NewManualClock returns a clock that shows this time.
func NewManualClock(now time.Time) *ManualClock {
	return &ManualClock{now: now, changed: make(chan struct{})}
}

// Now is the time shown.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep returns when the clock has been advanced by wait, or with an error when ctx ends.
func (c *ManualClock) Sleep(ctx context.Context, wait time.Duration) error {
	wake := c.sleep(wait)
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		c.forget(wake)
		return fmt.Errorf("sleep: %w", ctx.Err())
	}
}

// Advance moves the clock on and wakes who has slept for long enough.
func (c *ManualClock) Advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
	c.keep(func(asleep sleeper) bool {
		if asleep.until.After(c.now) {
			return true
		}
		close(asleep.wake)
		return false
	})
}

// AwaitSleepers waits until at least so many sleep, which is when an Advance is sure to reach them.
func (c *ManualClock) AwaitSleepers(ctx context.Context, count int) error {
	for {
		c.mu.Lock()
		asleep, changed := len(c.sleepers), c.changed
		c.mu.Unlock()
		if asleep >= count {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for sleepers: %w", ctx.Err())
		}
	}
}

func (c *ManualClock) sleep(wait time.Duration) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := make(chan struct{})
	if wait <= 0 {
		close(wake)
		return wake
	}
	c.sleepers = append(c.sleepers, sleeper{until: c.now.Add(wait), wake: wake})
	close(c.changed)
	c.changed = make(chan struct{})
	return wake
}

func (c *ManualClock) forget(wake chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(func(asleep sleeper) bool { return asleep.wake != wake })
}

func (c *ManualClock) keep(wanted func(sleeper) bool) {
	var kept []sleeper
	for _, asleep := range c.sleepers {
		if wanted(asleep) {
			kept = append(kept, asleep)
		}
	}
	c.sleepers = kept
}
