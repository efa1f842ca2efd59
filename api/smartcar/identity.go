package smartcar

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

const (
	maxEventIDLength = 128
	derivedPrefix    = "derived-"
	derivedBytes     = 16
	// reservedID is the fixed ID of a process that is not about one event. IDs of events and of such processes share
	// one namespace, so an event that took this one would keep that process from starting.
	reservedID = "reconcile"
)

// eventID returns a sent id that can serve, else "".
func eventID(raw json.RawMessage) string {
	if kindOf(raw) != kindString {
		return ""
	}
	if id := unquote(raw); isEventID(id) {
		return id
	}
	return ""
}

// isEventID accepts what can serve as a key and as a workflow ID: [A-Za-z0-9][A-Za-z0-9_.:-]{0,127}, but for the
// reserved ID, in any case lest a person takes one for the other.
func isEventID(id string) bool {
	if id == "" || len(id) > maxEventIDLength || !isAlphanumeric(id[0]) || strings.EqualFold(id, reservedID) {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !isAlphanumeric(c) && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return true
}

// derived hashes the parts with their number and lengths, so that no two lists of parts run together.
func derived(parts ...[]byte) string {
	encoded, err := json.Marshal(parts)
	if err != nil {
		encoded = bytes.Join(parts, []byte{0})
	}
	digest := sha256.Sum256(encoded)
	return derivedPrefix + hex.EncodeToString(digest[:derivedBytes])
}

// idOfBytes identifies a body that is no JSON; a retry is told from a new delivery only if it is byte-identical.
func idOfBytes(body []byte) string { return derived([]byte("bytes"), body) }

// idOfRequest identifies one vehicle's part of a 2.0 delivery. Source: Smartcar, "legacy 2.0".
func idOfRequest(webhookID, vehicleID, requestID string) string {
	return derived([]byte("request"), []byte(webhookID), []byte(vehicleID), []byte(requestID))
}

// idOfBody identifies a body by its content without what changes from attempt to attempt.
func idOfBody(object json.RawMessage) string { return derived([]byte("body"), canonical(object)) }

// idOfVehicle identifies one vehicle's part of a 2.0 delivery without a request id, by its content. The other
// vehicles do not enter.
func idOfVehicle(e *envelope, vehicle json.RawMessage) string {
	return derived([]byte("vehicle"), []byte(text(e.webhookID)), []byte(text(e.eventName)),
		[]byte(combinedMode(e.mode)), canonical(vehicle))
}

// canonical re-encodes an object with sorted names, without white space and without delivery metadata. Of meta only
// what belongs to the event is kept, so that metadata not known yet cannot give a retry another ID.
func canonical(object json.RawMessage) []byte {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber()
	var content map[string]any
	if err := decoder.Decode(&content); err != nil {
		return object
	}
	if sent, ok := content["meta"]; ok && sent == nil {
		delete(content, "meta") // null is absent, as everywhere
	}
	if meta, ok := content["meta"].(map[string]any); ok {
		kept := make(map[string]any)
		for _, name := range [...]string{"version", "webhookId", "mode"} {
			if value, sent := meta[name]; sent {
				kept[name] = value
			}
		}
		content["meta"] = kept
		if len(kept) == 0 {
			delete(content, "meta")
		}
	}
	for _, name := range [...]string{"deliveryId", "deliveredAt", "deliveryTime", "sequence"} {
		delete(content, name)
	}
	encoded, err := json.Marshal(content)
	if err != nil {
		return object
	}
	return encoded
}
