// Package contract is the vocabulary shared by workflows, activities, the
// starter and operators: names, IDs, inputs and results, search attributes, and
// the closed lists of outcomes and failure classes.
//
// It is a leaf: it imports nothing of Milepost's. Fields are only ever added to
// its structs, since recorded histories hold their older forms.
package contract

import "strings"

// Workflow types, as they appear in the Temporal UI.
const (
	// ProcessEventWorkflow handles one Smartcar event. Its workflow ID is the eventId.
	ProcessEventWorkflow = "ProcessEvent"
	// TokenRefreshWorkflow keeps one vehicle's tokens fresh for as long as it is connected.
	TokenRefreshWorkflow = "TokenRefresh"
	// ConnectVehiclesWorkflow does what follows an owner's consent.
	ConnectVehiclesWorkflow = "ConnectVehicles"
	// DeliverNoticeWorkflow brings one notice to the application.
	DeliverNoticeWorkflow = "DeliverNotice"
	// CheckFleetWorkflow sees to it that TokenRefresh runs for the connected vehicles and no others.
	CheckFleetWorkflow = "CheckFleet"
)

// CheckFleetSchedule is the ID of the schedule of CheckFleet.
const CheckFleetSchedule = "check-fleet"

// TokenRefreshID is the workflow ID of a vehicle's TokenRefresh.
func TokenRefreshID(smartcarVehicleID string) string { return tokenRefreshPrefix + smartcarVehicleID }

// TokenRefreshVehicle is the vehicle that a TokenRefresh's workflow ID names; false for other IDs.
func TokenRefreshVehicle(workflowID string) (smartcarVehicleID string, found bool) {
	return strings.CutPrefix(workflowID, tokenRefreshPrefix)
}

const tokenRefreshPrefix = "token-refresh/"

// ConnectVehiclesID is the workflow ID of a consent's ConnectVehicles.
func ConnectVehiclesID(consentID string) string { return "connect/" + consentID }

// DeliverNoticeID is the workflow ID of a notice's DeliverNotice.
func DeliverNoticeID(noticeID string) string { return "notice/" + noticeID }

// Task queues.
const (
	// TaskQueue carries every workflow and the activities that touch only the database.
	TaskQueue = "milepost"
	// SmartcarTaskQueue carries the activities that call Smartcar. The server limits their rate.
	SmartcarTaskQueue = "milepost-smartcar-api"
)

// Activity types. Workflows call activities by these names.
const (
	ProcessAtOnceActivity   = "ProcessAtOnce"
	LoadEventActivity       = "LoadEvent"
	ConvertUnitsActivity    = "ConvertUnits"
	WriteMeterEntryActivity = "WriteMeterEntry"
	RecordOutcomeActivity   = "RecordOutcome"
	RecordFailureActivity   = "RecordFailure"

	LoadTokenStatusActivity     = "LoadTokenStatus"
	RefreshTokensActivity       = "RefreshTokens"
	EndConnectionActivity       = "EndConnection"
	ExchangeCodeActivity        = "ExchangeCode"
	ListConsentVehiclesActivity = "ListConsentVehicles"
	ConnectVehicleActivity      = "ConnectVehicle"
	SubscribeVehicleActivity    = "SubscribeVehicle"
	ResumeVehicleActivity       = "ResumeVehicle"
	CloseConsentActivity        = "CloseConsent"
	DeliverNoticeActivity       = "DeliverNotice"
	GiveNoticeUpActivity        = "GiveNoticeUp"
	CheckFleetActivity          = "CheckFleet"
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
