package contract

// ConnectVehiclesInput names a consent. The authorization code stays in the database, as ciphertext.
type ConnectVehiclesInput struct {
	ConsentID string `json:"consentId"`
}

// ConnectVehiclesResult is what a completed ConnectVehicles says.
type ConnectVehiclesResult struct {
	Connected int `json:"connected"`
	// Reason says why nothing was connected, "" otherwise.
	Reason ConnectReason `json:"reason,omitempty"`
}

// ConnectReason says why a consent came to nothing. The owner is shown a page for each.
type ConnectReason string

// Why a consent comes to nothing after the owner has said yes.
const (
	// ReasonCodeExpired: Smartcar did not take the authorization code, which is good for ten minutes and once.
	ReasonCodeExpired ConnectReason = "code_expired"
	// ReasonNoVehicles: the consent is for no vehicle.
	ReasonNoVehicles ConnectReason = "no_vehicles"
	// ReasonOtherOwner: every vehicle is connected by another user already.
	ReasonOtherOwner ConnectReason = "already_connected_elsewhere"
	// ReasonUserUnproven: the callback named a Smartcar user that did not consent for this owner.
	ReasonUserUnproven ConnectReason = "user_not_confirmed"
	// ReasonReauthenticationFailed: the old tokens were refused again; a new consent is needed.
	ReasonReauthenticationFailed ConnectReason = "reauthentication_failed"
	// ReasonInternal: a person has to look at the failed workflow.
	ReasonInternal ConnectReason = "internal"
	// ReasonVehicleRefused: Smartcar would not say what is needed of any vehicle.
	ReasonVehicleRefused ConnectReason = "vehicle_refused"
)

// ExchangeCodeInput names a consent.
type ExchangeCodeInput struct {
	ConsentID string `json:"consentId"`
}

// ExchangeCodeResult says how to go on.
type ExchangeCodeResult struct {
	// Refused is set when the consent has come to nothing.
	Refused ConnectReason `json:"refused,omitempty"`
	// ReauthenticatedVehicleID is set when the consent renews the one of this vehicle.
	ReauthenticatedVehicleID string `json:"reauthenticatedVehicleId,omitempty"`
}

// ListConsentVehiclesInput names a consent.
type ListConsentVehiclesInput struct {
	ConsentID string `json:"consentId"`
}

// ListConsentVehiclesResult are the vehicles that a consent is for.
type ListConsentVehiclesResult struct {
	SmartcarVehicleIDs []string      `json:"smartcarVehicleIds,omitempty"`
	Refused            ConnectReason `json:"refused,omitempty"`
}

// ConnectVehicleInput is one vehicle of a consent.
type ConnectVehicleInput struct {
	ConsentID         string `json:"consentId"`
	SmartcarVehicleID string `json:"smartcarVehicleId"`
}

// ConnectVehicleResult says whether it is connected now.
type ConnectVehicleResult struct {
	Refused ConnectReason `json:"refused,omitempty"`
}

// SubscribeVehicleInput is one connected vehicle.
type SubscribeVehicleInput struct {
	SmartcarVehicleID string `json:"smartcarVehicleId"`
}

// ResumeVehicleInput is a vehicle whose owner has re-authenticated.
type ResumeVehicleInput struct {
	SmartcarVehicleID string `json:"smartcarVehicleId"`
}

// ResumeVehicleResult says whether its tokens work again.
type ResumeVehicleResult struct {
	Refused ConnectReason `json:"refused,omitempty"`
}

// CloseConsentInput ends a consent.
type CloseConsentInput struct {
	ConsentID string `json:"consentId"`
	// Reason is "" when vehicles were connected.
	Reason ConnectReason `json:"reason,omitempty"`
}

// DeliverNoticeInput names a notice.
type DeliverNoticeInput struct {
	NoticeID string `json:"noticeId"`
}

// DeliverNoticeResult is what a completed DeliverNotice says.
type DeliverNoticeResult struct {
	Delivered bool `json:"delivered"`
}
