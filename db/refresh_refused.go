package db

import (
	"context"
	"errors"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// RefusalDoubt is how long a refusal is not believed after an attempt without a known
// end was found: whoever made that may hold the new pair, and need so long to store
// it once the database is back.
const RefusalDoubt = 2 * (storeTimeout + longestStorePause)

// ErrRefusalInDoubt says that the refresh token was refused, perhaps for the sake of a
// pair that is still to be stored. Try again after RefusalDoubt.
var ErrRefusalInDoubt = errors.New("the refresh token was refused; another process may hold the pair that it was traded for")

// refused ends a family that Smartcar does not know any more, after a second look
// at the row: without its lock, somebody else may have used the token first, and may
// have to store what came of it yet.
func (r *refreshAttempt) refused(ctx context.Context, queries *dbsqlc.Queries, cause error) error {
	row, err := queries.TokenGeneration(ctx, r.tokenID)
	if err != nil {
		return translate("read tokens again", err)
	}
	if row.Generation != r.generation || row.RefreshID > r.id {
		return r.finish(ctx, queries, refreshOvertaken)
	}
	lost, err := r.mayHaveBeenAnswered(ctx, queries)
	if err != nil {
		return err
	}
	if lost {
		return r.failed(ctx, queries, &RefreshError{Kind: "refusal_in_doubt", Err: ErrRefusalInDoubt})
	}
	now := r.vault.clock()
	err = queries.InvalidateTokens(ctx, dbsqlc.InvalidateTokensParams{
		ID: r.tokenID, LastError: faultKind(cause), FailedAt: &now,
	})
	if err != nil {
		return translate("invalidate tokens", err)
	}
	vehicles, err := queries.RequireReauthentication(ctx, dbsqlc.RequireReauthenticationParams{TokenID: r.tokenID, Since: &now})
	if err != nil {
		return translate("require re-authentication", err)
	}
	if err := writeNotices(ctx, queries, NoticeReauthRequired, faultKind(cause), now, vehicles); err != nil {
		return err
	}
	return r.finish(ctx, queries, refreshRefused)
}

// mayHaveBeenAnswered says whether an earlier attempt with the same token had no known
// end until lately. RefusalDoubt runs from when that is found first.
func (r *refreshAttempt) mayHaveBeenAnswered(ctx context.Context, queries *dbsqlc.Queries) (bool, error) {
	since := r.startedAt.Add(-RefusalDoubt)
	lost, err := queries.LoseRefreshes(ctx, dbsqlc.LoseRefreshesParams{
		TokenID: r.tokenID, Generation: r.generation, ID: r.id, FoundAt: &r.startedAt, Since: &since,
	})
	return lost, translate("look for lost attempts", err)
}
