package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/shopspring/decimal"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// SignalAvailability says whether a vehicle gives a signal at present.
type SignalAvailability string

// The availabilities.
const (
	// SignalAvailable: Smartcar's newest word on the signal is a value.
	SignalAvailable SignalAvailability = "available"
	// SignalUnavailable: Smartcar said last that there is no value, or has not sent one yet.
	SignalUnavailable SignalAvailability = "unavailable"
	// SignalUnsupported: this vehicle does not have the signal, or its maker does not give it.
	SignalUnsupported SignalAvailability = "unsupported"
)

// SignalSummary is how one signal of a connection stands, for support staff: its newest reading, kept even while the
// signal is not available, and why it is not. Value may be personal (a VIN, a position): it must not be logged.
type SignalSummary struct {
	Code string `json:"code"`
	// Value is the body as Smartcar sent it; nil without any reading.
	Value json.RawMessage `json:"value,omitempty"`
	// NormalisedValue is a decimal in the metric NormalisedUnit; "" when there is no single number, or its unit is not known.
	NormalisedValue string `json:"normalisedValue,omitempty"`
	NormalisedUnit  string `json:"normalisedUnit,omitempty"`
	// ObservedAt is when the reading was true, by the time that ObservedAtSource names, such as "oem_updated_at".
	ObservedAt       *time.Time         `json:"observedAt,omitempty"`
	ObservedAtSource *string            `json:"observedAtSource,omitempty"`
	EventID          string             `json:"eventId,omitempty"`
	Availability     SignalAvailability `json:"availability"`
	// FailureType and FailureCode are Smartcar's own, of the failure that is newer than the reading; nil when there is none.
	FailureType *string    `json:"failureType,omitempty"`
	FailureCode *string    `json:"failureCode,omitempty"`
	FailedAt    *time.Time `json:"failedAt,omitempty"`
}

// SignalsOfVehicle gives the signals of a connection in the order of their codes.
func (s *Store) SignalsOfVehicle(ctx context.Context, smartcarVehicleID string) ([]SignalSummary, error) {
	rows, err := s.queries.SignalsOfVehicle(ctx, smartcarVehicleID)
	if err != nil {
		return nil, translate("list signals", err)
	}
	signals := make([]SignalSummary, len(rows))
	for i, row := range rows {
		signals[i] = SignalSummary{
			Code: row.DataType, Value: row.DataValue, NormalisedValue: row.NormalisedValue, NormalisedUnit: row.NormalisedUnit,
			ObservedAt: row.ObservedAt, ObservedAtSource: row.ObservedAtSource, EventID: row.EventID, Availability: SignalAvailable,
		}
		if !row.Available {
			signals[i].Availability = SignalUnavailable
			signals[i].FailureType, signals[i].FailureCode, signals[i].FailedAt = row.FailureType, row.FailureCode, row.FailedAt
		}
		if !row.Supported {
			signals[i].Availability = SignalUnsupported
		}
	}
	return signals, nil
}

// VehicleErrorSummary is one error of a connection as Smartcar reported it, for support staff.
type VehicleErrorSummary struct {
	Type string `json:"type"`
	Code string `json:"code,omitempty"`
	// Signals are the codes of the signals concerned; none for the whole vehicle.
	Signals []string `json:"signals"`
	Open    bool     `json:"open"`
	// OpenedAt is of the newest report; nil when only the error's end has been heard of.
	OpenedAt      *time.Time `json:"openedAt,omitempty"`
	OpenedEventID string     `json:"openedEventId,omitempty"`
	// ResolvedAt is nil while the error is open, even when it had ended before.
	ResolvedAt      *time.Time `json:"resolvedAt,omitempty"`
	ResolvedEventID string     `json:"resolvedEventId,omitempty"`
	// ResolutionType is Smartcar's own advice, such as "REAUTHENTICATE".
	ResolutionType string `json:"resolutionType,omitempty"`
	// Reaction is what Milepost does about it; "" when only the error's end has been heard of.
	Reaction Reaction `json:"reaction,omitempty"`
	// OwnerAskedAt is when the owner was last asked for a new consent while the error was open. It is nil for errors that
	// ask for none, and when the notice that would tell is no longer kept.
	OwnerAskedAt *time.Time `json:"ownerAskedAt,omitempty"`
}

