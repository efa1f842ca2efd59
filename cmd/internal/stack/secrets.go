package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/milepost/milepost/db/keyset"
)

// secret is the one kept under this name, or a new one, which is then kept.
func (s *Stack) secret(name string, create func() (string, error)) (string, error) {
	path := filepath.Join(s.secretsDir, name)
	kept, err := os.ReadFile(path) //nolint:gosec // the caller's own data directory
	if err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	made, err := create()
	if err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	if err := os.WriteFile(path, []byte(made+"\n"), secretMode); err != nil {
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	return made, nil
}

func newSecret() (string, error) { return uuid.NewString(), nil }

func newKeyset() (string, error) {
	made, err := keyset.New()
	if err != nil {
		return "", err
	}
	return made.Text(), nil
}

// Application is what a simulated Smartcar has to know of the stack's Milepost.
type Application struct {
	ClientID, APIClientID, ClientSecret, ManagementToken, WebhookID string
	// RedirectURI is where owners come back to; WebhookURL takes deliveries.
	RedirectURI, WebhookURL string
}

// clientID is the stack's application, the same on every machine: it is no secret.
const (
	clientID    = "3f6d1f0a-5f55-4b53-8f0e-6f6b1f2d9c01"
	apiClientID = "client_3f6d1f0a5f55" // of v3; its secret is that of v2 here
	webhookID   = "9d4e7a10-6b2c-4f58-a3d1-0c5e8f7b9a01"
)

// secrets keeps them with the data that they belong to: those of an ephemeral stack
// never replace the keyset that the kept data are encrypted with.
func (s *Stack) secrets() (err error) {
	s.secretsDir = s.options.DataDir
	if s.options.Ephemeral {
		if s.secretsDir, err = os.MkdirTemp("", "milepost-secrets-"); err != nil {
			return fmt.Errorf("make a directory for secrets: %w", err)
		}
		s.onStop(func(context.Context) error { return os.RemoveAll(s.secretsDir) })
	}
	if s.token = s.options.ManagementToken; s.token == "" {
		if s.token, err = s.secret("management-token", newSecret); err != nil {
			return err
		}
	}
	if s.clientSecret, err = s.secret("client-secret", newSecret); err != nil {
		return err
	}
	if s.connectSecret, err = s.secret("connect-secret", newSecret); err != nil {
		return err
	}
	_, err = s.secret(keysetName, newKeyset)
	return err
}

const keysetName = "keyset.json"

// KeysetFile holds what the stack's tokens are encrypted with.
func (s *Stack) KeysetFile() string { return filepath.Join(s.secretsDir, keysetName) }

// ConnectSecret signs links to the connect page.
func (s *Stack) ConnectSecret() string { return s.connectSecret }

// Application describes the stack's Milepost to a simulated Smartcar.
func (s *Stack) Application() Application {
	return Application{
		ClientID: clientID, APIClientID: apiClientID, ClientSecret: s.clientSecret, ManagementToken: s.token, WebhookID: webhookID,
		RedirectURI: s.URL() + "/api/smartcar/callback", WebhookURL: s.URL() + "/api/smartcar/webhook",
	}
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
