package smartcartest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

const stateMode = 0o600

// carState is what the state file keeps of a car, by its vehicle id.
type carState struct {
	OdometerKm float64 `json:"odometerKm"`
	Level      float64 `json:"level"`
}

func (s *Simulator) load() error {
	if s.deps.StateFile == "" {
		return nil
	}
	content, err := os.ReadFile(s.deps.StateFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the simulator's state: %w", err)
	}
	var states map[string]carState
	if err := json.Unmarshal(content, &states); err != nil {
		return fmt.Errorf("read the simulator's state: %w", err)
	}
	for _, car := range s.fleet {
		if state, ok := states[car.VehicleID]; ok {
			car.OdometerKm, car.Level = state.OdometerKm, state.Level
		}
	}

	return nil
}

// save replaces the file in one step: a half-written one would stop the next start.
func (s *Simulator) save() error {
	if s.deps.StateFile == "" {
		return nil
	}
	states := make(map[string]carState, len(s.fleet))
	for _, car := range s.fleet {
		states[car.VehicleID] = carState{OdometerKm: car.OdometerKm, Level: car.Level}
	}
	content, err := json.Marshal(states)
	if err != nil {
		return fmt.Errorf("encode the simulator's state: %w", err)
	}
	unfinished := s.deps.StateFile + ".new"
	if err := os.WriteFile(unfinished, content, stateMode); err != nil {
		return fmt.Errorf("write the simulator's state: %w", err)
	}
	if err := os.Rename(unfinished, s.deps.StateFile); err != nil {
		return fmt.Errorf("write the simulator's state: %w", err)
	}

	return nil
}
