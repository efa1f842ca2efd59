package contract

import "time"

const (
	// RetentionWorkflow removes what has been kept for long enough.
	RetentionWorkflow = "Retention"
	// RetentionSchedule is the ID of the schedule of Retention.
	RetentionSchedule = "retention"
	// TrimRetainedActivity does all of it, in batches.
	TrimRetainedActivity = "TrimRetained"
)

// FailurePayloadTrimmed is how an event fails that was processed once and is retried
// after its payload was trimmed: it cannot be processed again.
const FailurePayloadTrimmed FailureClass = "payload_trimmed"

// How long rows stay unless an operator says otherwise.
const (
	DefaultPayloadRetention = 30 * 24 * time.Hour
	DefaultLogRetention     = 400 * 24 * time.Hour
)

// RetentionInput says how long rows stay. Anything that is not positive means the default.
type RetentionInput struct {
	// Payloads stay so long after their event was processed.
	Payloads time.Duration `json:"payloads,omitempty"`
	// SyncLogs stay so long after they were written.
	SyncLogs time.Duration `json:"syncLogs,omitempty"`
}

// RetentionResult counts the rows that were done, by kind; it is the activity's heartbeat, too.
type RetentionResult struct {
	Rows map[string]int64 `json:"rows"`
}
