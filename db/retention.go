package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// ErrPayloadTrimmed says that an event's payload is gone, and with it the means to process the event again.
var ErrPayloadTrimmed = errors.New("the payload has been trimmed")

// trimBatch is how many rows one transaction does, so that none holds locks for long.
const trimBatch = 1000

// How long rows stay that nobody has reason to keep for a time of their own choosing.
const (
	// expiredCodesStay is well past the ten minutes for which Smartcar takes an authorization code.
	expiredCodesStay       = time.Hour
	unansweredConsentsStay = 24 * time.Hour
	closedConsentsStay     = 90 * 24 * time.Hour
	deliveredNoticesStay   = 90 * 24 * time.Hour
)

// RetentionPeriods says how long rows stay. Both are positive.
type RetentionPeriods struct {
	// Payloads stay so long after their event was processed.
	Payloads time.Duration
	// SyncLogs stay so long after they were written.
	SyncLogs time.Duration
}

// RetentionStep is one kind of row that does not stay for ever.
type RetentionStep struct {
	// Kind names it in results, such as "payloads".
	Kind string
	// OlderThan is how long its rows stay.
	OlderThan time.Duration
	// Due counts the rows that are older.
	Due func(ctx context.Context, olderThan time.Duration) (int64, error)
	// Trim does up to limit of them in one transaction, and says how many it did.
	Trim func(ctx context.Context, olderThan time.Duration, limit int32) (int64, error)
}

// RetentionSteps lists every kind, in the order in which they are trimmed.
func (s *Store) RetentionSteps(periods RetentionPeriods) []RetentionStep {
	return []RetentionStep{
		{"payloads", periods.Payloads, s.PayloadsToTrim, s.TrimPayloads},
		{"syncLogs", periods.SyncLogs, s.SyncLogsToDelete, s.DeleteSyncLogs},
		{"expiredCodes", expiredCodesStay, s.ExpiredCodesToForget, s.ForgetExpiredCodes},
		{"unansweredConsents", unansweredConsentsStay, s.UnansweredConsentsToDelete, s.DeleteUnansweredConsents},
		{"closedConsents", closedConsentsStay, s.ClosedConsentsToDelete, s.DeleteClosedConsents},
		{"deliveredNotices", deliveredNoticesStay, s.DeliveredNoticesToDelete, s.DeleteDeliveredNotices},
		{"quarantine", DefaultQuarantineAge, s.QuarantineToTrim, s.TrimQuarantine},
	}
}

// Trim goes through all steps, batch by batch, until nothing is due. Each batch is
// reported once it is committed; Trim can be stopped at any of them, and run again.
// Rows that somebody else has locked are left for the next time.
func (s *Store) Trim(ctx context.Context, periods RetentionPeriods, report func(kind string, rows int64)) error {
	if periods.Payloads <= 0 || periods.SyncLogs <= 0 {
		return errors.New("trim: a retention must be positive")
	}
	for _, step := range s.RetentionSteps(periods) {
		for {
			rows, err := step.Trim(ctx, step.OlderThan, trimBatch)
			if err != nil {
				return err
			}
			report(step.Kind, rows)
			if rows < trimBatch {
				break
			}
		}
	}
	return nil
}

// TrimPayloads empties the payloads of events that were processed longer ago. The
// rows stay, and go on telling duplicates apart.
func (s *Store) TrimPayloads(ctx context.Context, olderThan time.Duration, limit int32) (int64, error) {
	rows, err := s.queries.TrimPayloads(ctx, dbsqlc.TrimPayloadsParams{OlderThanSeconds: olderThan.Seconds(), MaxRows: limit})
	return rows, translate("trim payloads", err)
}

// PayloadsToTrim counts what TrimPayloads would do.
func (s *Store) PayloadsToTrim(ctx context.Context, olderThan time.Duration) (int64, error) {
	rows, err := s.queries.PayloadsToTrim(ctx, olderThan.Seconds())
	return rows, translate("count payloads to trim", err)
}

// ExplainEmptyPayload says why an event's payload is empty: ErrPayloadTrimmed, with
// the time, or nil when it was received so. ErrNotFound without such an event.
func (s *Store) ExplainEmptyPayload(ctx context.Context, eventID string) error {
	trimmedAt, err := s.queries.PayloadTrimmedAt(ctx, eventID)
	if err != nil || trimmedAt == nil {
		return translate("explain empty payload", err)
	}
	return fmt.Errorf("%w, on %s", ErrPayloadTrimmed, trimmedAt.UTC().Format(time.RFC3339))
}

