package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// The types of transient failures, as operators see them on a pending activity.
const (
	transientDatabaseUnavailable = "database_unavailable"
	transientDatabaseConflict    = "database_conflict"
	transientUnexpected          = "unexpected"
)

// classify decides what is tried again, and is the only place that does. What it
// returns ends up in Temporal's histories: it holds no values of the event, and
// not the original error either, whose text might.
//
// Final are only errors that lie in the event itself. Everything else, what is
// not understood included, is tried until it works, in full view of operators.
func classify(err error) error {
	var database *db.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, smartcar.ErrMalformed):
		return final(contract.FailureMalformedPayload, "the signed body could not be understood; see the event's payload")
	case errors.Is(err, smartcar.ErrUnitUnknown), errors.Is(err, smartcar.ErrUnitAbsent):
		return final(contract.FailureUnitUnknown, "the odometer's unit is neither kilometres nor miles")
	case errors.Is(err, db.ErrNotFound):
		return final(contract.FailureEventNotFound, "the ledger has no such event, or its vehicle is gone")
	case errors.Is(err, db.ErrRejected):
		return final(contract.FailureDataRejected, "the database refused the event's values: "+sqlState(err))
	case errors.Is(err, db.ErrConflict):
		return transient(transientDatabaseConflict, "another transaction won: "+sqlState(err))
	case errors.As(err, &database), errors.Is(err, context.DeadlineExceeded):
		return transient(transientDatabaseUnavailable, "the database did not answer: "+sqlState(err))
	case errors.Is(err, context.Canceled):
		return err
	default:
		return transient(transientUnexpected, "unexpected error; see the worker's log")
	}
}

func final(class contract.FailureClass, message string) error {
	return temporal.NewNonRetryableApplicationError(message, string(class), nil)
}

func transient(kind, message string) error {
	return temporal.NewApplicationError(message, kind)
}

func sqlState(err error) string {
	var database *db.Error
	if errors.As(err, &database) && database.SQLState != "" {
		return "SQLSTATE " + database.SQLState
	}
	return "no SQLSTATE"
}
