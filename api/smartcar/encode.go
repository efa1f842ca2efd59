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
	digest := sha256.Sum256([]byte(strings.Join(identity, "\n")))
	id = PollEventPrefix + hex.EncodeToString(digest[:pollIDBytes])
	var event wireEvent
	event.EventID, event.EventType = id, TypeVehicleState
	event.Data.Vehicle.ID, event.Data.Signals = p.VehicleID, encoded
	event.Meta.DeliveredAt, event.Meta.Version, event.Meta.Mode = p.PolledAt.UnixMilli(), "4.0", p.Mode
	event.Meta.SignalCount = len(signals)
	body, err = json.Marshal(event)
	if err != nil {
		return "", nil, fmt.Errorf("smartcar: write the polled state: %w", err)
	}
	return id, body, nil
}

type wireEvent struct {
	EventID   string    `json:"eventId"`
	EventType EventType `json:"eventType"`
	Data      struct {
		Vehicle struct {
			ID string `json:"id"`
		} `json:"vehicle"`
		Signals json.RawMessage `json:"signals"`
	} `json:"data"`
	Meta struct {
		DeliveredAt int64  `json:"deliveredAt"`
		Version     string `json:"version"`
		Mode        Mode   `json:"mode"`
		SignalCount int    `json:"signalCount"`
	} `json:"meta"`
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