// DeleteSyncLogs deletes log rows that were written longer ago.
func (s *Store) DeleteSyncLogs(ctx context.Context, olderThan time.Duration, limit int32) (int64, error) {
	rows, err := s.queries.DeleteSyncLogs(ctx, dbsqlc.DeleteSyncLogsParams{OlderThanSeconds: olderThan.Seconds(), MaxRows: limit})
	return rows, translate("delete sync logs", err)
}

// SyncLogsToDelete counts what DeleteSyncLogs would do.
func (s *Store) SyncLogsToDelete(ctx context.Context, olderThan time.Duration) (int64, error) {
	rows, err := s.queries.SyncLogsToDelete(ctx, olderThan.Seconds())
	return rows, translate("count sync logs to delete", err)
}

// ForgetExpiredCodes closes consents whose code came longer ago and was never
// exchanged, as when a person ended their workflow: the owner is told to begin again,
// and no ciphertext of an old key stays behind.
func (s *Store) ForgetExpiredCodes(ctx context.Context, olderThan time.Duration, limit int32) (int64, error) {
	rows, err := s.queries.ForgetExpiredCodes(ctx, dbsqlc.ForgetExpiredCodesParams{
		OlderThanSeconds: olderThan.Seconds(), MaxRows: limit,
	})
	return rows, translate("forget expired codes", err)
}

// ExpiredCodesToForget counts what ForgetExpiredCodes would do.
func (s *Store) ExpiredCodesToForget(ctx context.Context, olderThan time.Duration) (int64, error) {
	rows, err := s.queries.ExpiredCodesToForget(ctx, olderThan.Seconds())
	return rows, translate("count expired codes to forget", err)
}

// DeleteUnansweredConsents deletes consents that expired longer ago, and that no owner came back with.
func (s *Store) DeleteUnansweredConsents(ctx context.Context, olderThan time.Duration, limit int32) (int64, error) {
	rows, err := s.queries.DeleteUnansweredConsents(ctx, dbsqlc.DeleteUnansweredConsentsParams{
		OlderThanSeconds: olderThan.Seconds(), MaxRows: limit,
	})
	return rows, translate("delete unanswered consents", err)
}

// UnansweredConsentsToDelete counts what DeleteUnansweredConsents would do.
func (s *Store) UnansweredConsentsToDelete(ctx context.Context, olderThan time.Duration) (int64, error) {
	rows, err := s.queries.UnansweredConsentsToDelete(ctx, olderThan.Seconds())
	return rows, translate("count unanswered consents to delete", err)
}

// DeleteClosedConsents deletes consents that ended longer ago, whichever way. The
// vehicles and tokens that came of them stay.
func (s *Store) DeleteClosedConsents(ctx context.Context, olderThan time.Duration, limit int32) (int64, error) {
	rows, err := s.queries.DeleteClosedConsents(ctx, dbsqlc.DeleteClosedConsentsParams{
		OlderThanSeconds: olderThan.Seconds(), MaxRows: limit,
	})
	return rows, translate("delete closed consents", err)
}

// ClosedConsentsToDelete counts what DeleteClosedConsents would do.
func (s *Store) ClosedConsentsToDelete(ctx context.Context, olderThan time.Duration) (int64, error) {
	rows, err := s.queries.ClosedConsentsToDelete(ctx, olderThan.Seconds())
	return rows, translate("count closed consents to delete", err)
}

// DeleteDeliveredNotices deletes notices that the application took longer ago. One
// that was given up stays: somebody has still to look at it.
func (s *Store) DeleteDeliveredNotices(ctx context.Context, olderThan time.Duration, limit int32) (int64, error) {
	rows, err := s.queries.DeleteDeliveredNotices(ctx, dbsqlc.DeleteDeliveredNoticesParams{
		OlderThanSeconds: olderThan.Seconds(), MaxRows: limit,
	})
	return rows, translate("delete delivered notices", err)
}

// DeliveredNoticesToDelete counts what DeleteDeliveredNotices would do.
func (s *Store) DeliveredNoticesToDelete(ctx context.Context, olderThan time.Duration) (int64, error) {
	rows, err := s.queries.DeliveredNoticesToDelete(ctx, olderThan.Seconds())
	return rows, translate("count delivered notices to delete", err)
}
