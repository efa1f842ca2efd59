package smartcar

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

const (
	maxPages     = 200
	maxVINLength = 17
)

// Credential is what a call to an API is made with.
type Credential struct {
	// AccessToken is the user's of v2, or the application token of v3.
	AccessToken Token
	// UserID is the Smartcar user whose vehicles are meant. v2 derives it from the token; v3 needs it.
	UserID string
}

// ClientConfig says where the APIs are.
type ClientConfig struct {
	Hosts Hosts
	// HTTP is optional; it is copied. One without a timeout gets 60 seconds for each request.
	HTTP *http.Client
}

// VehicleRef is a vehicle in a list. v2 lists ids only.
type VehicleRef struct {
	ID, UserID, ExternalID string
	CreatedAt, UpdatedAt   time.Time
}

// Vehicle is what Smartcar knows of a connected vehicle. It prints without the VIN, and encoding/json leaves that out.
type Vehicle struct {
	ID, UserID, ExternalID string
	// Make and Model are "" when not reported.
	Make, Model string
	// VIN is "" when the permission is missing or the vehicle does not tell it.
	VIN string `json:"-"`
	// Year is 0 when not reported.
	Year int
	// Permissions are those granted, such as "read_odometer".
	Permissions []string
}

// String leaves out the VIN.
func (v Vehicle) String() string {
	return fmt.Sprintf("%s %s %s %d %v", v.ID, v.Make, v.Model, v.Year, v.Permissions)
}

// GoString leaves out the VIN under %#v.
func (v Vehicle) GoString() string { return v.String() }

// Format leaves out the VIN under every verb.
func (v Vehicle) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, v.String()) }

// LogValue leaves out the VIN in structured logs.
func (v Vehicle) LogValue() slog.Value {
	return slog.GroupValue(slog.String("vehicleId", v.ID), slog.String("make", v.Make), slog.String("model", v.Model),
		slog.Int("year", v.Year))
}

// describe reads make, model and year, which both generations call so.
func describe(raw json.RawMessage) (brand, model string, year int) {
	year, ok := integer(member(raw, "year"))
	if !ok || year < firstModelYear || year > lastModelYear {
		year = 0
	}
	return presentable(text(member(raw, "make"))), presentable(text(member(raw, "model"))), year
}

// readVIN returns "" for what cannot be one; older vehicles have fewer than 17 characters.
func readVIN(raw json.RawMessage) string {
	vin := text(raw)
	if len(vin) > maxVINLength {
		return ""
	}
	for i := range len(vin) {
		if !isAlphanumeric(vin[i]) {
			return ""
		}
	}
	return vin
}

func readPermissions(raw json.RawMessage) []string {
	var granted []string
	for element := range elements(raw) {
		if name := opaqueID(element); name != "" {
			granted = append(granted, name)
		}
	}
	return granted
}

// page is a part of a list.
type page[T any] struct {
	items []T
	// sent counts the elements, also those of no use.
	sent int
	// total counts the whole list; -1 when not told.
	total int
}

// pageSource asks for the part of a list that follows the first skip elements; number counts parts from 1.
type pageSource[T any] func(ctx context.Context, number, skip int) (page[T], error)

// collect asks for pages until the list is complete and drops what was listed before, as happens when it changes
// meanwhile. A page with nothing new ends it, so that an API that ignores the paging cannot keep it going; a list of more
// than maxPages pages is ErrUnavailable rather than cut off.
func collect[T any](ctx context.Context, operation string, size int, key func(T) string, next pageSource[T]) ([]T, error) {
	var listed []T
	seen := make(map[string]bool)
	skip := 0
	for number := 1; number <= maxPages; number++ {
		part, err := next(ctx, number, skip)
		if err != nil {
			return nil, err
		}
		before := len(seen)
		for _, item := range part.items {
			if !seen[key(item)] {
				seen[key(item)] = true
				listed = append(listed, item)
			}
		}
		skip += part.sent
		isLast := part.total >= 0 && skip >= part.total || part.total < 0 && part.sent < size
		if isLast || len(seen) == before {
			return listed, nil
		}
	}
	return nil, &CallError{Operation: operation + ": too many pages", Kind: ErrUnavailable}
}

func total(raw json.RawMessage) int {
	if count, ok := integer(raw); ok && count >= 0 {
		return count
	}
	return -1
}
