package starter_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/milepost/milepost/db"
)

// TestARowThatALateReadingMadeFailIsStartedAgainAtOnceWhenItIsRetried: Temporal knows nothing of its failing.
func TestARowThatALateReadingMadeFailIsStartedAgainAtOnceWhenItIsRetried(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status   enumspb.WorkflowExecutionStatus
		policies []enumspb.WorkflowIdReusePolicy
	}{
		"after it completed":            {enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, []enumspb.WorkflowIdReusePolicy{failedOnly, duplicate}},
		"after it failed":               {enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, []enumspb.WorkflowIdReusePolicy{failedOnly}},
		"but not while it still runs":   {enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, []enumspb.WorkflowIdReusePolicy{failedOnly, duplicate}},
		"and once when it is not there": {enumspb.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED, []enumspb.WorkflowIdReusePolicy{failedOnly}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if c.status != enumspb.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED {
				b.temporal.is("one", c.status)
			}
			b.receive(t, delivery("one"))
			require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: "one", FailureClass: "implausible_reading"}))
			require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "one", Actor: "support", ConfirmReading: true}))
			working := run(t, b.deps())
			b.awaitStatus(t, "one", db.StatusStarted)
			working.stop(t)
			var policies []enumspb.WorkflowIdReusePolicy
			for _, started := range b.temporal.tried() {
				policies = append(policies, started.WorkflowIDReusePolicy)
			}
			require.Equal(t, c.policies, policies)
		})
	}
}
