package db

import (
	"context"
	"errors"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// Reaction is what Milepost does about an error of a vehicle.
type Reaction string

// The reactions. The first two ask the owner for a new consent.
const (
	// ReactionReauthenticate asks the owner to sign in to the car's maker again.
	ReactionReauthenticate Reaction = "reauthenticate"
	// ReactionReconsent asks the owner for a permission that is missing.
	ReactionReconsent Reaction = "reconsent"
	// ReactionOwnerAction marks the connection degraded: something is to be done at the maker's end.
	ReactionOwnerAction Reaction = "owner_action"
	// ReactionUnsupportedSignals marks the signals as ones that this vehicle does not have.
	ReactionUnsupportedSignals Reaction = "unsupported_signals"
	// ReactionIgnore does nothing: what is missing is not wanted.
	ReactionIgnore Reaction = "ignore"
	// ReactionWait does nothing: the error passes by itself.
	ReactionWait Reaction = "wait"
)

// VehicleErrorReport is one error of an event, for one signal or the whole vehicle.
type VehicleErrorReport struct {
	Type   string
	Code   string // "" for null
	Signal string // "" for the whole vehicle
	// Resolved reports the error's end; what follows is then not used.
	Resolved       bool
	ResolutionType string
	Reaction       Reaction
}

// VehicleErrors is what an event says of a vehicle's errors.
type VehicleErrors struct {
	Closing           Closing // ReportedAt is when the errors began or ended
	SmartcarVehicleID string
	Reports           []VehicleErrorReport
}

// CloseVehicleErrors closes an event together with what it says of its vehicle's
// errors, and what follows: the marks on connection and signals, the owner asked for
// a new consent once per episode, and the withdrawal when the last error that needs
// one has ended and the tokens are good. An error for the owner that was observed
// before the owner connected is kept as one that has ended. The end state is the same
// in whatever order the events of a vehicle come, since they are taken one after the
// other under the connection's row lock, and the newest report of each error counts.
// An event that is processed already has no further effect.
//
// ErrConflict when another transaction won: try again.
func (s *Store) CloseVehicleErrors(ctx context.Context, reported VehicleErrors) error {
	return s.inTransaction(ctx, "close vehicle errors", func(queries *dbsqlc.Queries) error {
		_, err := queries.LockConnection(ctx, reported.SmartcarVehicleID)
		if err := translate("lock connection", err); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		closed, err := closeEvent(ctx, queries, reported.Closing)
		if err != nil || !closed {
			return err
		}
		return (&vehicleErrorWrite{queries: queries, reported: reported}).run(ctx)
	})
}

type vehicleErrorWrite struct {
	queries  *dbsqlc.Queries
	reported VehicleErrors
}

func (w *vehicleErrorWrite) run(ctx context.Context) error {
	before, err := w.errorsForOwner(ctx)
	if err != nil {
		return err
	}
	for _, report := range w.reported.Reports {
		if err := w.store(ctx, report); err != nil {
			return err
		}
	}
	if err := w.mark(ctx); err != nil {
		return err
	}
	after, err := w.errorsForOwner(ctx)
	switch {
	case err != nil:
		return err
	case after.NewErrors > 0:
		return w.requireReauthentication(ctx, after.Reason)
	case before.OpenErrors > 0 && after.OpenErrors == 0:
		return w.withdrawReauthentication(ctx)
	default:
		return nil
	}
}

func (w *vehicleErrorWrite) store(ctx context.Context, report VehicleErrorReport) error {
	vehicle, errorType := w.reported.SmartcarVehicleID, storableText(report.Type)
	code, signal := storableText(report.Code), storableText(report.Signal)
	if report.Resolved {
		return translate("resolve vehicle error", w.queries.ResolveVehicleError(ctx, dbsqlc.ResolveVehicleErrorParams{
			SmartcarVehicleID: vehicle, ErrorType: errorType, Code: code, Signal: signal,
			ResolvedAt: w.reported.Closing.ReportedAt, EventID: w.reported.Closing.EventID,
		}))
	}
	return translate("open vehicle error", w.queries.OpenVehicleError(ctx, dbsqlc.OpenVehicleErrorParams{
		SmartcarVehicleID: vehicle, ErrorType: errorType, Code: code, Signal: signal,
		OpenedAt: w.reported.Closing.ReportedAt, EventID: w.reported.Closing.EventID,
		ResolutionType: storableText(report.ResolutionType), Reaction: string(report.Reaction),
	}))
}

// mark brings everything up to date that follows from the stored errors.
func (w *vehicleErrorWrite) mark(ctx context.Context) error {
	vehicle := w.reported.SmartcarVehicleID
	if err := w.queries.SpreadResolutions(ctx, vehicle); err != nil {
		return translate("resolve errors of all signals", err)
	}
	if err := w.queries.EndErrorsForOwner(ctx, vehicle); err != nil {
		return translate("end errors from before the connection", err)
	}
	if err := w.queries.MarkIncompatibleSignals(ctx, vehicle); err != nil {
		return translate("mark unsupported signals", err)
	}
	return translate("mark degraded connection", w.queries.MarkDegraded(ctx, vehicle))
}

func (w *vehicleErrorWrite) errorsForOwner(ctx context.Context) (dbsqlc.ErrorsForOwnerRow, error) {
	row, err := w.queries.ErrorsForOwner(ctx, dbsqlc.ErrorsForOwnerParams{
		SmartcarVehicleID: w.reported.SmartcarVehicleID, EventID: w.reported.Closing.EventID,
	})
	return row, translate("count errors for the owner", err)
}

func (w *vehicleErrorWrite) requireReauthentication(ctx context.Context, reason string) error {
	now := time.Now()
	changed, err := w.queries.RequireReauthenticationOfVehicle(ctx, dbsqlc.RequireReauthenticationOfVehicleParams{
		SmartcarVehicleID: w.reported.SmartcarVehicleID, Since: &now,
	})
	if err != nil {
		return translate("require re-authentication", err)
	}
	return w.tell(ctx, changed, NoticeReauthRequired, reason, now)
}

func (w *vehicleErrorWrite) withdrawReauthentication(ctx context.Context) error {
	changed, err := w.queries.WithdrawReauthentication(ctx, w.reported.SmartcarVehicleID)
	if err != nil {
		return translate("withdraw re-authentication", err)
	}
	return w.tell(ctx, changed, NoticeReauthResolved, "", time.Now())
}

// endErrorsForOwner ends what the owner was asked for, as connecting and re-authenticating do.
func endErrorsForOwner(ctx context.Context, queries *dbsqlc.Queries, smartcarVehicleID string) error {
	if err := queries.EndErrorsForOwner(ctx, smartcarVehicleID); err != nil {
		return translate("end errors for the owner", err)
	}
	return translate("mark degraded connection", queries.MarkDegraded(ctx, smartcarVehicleID))
}

// tell writes the notice of a connection that changed, and lets the workflow that
// keeps its tokens look again; changed holds the token family of it, or nothing.
func (w *vehicleErrorWrite) tell(ctx context.Context, changed []*int64, noticeType, reason string, at time.Time) error {
	if len(changed) == 0 {
		return nil
	}
	vehicle := w.reported.SmartcarVehicleID
	if err := writeNotices(ctx, w.queries, noticeType, reason, at, []string{vehicle}); err != nil {
		return err
	}
	if changed[0] == nil {
		return nil
	}
	return requestWorkflow(ctx, w.queries, WorkflowRequest{
		Kind: RequestTokenRefresh, Subject: vehicle, Signal: SignalReconnected,
	})
}
