package workflows

// Workflows outlive deployments: a run that an older version began is replayed by
// the newer one. A change to what a workflow does, or in which order, is gated
// here with a named change ID and workflow.GetVersion, and the histories in
// testdata/replay prove that older runs still replay. A change ID is removed only
// when no run from before it can exist any more (the namespace's retention).
//
// No change is gated yet.
