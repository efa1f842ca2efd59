package db

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The kinds of error that callers act on. Every error of this package wraps one
// of them, or is a caller's own error passed through.
var (
	// ErrUnavailable: the database could not be reached or did not answer in time. The
	// statement may or may not have taken effect; it is safe to try again.
	ErrUnavailable = errors.New("database unavailable")
	// ErrConflict: a concurrent transaction won (deadlock or serialisation); nothing took effect. Try again.
	ErrConflict = errors.New("database conflict")
	// ErrRejected: the values were refused (out of range, constraint). Trying again is refused again.
	ErrRejected = errors.New("database rejected the values")
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrInternal: the database reported something that none of the other kinds covers.
	ErrInternal = errors.New("database error")
	// ErrBadURL: the connection string cannot be parsed.
	ErrBadURL = errors.New("DATABASE_URL cannot be parsed")
	// ErrNotFailed: only failed events can be retried.
	ErrNotFailed = errors.New("event is not failed")
)

// Error is a translated database error. Its text never holds values of a
// statement: PostgreSQL quotes them in its messages, and they may be personal.
type Error struct {
	// Operation names the statement, for people.
	Operation string
	// Kind is one of the sentinel errors above.
	Kind error
	// SQLState is PostgreSQL's five-character code, "" when the server did not answer.
	SQLState string
	cause    error
}

// Error implements error.
func (e *Error) Error() string {
	if e.SQLState == "" {
		return fmt.Sprintf("%s: %s", e.Operation, e.Kind)
	}
	return fmt.Sprintf("%s: %s (SQLSTATE %s)", e.Operation, e.Kind, e.SQLState)
}

// Unwrap gives errors.Is the kind, and the context's error when that was the cause.
func (e *Error) Unwrap() []error {
	if errors.Is(e.cause, context.Canceled) {
		return []error{e.Kind, context.Canceled}
	}
	return []error{e.Kind}
}

// callerError marks an error that a transaction's callback returned, so that it
// leaves the transaction untranslated.
type callerError struct{ err error }

func (c *callerError) Error() string { return c.err.Error() }
func (c *callerError) Unwrap() error { return c.err }

func translate(operation string, err error) error {
	if err == nil {
		return nil
	}
	if fromCaller, found := errors.AsType[*callerError](err); found {
		return fromCaller.err
	}
	if translated, found := errors.AsType[*Error](err); found {
		return translated
	}
	result := &Error{Operation: operation, Kind: ErrUnavailable, cause: err}
	var postgres *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		result.Kind = ErrNotFound
	case errors.As(err, &postgres):
		result.SQLState = postgres.Code
		result.Kind = kindOf(postgres.Code)
	}
	return result
}

// kindOf sorts SQLSTATE classes. Source: PostgreSQL, "Appendix A. PostgreSQL Error Codes".
func kindOf(sqlState string) error {
	switch {
	case sqlState == "40001", sqlState == "40P01", sqlState == "55P03":
		return ErrConflict
	case hasClass(sqlState, "08", "53", "57", "58", "25"):
		return ErrUnavailable
	case hasClass(sqlState, "22", "23", "54"):
		return ErrRejected
	default:
		return ErrInternal
	}
}

func hasClass(sqlState string, classes ...string) bool {
	for _, class := range classes {
		if strings.HasPrefix(sqlState, class) {
			return true
		}
	}
	return false
}
