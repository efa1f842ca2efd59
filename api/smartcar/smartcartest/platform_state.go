package smartcartest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// load reads what an earlier platform kept. Connections of cars that are configured no more are forgotten.
func (p *Platform) load() error {
	if p.deps.StateFile == "" {
		return nil
	}
	content, err := os.ReadFile(p.deps.StateFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the platform's state: %w", err)
	}
	kept := newLedger()
	if json.Unmarshal(content, &kept) != nil { // The cause would quote tokens.
		return errors.New("read the platform's state: it is not what a platform wrote: remove the file to start anew")
	}
	p.ledger = kept
	for _, found := range p.ledger.selectConnections(func(*connection) bool { return true }) {
		if _, ok := p.cars[found.VehicleID]; !ok {
			p.ledger.disconnect(&found)
		}
	}
	p.issued = slices.Concat(slices.Collect(maps.Keys(p.ledger.Codes)), slices.Collect(maps.Keys(p.ledger.AccessTokens)),
		slices.Collect(maps.Keys(p.ledger.RefreshTokens)), slices.Collect(maps.Keys(p.ledger.ApplicationTokens)))
	return nil
}

// save is called with the lock held, after each change. That a state could not be kept is logged, since the change has
// been made.
func (p *Platform) save() {
	if p.deps.StateFile == "" {
		return
	}
	p.ledger.prune(p.deps.Clock(), p.deps.RefreshLife)
	content, err := json.Marshal(p.ledger)
	if err == nil {
		err = replaceFile(p.deps.StateFile, content)
	}
	if err != nil {
		p.deps.Logger.Error("platform: the state is not kept", "error", err)
	}
}

// replaceFile replaces the file in one step: a half-written one would stop the next start.
func replaceFile(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // Its mode is 0600.
	if err != nil {
		return fmt.Errorf("write the platform's state: %w", err)
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the platform's state: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}
