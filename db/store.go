// Package db is the only place that speaks SQL. It keeps the ledger, the odometer
// history and the fleet in PostgreSQL, and translates the database's errors into
// the few kinds that callers act on.
package db

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// defaultConnectTimeout lets a busy server take a connection, and gives one up that is not there.
const defaultConnectTimeout = 10 * time.Second

// Config says where the database is.
type Config struct {
	// URL is a postgres:// connection string. It may hold a password; errors never repeat it.
	URL string
	// MaxConnections bounds the pool; zero means pgx's default (four, or one per CPU).
	MaxConnections int32
	// ConnectTimeout bounds the making of a connection; zero means 10 seconds.
	ConnectTimeout time.Duration
}

// Store runs Milepost's statements on one connection pool. It is safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	queries *dbsqlc.Queries
}

// Open prepares the pool. It does not need the database to be up: statements
// answer ErrUnavailable until it is.
func Open(ctx context.Context, config Config) (*Store, error) {
	poolConfig, err := parseURL(config.URL)
	if err != nil {
		return nil, err
	}
	if config.MaxConnections > 0 {
		poolConfig.MaxConns = config.MaxConnections
	}
	poolConfig.ConnConfig.ConnectTimeout = cmp.Or(config.ConnectTimeout, defaultConnectTimeout)
	poolConfig.ConnConfig.DialFunc = newDialer().DialContext
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, translate("open pool", err)
	}
	return &Store{pool: pool, queries: dbsqlc.New(pool)}, nil
}

// CheckURL says whether a connection string can be used. ErrBadURL when it cannot.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

func parseURL(url string) (*pgxpool.Config, error) {
	parsed, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx's text quotes the connection string, which may hold a password.
		return nil, fmt.Errorf("%w: it must look like postgres://user:password@host:5432/database", ErrBadURL)
	}
	return parsed, nil
}

// Close waits for running statements and closes the pool.
func (s *Store) Close() { s.pool.Close() }

// Ping says whether the database answers and has Milepost's schema. It costs the same however much waits there.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.queries.Ping(ctx)
	return translate("ping", err)
}

// inTransaction commits when fn returns nil and rolls back otherwise.
func (s *Store) inTransaction(ctx context.Context, name string, fn func(*dbsqlc.Queries) error) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		return fn(s.queries.WithTx(tx))
	})
	return translate(name, err)
}

// inLastingTransaction is inTransaction for what must be kept once it is there: ctx ends
// the wait for a connection, and what fn does with it, but not the commit. That has the
// given time, since a database may vanish without a word.
func (s *Store) inLastingTransaction(
	ctx context.Context, name string, timeout time.Duration, fn func(*dbsqlc.Queries) error,
) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return translate(name, err)
	}
	end := func(how func(context.Context) error) error {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		return how(ending)
	}
	// After the commit it does nothing, and where it fails the connection is closed, which does the same.
	defer func() { _ = end(tx.Rollback) }()
	if err := fn(s.queries.WithTx(tx)); err != nil {
		return translate(name, err)
	}
	return translate(name, end(tx.Commit))
}
