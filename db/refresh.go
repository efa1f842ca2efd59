package db

import (
	"context"
	"errors"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// The states of a token family.
const (
	tokensActive  = "active"
	tokensInvalid = "invalid"
)

// How an attempt to refresh ended.
const (
	refreshStored    = "stored"
	refreshOvertaken = "overtaken"
	refreshRefused   = "refused"
	refreshFailed    = "failed"
)

// keptRefreshes is how long ended attempts are kept for people to look at.
const keptRefreshes = 7 * 24 * time.Hour

// ErrRefreshRefused is what an Exchange wraps when Smartcar has said clearly that
// the refresh token is not good any more.
var ErrRefreshRefused = errors.New("the refresh token was refused")

// RefreshError is an Exchange's error together with a word for it that may be stored and shown.
type RefreshError struct {
	Kind string
	// UnknownOutcome is true when Smartcar may have rotated the token though its answer did
	// not arrive: the attempt then stays without an end until a later one brings a pair, or a refusal.
	UnknownOutcome bool
	Err            error
}

// Error implements error.
func (f *RefreshError) Error() string { return f.Kind }

// Unwrap gives the Exchange's own error.
func (f *RefreshError) Unwrap() error { return f.Err }

// Exchange trades a refresh token for a new pair at Smartcar. It is called with the
// family's row lock held, and must bound its own time.
type Exchange func(ctx context.Context, refreshToken string) (TokenPair, error)

// RefreshRequest says whose tokens are to be fresh.
type RefreshRequest struct {
	SmartcarVehicleID string
	// TokenID is the family that Generation counts in; when the vehicle has another one by now,
	// nothing is refreshed. Zero means whichever it has.
	TokenID int64
	// Generation is the pair that the caller found wanting; a family that has a later one by
	// now has been refreshed by somebody else, and is left alone. Zero means any.
	Generation int64
	// EvenIfInvalid tries a family that was refused before: after a re-authentication
	// the old tokens work again.
	EvenIfInvalid bool
}

// Refresh gives a family a new pair, unless somebody else did meanwhile. Source:
// Smartcar, "Lifetimes and rotation".
//
// One refresh is under way per family, across all processes: the family's row lock
// is held from before the row is read to after the new pair is committed, and ends
// with the process. The attempt is committed before Smartcar is asked. When the
// pair cannot be stored the storing is repeated, for as long as this process lives.
// A refusal counts only after a second look at the row, and is ErrRefusalInDoubt while
// the pair of an earlier attempt may still come. The exchange's own errors come back as
// they are; nothing but a refusal changes the vehicles' state.
func (v *Vault) Refresh(ctx context.Context, request RefreshRequest, exchange Exchange) (TokenStatus, error) {
	status, err := v.TokenStatus(ctx, request.SmartcarVehicleID)
	if err != nil || status.TokenID == 0 || (request.TokenID != 0 && request.TokenID != status.TokenID) {
		return status, err
	}
	if request.Generation == 0 {
		request.Generation = status.Generation
	}
	attempt := refreshAttempt{
		tokenID: status.TokenID, wanting: request.Generation, evenIfInvalid: request.EvenIfInvalid, exchange: exchange,
	}
	if err := v.attempt(ctx, attempt); err != nil {
		return TokenStatus{}, err
	}
	return v.TokenStatus(ctx, request.SmartcarVehicleID)
}

// RefreshFamily is Refresh by the family's own id, which it has before any vehicle.
// Generation is the pair that was found wanting.
func (v *Vault) RefreshFamily(ctx context.Context, tokenID, generation int64, exchange Exchange) error {
	return v.attempt(ctx, refreshAttempt{tokenID: tokenID, wanting: generation, exchange: exchange})
}

func (v *Vault) attempt(ctx context.Context, attempt refreshAttempt) error {
	release, err := v.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	attempt.vault = v
	return attempt.run(ctx)
}

type refreshAttempt struct {
	vault         *Vault
	tokenID       int64
	wanting       int64 // the generation that is to be replaced
	evenIfInvalid bool
	exchange      Exchange

	id         int64
	startedAt  time.Time
	generation int64
	pair       TokenPair
	receivedAt time.Time
	fault      error // what the exchange answered instead of a pair
}

// run is done in one transaction, which holds the lock. It ends with ctx before
// Smartcar is asked, and not after: the answer must be kept, and the lock with it.
func (r *refreshAttempt) run(ctx context.Context) error {
	err := r.vault.store.inLastingTransaction(ctx, "refresh tokens", r.vault.storeTimeout, func(queries *dbsqlc.Queries) error {
		row, err := queries.LockTokens(ctx, r.tokenID)
		if err != nil {
			return translate("lock tokens", err)
		}
		if row.Generation > r.wanting || (row.Status == tokensInvalid && !r.evenIfInvalid) {
			return nil
		}
		r.generation = row.Generation
		return r.ask(ctx, queries, row)
	})
	if err == nil {
		return r.fault
	}
	if r.receivedAt.IsZero() {
		return errors.Join(r.fault, err)
	}
	return r.storeUntilDone(context.WithoutCancel(ctx))
}

func (r *refreshAttempt) ask(ctx context.Context, queries *dbsqlc.Queries, row dbsqlc.LockTokensRow) error {
	refreshToken, err := r.vault.open(row.SmartcarRefreshToken, tokenBinding(r.tokenID, refreshTokenColumn))
	if err != nil {
		return &callerError{err: err}
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	settle := context.WithoutCancel(ctx)
	r.pair, err = r.exchange(settle, refreshToken)
	settle, cancel := context.WithTimeout(settle, r.vault.storeTimeout)
	defer cancel()
	switch {
	case err == nil:
		r.receivedAt = r.vault.clock()
		return r.store(settle, queries)
	case errors.Is(err, ErrRefreshRefused):
		return r.refused(settle, queries, err)
	default:
		return r.failed(settle, queries, err)
	}
}

// begin commits the attempt on a connection of its own, beside the transaction with the lock.
func (r *refreshAttempt) begin(ctx context.Context) error {
	var err error
	r.startedAt = r.vault.clock()
	r.id, err = r.vault.store.queries.BeginRefresh(ctx, dbsqlc.BeginRefreshParams{
		TokenID: r.tokenID, Generation: r.generation, StartedAt: r.startedAt,
	})
	return translate("begin refresh", err)
}

// store writes both tokens, the end of the attempt and what follows for the vehicles.
func (r *refreshAttempt) store(ctx context.Context, queries *dbsqlc.Queries) error {
	ciphertext, err := r.vault.seal(r.tokenID, r.pair)
	if err != nil {
		return &callerError{err: err}
	}
	stored, err := queries.StoreTokens(ctx, dbsqlc.StoreTokensParams{
		ID: r.tokenID, AccessToken: ciphertext.access, RefreshToken: ciphertext.refresh, KeyID: ciphertext.keyID,
		IssuedAt: r.receivedAt, ExpiresAt: r.receivedAt.Add(r.pair.ExpiresIn), RefreshID: r.id,
	})
	if err != nil {
		return translate("store tokens", err)
	}
	outcome := refreshStored
	if stored == 0 {
		outcome = refreshOvertaken
	}
	if err := r.finish(ctx, queries, outcome); err != nil || stored == 0 {
		return err
	}
	resolved, err := queries.ResolveReauthentication(ctx, r.tokenID)
	if err != nil {
		return translate("resolve re-authentication", err)
	}
	for _, vehicle := range resolved {
		err := requestWorkflow(ctx, queries, WorkflowRequest{
			Kind: RequestTokenRefresh, Subject: vehicle, Signal: SignalReconnected,
		})
		if err != nil {
			return err
		}
	}
	return writeNotices(ctx, queries, NoticeReauthResolved, "", r.receivedAt, resolved)
}

// storeUntilDone repeats a write that failed. The lock may be gone with the
// connection; the order of the attempts then decides whose pair stays.
func (r *refreshAttempt) storeUntilDone(ctx context.Context) error {
	return r.vault.untilStored(ctx, "store tokens", func(ctx context.Context, queries *dbsqlc.Queries) error {
		row, err := queries.LockTokens(ctx, r.tokenID)
		if err != nil || row.RefreshID == r.id { // committed after all
			return translate("lock tokens", err)
		}
		return r.store(ctx, queries)
	})
}

// failed notes a call without a result, for people; it changes nothing else.
func (r *refreshAttempt) failed(ctx context.Context, queries *dbsqlc.Queries, cause error) error {
	r.fault = cause
	now := r.vault.clock()
	err := queries.NoteTokenError(ctx, dbsqlc.NoteTokenErrorParams{ID: r.tokenID, LastError: faultKind(cause), FailedAt: &now})
	if err != nil {
		return translate("note the error", err)
	}
	if fault, found := errors.AsType[*RefreshError](cause); found && fault.UnknownOutcome {
		return nil
	}
	return r.finish(ctx, queries, refreshFailed)
}

func (r *refreshAttempt) finish(ctx context.Context, queries *dbsqlc.Queries, outcome string) error {
	now := r.vault.clock()
	err := queries.FinishRefresh(ctx, dbsqlc.FinishRefreshParams{ID: r.id, FinishedAt: &now, Outcome: &outcome})
	if err != nil {
		return translate("end refresh", err)
	}
	if outcome != refreshFailed { // then what became of the calls before it is as unknown as it was
		err := queries.AbandonRefreshes(ctx, dbsqlc.AbandonRefreshesParams{TokenID: r.tokenID, FinishedAt: &now})
		if err != nil {
			return translate("close abandoned attempts", err)
		}
	}
	before := now.Add(-keptRefreshes)
	err = queries.DeleteOldRefreshes(ctx, dbsqlc.DeleteOldRefreshesParams{TokenID: r.tokenID, Before: &before})
	return translate("delete old attempts", err)
}

func faultKind(err error) string {
	if fault, found := errors.AsType[*RefreshError](err); found {
		return fault.Kind
	}
	return "unexpected"
}
