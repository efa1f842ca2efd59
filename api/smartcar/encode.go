package smartcar

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// PollEventPrefix begins the IDs of events that are made of polls.
const PollEventPrefix = "poll:"

// PolledState is the answer to a poll, to be taken for a delivery.
type PolledState struct {
	VehicleID string
	Mode      Mode     // that of the application's connections
	Signals   []Signal // of Poll
	// PolledAt is when the vehicle was asked.
	PolledAt time.Time
}

// pollIDBytes are enough to tell all answers apart.
const pollIDBytes = 16

// Event writes the state as a VEHICLE_STATE of version 4.0, which Decode reads back. The ID is that of the signals: the same
// readings have the same one, whenever they were polled. Signals that failed have no time of their own, and so theirs is
// that of the poll.
func (p PolledState) Event() (id string, body []byte, err error) {
	signals, failed := make([]wireSignal, len(p.Signals)), false
	for i, signal := range p.Signals {
		signals[i] = signal.wire()
		failed = failed || signal.Failure != nil
	}
	encoded, err := json.Marshal(signals)
	if err != nil {
		return "", nil, fmt.Errorf("smartcar: write the polled signals: %w", err)
	}
	identity := []string{p.VehicleID, string(encoded)}
	if failed {
		identity = append(identity, p.PolledAt.UTC().Format(time.RFC3339Nano))
	}
	event := polledEvent(TypeVehicleState, p.VehicleID, p.Mode, p.PolledAt, identity)
	event.Data.Signals, event.Meta.SignalCount = encoded, len(signals)
	body, err = json.Marshal(event)
	if err != nil {
		return "", nil, fmt.Errorf("smartcar: write the polled state: %w", err)
	}
	return event.EventID, body, nil
}

// PolledErrors is what a poll says of a vehicle's errors, to be taken for a delivery.
type PolledErrors struct {
	VehicleID string
	Mode      Mode // that of the application's connections
	// Errors are told by their type, code, state and the codes of their signals.
	Errors   []VehicleError
	PolledAt time.Time
}

// Event writes the errors as a VEHICLE_ERROR of version 4.0, which Decode reads back. The ID is that of the errors and of the
// poll: an error that comes again is another event.
func (p PolledErrors) Event() (id string, body []byte, err error) {
	errs := make([]wireVehicleError, len(p.Errors))
	for i, one := range p.Errors {
		errs[i] = wireVehicleError{Type: one.Type, Code: one.Code, State: one.State}
		for _, signal := range one.Signals {
			errs[i].Signals = append(errs[i].Signals, wireSignalRef{Code: signal.Code})
		}
	}
	encoded, err := json.Marshal(errs)
	if err != nil {
		return "", nil, fmt.Errorf("smartcar: write the polled errors: %w", err)
	}
	identity := []string{p.VehicleID, string(encoded), p.PolledAt.UTC().Format(time.RFC3339Nano)}
	event := polledEvent(TypeVehicleError, p.VehicleID, p.Mode, p.PolledAt, identity)
	event.Data.Errors = encoded
	body, err = json.Marshal(event)
	if err != nil {
		return "", nil, fmt.Errorf("smartcar: write the polled errors: %w", err)
	}
	return event.EventID, body, nil
}

func polledEvent(eventType EventType, vehicleID string, mode Mode, polledAt time.Time, identity []string) (event wireEvent) {
	digest := sha256.Sum256([]byte(strings.Join(identity, "\n")))
	event.EventID, event.EventType = PollEventPrefix+hex.EncodeToString(digest[:pollIDBytes]), eventType
	event.Data.Vehicle.ID = vehicleID
	event.Meta.DeliveredAt, event.Meta.Version, event.Meta.Mode = polledAt.UnixMilli(), "4.0", mode
	return event
}

type wireEvent struct {
	EventID   string    `json:"eventId"`
	EventType EventType `json:"eventType"`
	Data      struct {
		Vehicle struct {
			ID string `json:"id"`
		} `json:"vehicle"`
		Signals json.RawMessage `json:"signals,omitempty"`
		Errors  json.RawMessage `json:"errors,omitempty"`
	} `json:"data"`
	Meta struct {
		DeliveredAt int64  `json:"deliveredAt"`
		Version     string `json:"version"`
		Mode        Mode   `json:"mode"`
		SignalCount int    `json:"signalCount,omitzero"`
	} `json:"meta"`
}

type wireVehicleError struct {
	Type    string          `json:"type"`
	Code    string          `json:"code,omitempty"`
	State   string          `json:"state"`
	Signals []wireSignalRef `json:"signals,omitempty"`
}

type wireSignalRef struct {
	Code string `json:"code"`
}

type wireSignal struct {
	Code   string          `json:"code"`
	Name   string          `json:"name,omitempty"`
	Group  string          `json:"group,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
	Meta   wireTimes       `json:"meta"`
	Status wireStatus      `json:"status"`
}

type wireTimes struct {
	OEMUpdatedAt int64 `json:"oemUpdatedAt,omitzero"`
	RetrievedAt  int64 `json:"retrievedAt,omitzero"`
}

type wireStatus struct {
	Value string     `json:"value"`
	Error *wireError `json:"error,omitempty"`
}

type wireError struct {
	Type string `json:"type,omitempty"`
	Code string `json:"code,omitempty"`
}

func (s *Signal) wire() wireSignal {
	written := wireSignal{Code: s.Code, Name: s.Name, Group: s.Group, Body: s.Body, Status: wireStatus{Value: "SUCCESS"}}
	if !s.OEMUpdatedAt.IsZero() {
		written.Meta.OEMUpdatedAt = s.OEMUpdatedAt.UnixMilli()
	}
	if !s.RetrievedAt.IsZero() {
		written.Meta.RetrievedAt = s.RetrievedAt.UnixMilli()
	}
	if s.Failure != nil {
		written.Status = wireStatus{
			Value: statusFailed, Error: &wireError{Type: s.Failure.Type, Code: s.Failure.Code},
		}
	}
	return written
}
