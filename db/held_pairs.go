package db

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

const (
	// storeTimeout bounds one try to store a pair: of a database that does not answer, the next
	// try may find another host.
	storeTimeout = 10 * time.Second
	// storeLogInterval is how often a pair that still cannot be stored is told of.
	storeLogInterval = time.Minute
	// The pace at which a pair that could not be stored is tried again.
	firstStorePause   = 100 * time.Millisecond
	longestStorePause = 5 * time.Second
)

// hold waits for one of the places for those who hold a row's lock while Smartcar is
// asked. Whoever has one keeps it until the pair is stored.
func (v *Vault) hold(ctx context.Context) (release func(), err error) {
	select {
	case v.locks <- struct{}{}:
		return func() { <-v.locks }, nil
	case <-ctx.Done():
		return nil, translate("await a connection", ctx.Err())
	}
}

// Held counts the exchanges that are under way, and those whose pair could not be stored yet.
func (v *Vault) Held() int { return len(v.locks) }

// AwaitStored returns once nothing is held any more, however long that takes, and lets
// nothing begin after that. It is for the end of a process, which a pair that is in
// its memory only must not be lost with.
func (v *Vault) AwaitStored() {
	for range cap(v.locks) {
		v.locks <- struct{}{}
	}
}

// untilStored repeats a transaction until it is done: what it writes exists nowhere
// else. Besides its success, only that its row is gone, or that the pair itself
// cannot be written, ends it; the database's account may be locked out for an hour.
// Each try has storeTimeout. That a try took effect, though it seemed to fail, is for fn to see.
func (v *Vault) untilStored(ctx context.Context, name string, fn func(context.Context, *dbsqlc.Queries) error) error {
	pause := firstStorePause
	var told time.Time
	for {
		err := v.tryToStore(ctx, name, fn)
		if endsStoring(err) {
			return err
		}
		if time.Since(told) >= storeLogInterval {
			told = time.Now()
			v.logger.Error("tokens.not_stored", slog.String("error", err.Error()))
		}
		timer := time.NewTimer(pause)
		<-timer.C
		pause = min(2*pause, longestStorePause)
	}
}

func (v *Vault) tryToStore(ctx context.Context, name string, fn func(context.Context, *dbsqlc.Queries) error) error {
	ctx, cancel := context.WithTimeout(ctx, v.storeTimeout)
	defer cancel()
	return v.store.inTransaction(ctx, name, func(queries *dbsqlc.Queries) error { return fn(ctx, queries) })
}

func endsStoring(err error) bool {
	_, isDatabase := errors.AsType[*Error](err)
	return !isDatabase || errors.Is(err, ErrNotFound) || errors.Is(err, ErrRejected)
}
