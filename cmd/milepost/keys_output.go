package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/milepost/milepost/db/keyset"
)

// What a key is for.
const (
	rolePrimary = "primary" // encrypts
	roleNext    = "next"    // was added last, and rotate makes it primary
	roleOld     = "old"     // only decrypts
	roleMissing = "missing" // rows are encrypted with it, and the keyset does not have it
)

// keyName is a key's id as all commands print and take it.
func keyName(id uint32) string { return fmt.Sprintf("%08x", id) }

// keysetStatus is what `milepost keys status` prints.
type keysetStatus struct {
	Keys []keyStatus `json:"keys"`
	// Unreadable counts the rows under missing keys.
	Unreadable int64 `json:"unreadable"`
}

type keyStatus struct {
	Key  string `json:"key"`
	Role string `json:"role"`
	Rows int64  `json:"rows"`
}

// newKeysetStatus lists the keyset's keys in order of addition, then those it lacks.
func newKeysetStatus(keys *keyset.Source, counts map[uint32]int64) keysetStatus {
	var status keysetStatus
	ids, primary := keys.KeyIDs(), keys.PrimaryID()
	for at, id := range ids {
		role := roleOld
		switch {
		case id == primary:
			role = rolePrimary
		case at == len(ids)-1:
			role = roleNext
		}
		status.Keys = append(status.Keys, keyStatus{Key: keyName(id), Role: role, Rows: counts[id]})
	}
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		if rows := counts[id]; rows > 0 && !slices.Contains(ids, id) {
			status.Keys = append(status.Keys, keyStatus{Key: keyName(id), Role: roleMissing, Rows: rows})
			status.Unreadable += rows
		}
	}
	return status
}

// notPrimary counts the rows under all keys but the primary one.
func (s keysetStatus) notPrimary() (rows int64) {
	for _, key := range s.Keys {
		if key.Role != rolePrimary {
			rows += key.Rows
		}
	}
	return rows
}

// alarm is an error when rows cannot be read with the keyset.
func (s keysetStatus) alarm() error {
	if s.Unreadable == 0 {
		return nil
	}
	return fmt.Errorf("%d rows are encrypted with keys that this keyset does not have: "+
		"use the copy of the keyset that has them; without one the owners have to connect their vehicles again", s.Unreadable)
}

func writeKeysetStatus(output io.Writer, status keysetStatus) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	_, err := fmt.Fprintln(table, "KEY\tROLE\tROWS")
	for _, key := range status.Keys {
		_, rowErr := fmt.Fprintf(table, "%s\t%s\t%d\n", key.Key, key.Role, key.Rows)
		err = errors.Join(err, rowErr)
	}
	return errors.Join(err, table.Flush())
}

func writeRotation(output io.Writer, end rotation) error {
	_, err := fmt.Fprintf(output, "%d rows re-encrypted with key %s, %d left under other keys\n", end.Reencrypted, end.Primary, end.Left)
	return err
}
