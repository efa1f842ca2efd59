// Package contract is the vocabulary shared by workflows, activities, the
// starter and operators: names, IDs, inputs and results, search attributes, and
// the closed lists of outcomes and failure classes.
//
// It is a leaf: it imports nothing of Milepost's. Fields are only ever added to
// its structs, since recorded histories hold their older forms.
package contract

// Workflow types, as they appear in the Temporal UI.
const (
	// ProcessEventWorkflow handles one Smartcar event. Its workflow ID is the eventId.
	ProcessEventWorkflow = "ProcessEvent"
)

// Task queues.
const (
	// TaskQueue carries every workflow and the activities that touch only the database.
	TaskQueue = "milepost"
)

// Activity types. Workflows call activities by these names.
const (
	ProcessAtOnceActivity   = "ProcessAtOnce"
	LoadEventActivity       = "LoadEvent"
	ConvertUnitsActivity    = "ConvertUnits"
	WriteMeterEntryActivity = "WriteMeterEntry"
	RecordOutcomeActivity   = "RecordOutcome"
	RecordFailureActivity   = "RecordFailure"
)

// Search attribute names (all of type Keyword).
const (
	SearchAttributeVehicleID    = "SmartcarVehicleId"
	SearchAttributeEventType    = "SmartcarEventType"
	SearchAttributeOutcome      = "MilepostOutcome"
	SearchAttributeFailureClass = "MilepostFailureClass"
)

// SearchAttributes lists the names to register with a namespace; each is a Keyword.
func SearchAttributes() []string {
	return []string{
		SearchAttributeVehicleID,
		SearchAttributeEventType,
		SearchAttributeOutcome,
		SearchAttributeFailureClass,
	}
}
