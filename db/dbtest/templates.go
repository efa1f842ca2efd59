package dbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/milepost/milepost/deploy/devstack"
)

const namePrefix = "milepost_test_"

var errDatabaseURL = errors.New("DATABASE_URL must look like postgres://user:password@host:5432/database")

// templates makes copies of one migrated database.
type templates struct {
	// admin is the connection string the databases are made through, url that of
	// a database by its name.
	admin    string
	url      func(database string) string
	template string
	// server is nil when the server is not ours.
	server *devstack.Postgres
}

func openTemplates(ctx context.Context, migrate Migrate) (*templates, error) {
	opened, err := connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	if err := opened.fill(ctx, migrate); err != nil {
		return nil, errors.Join(err, opened.close(ctx))
	}

	return opened, nil
}

// connect uses the server of that URL, or starts one if it is empty.
func connect(ctx context.Context, existing string) (*templates, error) {
	if existing == "" {
		server, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{Ephemeral: true, Unsafe: true})
		if err != nil {
			return nil, fmt.Errorf("start PostgreSQL: %w", err)
		}

		return &templates{admin: server.URL("postgres"), url: server.URL, server: server}, nil
	}

	address, err := url.Parse(existing)
	if err != nil || address.Scheme == "" {
		// The parser's own words would repeat the password.
		return nil, errDatabaseURL
	}

	return &templates{admin: existing, url: func(database string) string {
		other := *address
		other.Path = "/" + database

		return other.String()
	}}, nil
}

func (s *templates) fill(ctx context.Context, migrate Migrate) error {
	name := newName()
	if err := s.execute(ctx, "CREATE DATABASE "+quote(name)); err != nil {
		return fmt.Errorf("create the template database: %w", err)
	}
	s.template = name
	if err := migrate(ctx, s.url(name)); err != nil {
		return fmt.Errorf("migrate the template database: %w", err)
	}
	// A template can be copied only while nobody is connected to it.
	if err := s.execute(ctx, "ALTER DATABASE "+quote(name)+" WITH ALLOW_CONNECTIONS false"); err != nil {
		return fmt.Errorf("close the template database: %w", err)
	}

	return nil
}

func (s *templates) copy(ctx context.Context) (string, error) {
	name := newName()
	if err := s.execute(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(s.template)); err != nil {
		return "", fmt.Errorf("create a database: %w", err)
	}

	return name, nil
}

func (s *templates) drop(ctx context.Context, name string) error {
	if err := s.execute(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop a database: %w", err)
	}

	return nil
}

func (s *templates) close(ctx context.Context) error {
	if s.server != nil {
		if err := s.server.Stop(ctx); err != nil {
			return fmt.Errorf("stop PostgreSQL: %w", err)
		}

		return nil
	}
	if s.template == "" {
		return nil
	}

	return s.drop(ctx, s.template)
}

// execute uses a connection of its own: these statements are rare, and each
// runs outside a transaction for as long as a copy takes.
func (s *templates) execute(ctx context.Context, statement string) error {
	connection, err := pgx.Connect(ctx, s.admin)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err = connection.Exec(ctx, statement)

	return errors.Join(err, connection.Close(ctx))
}

func newName() string { return namePrefix + strings.ToLower(rand.Text()) }

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
