package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// Register makes every workflow known to a worker (or a replayer) under its contract name.
func Register(registry worker.WorkflowRegistry) {
	registry.RegisterWorkflowWithOptions(ProcessEvent, workflow.RegisterOptions{Name: contract.ProcessEventWorkflow})
}
