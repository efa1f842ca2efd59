package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// managementToken is the given one, or the one kept with the data, or a new one.
func (s *Stack) managementToken() (string, error) {
	if s.options.ManagementToken != "" {
		return s.options.ManagementToken, nil
	}
	if s.options.Ephemeral {
		return uuid.NewString(), nil
	}
	path := filepath.Join(s.options.DataDir, "management-token")
	kept, err := os.ReadFile(path) //nolint:gosec // the caller's own data directory
	if err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the management token: %w", err)
	}
	token := uuid.NewString()
	if err := os.WriteFile(path, []byte(token+"\n"), secretMode); err != nil {
		return "", fmt.Errorf("keep the management token: %w", err)
	}
	return token, nil
}

// EnvironmentFile is the file in a data directory that says how to reach the stack.
func EnvironmentFile(dataDir string) string { return filepath.Join(dataDir, "dev.env") }

// WriteEnvironmentFile writes dev.env: NAME=value lines, and one export of them all,
// so that sourcing it is enough. It holds secrets and is readable by its owner only.
func WriteEnvironmentFile(dataDir string, environment map[string]string) error {
	names := slices.Sorted(maps.Keys(environment))
	var text strings.Builder
	for _, name := range names {
		text.WriteString(name + "=" + quoted(environment[name]) + "\n")
	}
	text.WriteString("export " + strings.Join(names, " ") + "\n")
	path := EnvironmentFile(dataDir)
	// Replaced at once: whoever reads it sees the old file or the new one.
	draft := path + ".new"
	if err := os.WriteFile(draft, []byte(text.String()), secretMode); err != nil {
		return fmt.Errorf("write dev.env: %w", err)
	}
	if err := os.Rename(draft, path); err != nil {
		return fmt.Errorf("write dev.env: %w", err)
	}
	return nil
}

// ReadEnvironmentFile reads what WriteEnvironmentFile wrote.
func ReadEnvironmentFile(dataDir string) (map[string]string, error) {
	content, err := os.ReadFile(EnvironmentFile(dataDir))
	if err != nil {
		return nil, fmt.Errorf("read dev.env: %w", err)
	}
	environment := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found && !strings.Contains(name, " ") {
			environment[name] = unquoted(value)
		}
	}
	return environment, nil
}

// plain are the characters that a shell takes literally in an assignment.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,?-"

func quoted(value string) string {
	if strings.Trim(value, plain) == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

func unquoted(value string) string {
	if !strings.HasPrefix(value, "'") {
		return value
	}
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"), `'\''`, "'")
}
