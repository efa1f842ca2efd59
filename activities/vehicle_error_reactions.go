package activities

import (
	"strings"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// Types of vehicle errors, their codes, and the resolution that asks for the owner.
// Source: Smartcar, "VEHICLE_ERROR".
const (
	errorTypeAccount       = "CONNECTED_SERVICES_ACCOUNT"
	errorTypeVehicleState  = "VEHICLE_STATE"
	errorTypeCompatibility = "COMPATIBILITY"
	errorTypePermission    = "PERMISSION"

	resolutionReauthenticate = "REAUTHENTICATE"
)

// anyCode stands for every code that has no row of its own, and for none.
const anyCode = "*"

// vehicleErrorReaction is one row of the table: what an error of this type and code calls for.
type vehicleErrorReaction struct {
	errorType, code string
	reaction        db.Reaction
}

// vehicleErrorReactions is the whole table; the first row that fits counts. What fits
// none is unknown, and waited out. Source: Smartcar, "VEHICLE_ERROR".
func vehicleErrorReactions() []vehicleErrorReaction {
	return []vehicleErrorReaction{
		{errorTypeAccount, "AUTHENTICATION_FAILED", db.ReactionReauthenticate},
		{errorTypeAccount, "ACCOUNT_ISSUE", db.ReactionOwnerAction},
		{errorTypeAccount, "PERMISSION", db.ReactionOwnerAction},
		{errorTypeAccount, "SUBSCRIPTION", db.ReactionOwnerAction},
		{errorTypeAccount, "VIRTUAL_KEY_REQUIRED", db.ReactionOwnerAction},
		{errorTypeAccount, "NO_VEHICLES", db.ReactionOwnerAction},
		{errorTypeAccount, "VEHICLE_MISSING", db.ReactionOwnerAction},
		{errorTypeAccount, anyCode, db.ReactionOwnerAction},

		{errorTypeVehicleState, "UNREACHABLE", db.ReactionWait},
		{errorTypeVehicleState, "ASLEEP", db.ReactionWait},
		{errorTypeVehicleState, "REMOTE_ACCESS_DISABLED", db.ReactionOwnerAction},
		{errorTypeVehicleState, anyCode, db.ReactionWait},

		{errorTypeCompatibility, "VEHICLE_NOT_CAPABLE", db.ReactionUnsupportedSignals},
		{errorTypeCompatibility, "SMARTCAR_NOT_CAPABLE", db.ReactionUnsupportedSignals},
		{errorTypeCompatibility, "MAKE_NOT_COMPATIBLE", db.ReactionUnsupportedSignals},
		{errorTypeCompatibility, anyCode, db.ReactionWait},

		// Only for signals that are wanted; see reactionTo.
		{errorTypePermission, anyCode, db.ReactionReconsent},

		{"SERVER", anyCode, db.ReactionWait},
		{"UPSTREAM", anyCode, db.ReactionWait},
		{"RATE_LIMIT", anyCode, db.ReactionWait},
	}
}

// currentNames gives the type and code that an older type name stands for, which no
// current page describes; others stay as they are.
func currentNames(errorType, code string) (currentType, currentCode string) {
	switch errorType {
	case "VEHICLE_NOT_CAPABLE":
		return errorTypeCompatibility, errorType
	case "PERMISSION_ERROR":
		return errorTypePermission, code
	case "UPSTREAM_ERROR":
		return "UPSTREAM", code
	default:
		return errorType, code
	}
}

// reactionTo decides over an error as far as it concerns one signal, or the whole
// vehicle when signal is "". Smartcar's own word that a re-authentication resolves it
// goes before the table, but not where single signals are missing: the owner is not
// bothered for what nobody wants.
func reactionTo(reported smartcar.VehicleError, signal string) db.Reaction {
	errorType, code := currentNames(reported.Type, reported.Code)
	reaction := reactionOfTable(errorType, code)
	switch {
	case reaction == db.ReactionReconsent && !isWanted(signal):
		return db.ReactionIgnore
	case errorType == errorTypeCompatibility, errorType == errorTypePermission:
		return reaction
	case strings.EqualFold(reported.ResolutionType, resolutionReauthenticate):
		return db.ReactionReauthenticate
	default:
		return reaction
	}
}

func reactionOfTable(errorType, code string) db.Reaction {
	for _, row := range vehicleErrorReactions() {
		if row.errorType == errorType && (row.code == code || row.code == anyCode) {
			return row.reaction
		}
	}
	return db.ReactionWait
}

// isWanted: the odometer is what Milepost is there for, and the whole vehicle includes
// it. Group and name have been seen swapped. Source: Smartcar, "VEHICLE_ERROR".
func isWanted(signal string) bool {
	group, name, _ := strings.Cut(smartcar.CodeOdometer, "-")
	return signal == "" || signal == smartcar.CodeOdometer || signal == name+"-"+group
}

// vehicleErrorReports gives one report per error and signal, or per error when the
// whole vehicle is concerned.
func vehicleErrorReports(reported []smartcar.VehicleError) []db.VehicleErrorReport {
	var reports []db.VehicleErrorReport
	for _, one := range reported {
		for _, signal := range concernedSignals(one) {
			reports = append(reports, db.VehicleErrorReport{
				Type: one.Type, Code: one.Code, Signal: signal, Resolved: one.State == smartcar.StateResolved,
				ResolutionType: one.ResolutionType, Reaction: reactionTo(one, signal),
			})
		}
	}
	return reports
}

// concernedSignals are the codes of the signals; a name that is no code is better than
// taking the whole vehicle for concerned.
func concernedSignals(reported smartcar.VehicleError) []string {
	if len(reported.Signals) == 0 {
		return []string{""}
	}
	signals := make([]string, len(reported.Signals))
	for i, signal := range reported.Signals {
		signals[i] = signalCode(signal)
	}
	return signals
}

func signalCode(signal smartcar.SignalRef) string {
	for _, name := range []string{signal.Code, signal.Name, signal.Group} {
		if name != "" {
			return strings.ToLower(name)
		}
	}
	return ""
}
