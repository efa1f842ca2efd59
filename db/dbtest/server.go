package dbtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/milepost/milepost/deploy/devstack"
)

const serverDatabase = "milepost"

// Server is a PostgreSQL server for one test, which may kill it and start it
// again. It is durable: what was committed before a kill is there after it.
type Server struct{ postgres *devstack.Postgres }

// NewServer starts a server with a migrated database of its own. It is removed
// at the end of the test. A killed server stays dead until Start.
func NewServer(tb testing.TB) *Server {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	source := current(tb)
	postgres, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{Ephemeral: true, Database: serverDatabase})
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := postgres.Stop(ctx); err != nil {
			tb.Errorf("dbtest: %v", err)
		}
	})
	server := &Server{postgres: postgres}
	if err := source.migrate(ctx, server.URL()); err != nil {
		tb.Fatalf("dbtest: %v", err)
	}

	return server
}

// URL is that of the migrated database, the same over restarts.
func (s *Server) URL() string { return s.postgres.URL(serverDatabase) }

// Kill ends the server at once, as a crash would, and returns when it is gone;
// sessions that were open notice it a moment later.
func (s *Server) Kill() error {
	process := s.postgres.Process()
	if err := process.Kill(); err != nil {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	<-process.Exited()

	return nil
}

// Start brings the killed server back, on the same port with the same data, and
// returns once it accepts connections.
func (s *Server) Start(ctx context.Context) error {
	if err := s.postgres.Start(ctx); err != nil {
		return fmt.Errorf("start PostgreSQL again: %w", err)
	}

	return nil
}

// Stop shuts the server down and removes its data; the end of the test does so too.
func (s *Server) Stop(ctx context.Context) error {
	if err := s.postgres.Stop(ctx); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}

	return nil
}
