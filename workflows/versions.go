package workflows

import "go.temporal.io/sdk/workflow"

// Workflows outlive deployments: a run that an older version began is replayed by
// the newer one. A change to what a workflow does, or in which order, is gated
// here with a named change ID and workflow.GetVersion, and the histories in
// testdata/replay prove that older runs still replay. A change ID is removed only
// when no run from before it can exist any more (the namespace's retention).
const (
	// changeListenBetweenTries: TokenRefresh gets a refresh in vain back after a few tries, and waits by itself.
	changeListenBetweenTries = "token-refresh-listens-between-tries"
	// changeDrainBeforeEnd: TokenRefresh looks for signals once more before it ends.
	changeDrainBeforeEnd = "token-refresh-drains-before-end"
)

// isChanged says whether this run is to behave as it does since the change.
func isChanged(ctx workflow.Context, change string) bool {
	return workflow.GetVersion(ctx, change, workflow.DefaultVersion, 1) != workflow.DefaultVersion
}