// AsksOwner says whether the reaction is to ask the owner for a new consent.
func (r Reaction) AsksOwner() bool { return r == ReactionReauthenticate || r == ReactionReconsent }

// ErrorsOfVehicle gives the open errors of a connection, the newest first, and then, if wanted, those that have ended.
func (s *Store) ErrorsOfVehicle(ctx context.Context, smartcarVehicleID string, withResolved bool) ([]VehicleErrorSummary, error) {
	rows, err := s.queries.ErrorsOfVehicle(ctx, dbsqlc.ErrorsOfVehicleParams{
		SmartcarVehicleID: smartcarVehicleID, IncludeResolved: withResolved,
	})
	if err != nil {
		return nil, translate("list vehicle errors", err)
	}
	failures := make([]VehicleErrorSummary, len(rows))
	for i, row := range rows {
		failures[i] = VehicleErrorSummary{
			Type: row.ErrorType, Code: row.Code, Signals: row.Signals, Open: row.State == "open",
			OpenedAt: row.OpenedAt, OpenedEventID: row.OpenedEventID,
			ResolutionType: row.ResolutionType, Reaction: Reaction(row.Reaction),
		}
		if !failures[i].Open {
			failures[i].ResolvedAt, failures[i].ResolvedEventID = row.ResolvedAt, row.ResolvedEventID
		}
		if row.OwnerAsked {
			failures[i].OwnerAskedAt = &row.OwnerAskedAt
		}
	}
	return failures, nil
}

// ReadingSummary is one odometer observation with what became of it, for support staff. Its decimals are JSON strings.
type ReadingSummary struct {
	ID               int64           `json:"id"`
	ObservedAt       time.Time       `json:"observedAt"`
	ObservedAtSource string          `json:"observedAtSource"`
	Kilometres       decimal.Decimal `json:"odometerKm"`
	// ReportedValue is in ReportedUnit, as sent; UnitAssumed says that none was sent and kilometres were taken.
	ReportedValue decimal.Decimal `json:"reportedValue"`
	ReportedUnit  string          `json:"reportedUnit,omitempty"`
	UnitAssumed   bool            `json:"unitAssumed,omitempty"`
	SourceType    string          `json:"sourceType"` // "webhook", "poll" or "manual"
	// Verdict is what holds now: "entered", "duplicate", "lower", "implausible" or "undecided". With SupersededAt it is why
	// the reading, once entered, is so no more.
	Verdict string `json:"verdict"`
	// Confirmed says that a person vouched for the reading.
	Confirmed bool   `json:"confirmed,omitempty"`
	EventID   string `json:"eventId"`
	// MeterEntryID is nil without an entry. SupersededAt is set when a late reading has overtaken it.
	MeterEntryID *int64     `json:"meterEntryId,omitempty"`
	SupersededAt *time.Time `json:"supersededAt,omitempty"`
}

// NewestReadings gives at most limit odometer readings of our vehicle, whatever connection they came by, the newest
// observation first.
func (s *Store) NewestReadings(ctx context.Context, vehicleID int64, limit int32) ([]ReadingSummary, error) {
	rows, err := s.queries.NewestReadings(ctx, dbsqlc.NewestReadingsParams{VehicleID: vehicleID, MaxReadings: limit})
	if err != nil {
		return nil, translate("list readings", err)
	}
	readings := make([]ReadingSummary, len(rows))
	for i, row := range rows {
		readings[i] = ReadingSummary{
			ID: row.ID, ObservedAt: row.ObservedAt, ObservedAtSource: row.ObservedAtSource, Kilometres: row.OdometerKm,
			ReportedValue: row.ReportedValue, ReportedUnit: row.ReportedUnit, UnitAssumed: row.UnitAssumed,
			SourceType: row.SourceType, Verdict: row.Verdict, Confirmed: row.Confirmed, EventID: row.EventID,
			MeterEntryID: row.MeterEntryID, SupersededAt: row.SupersededAt,
		}
	}
	return readings, nil
}
