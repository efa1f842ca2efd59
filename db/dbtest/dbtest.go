package dbtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// Migrate brings the schema of a database up to date.
type Migrate func(ctx context.Context, databaseURL string) error

// Runner runs all tests of a binary and returns its exit code: *testing.M.
type Runner interface{ Run() int }

// shared is what Main prepares for New. It is global because a test function
// receives nothing that could carry it.
//
//nolint:gochecknoglobals // See above.
var shared atomic.Pointer[binary]

// binary is what all tests of one test binary have in common.
type binary struct {
	migrate   Migrate
	once      sync.Once
	templates *templates
	err       error
}

// Main runs the tests, removes whatever New and NewServer have left, and returns
// the exit code for os.Exit.
func Main(tests Runner, migrate Migrate) int {
	current := &binary{migrate: migrate}
	shared.Store(current)
	code := tests.Run()

	// The tests' contexts are over; nothing but the process's end is left to wait for.
	if err := current.close(context.Background()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "dbtest: clean up:", err) // There is nobody else to tell.
		if code == 0 {
			code = 1
		}
	}

	return code
}

// New returns the URL of a fresh, migrated database, which is dropped at the end
// of the test together with any connections left.
func New(tb testing.TB) string {
	tb.Helper()
	// The server and the clean-up must outlive this test's context.
	ctx := context.WithoutCancel(tb.Context())
	source := current(tb)
	source.once.Do(func() { source.templates, source.err = openTemplates(ctx, source.migrate) })
	if source.err != nil {
		tb.Fatalf("dbtest: %v", source.err)
	}

	name, err := source.templates.copy(ctx)
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := source.templates.drop(ctx, name); err != nil {
			tb.Errorf("dbtest: %v", err)
		}
	})

	return source.templates.url(name)
}

func current(tb testing.TB) *binary {
	tb.Helper()
	found := shared.Load()
	if found == nil {
		tb.Fatal("dbtest: TestMain must call dbtest.Main")
	}

	return found
}

func (b *binary) close(ctx context.Context) error {
	if b.templates == nil {
		return nil
	}

	return b.templates.close(ctx)
}
