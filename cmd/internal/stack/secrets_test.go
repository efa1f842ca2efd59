package stack_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/cmd/internal/stack"
)

func TestAnEphemeralStackLeavesTheKeysetOfTheKeptDataAsItIs(t *testing.T) {
	t.Parallel()
	directory := dataDir(t)
	kept := filepath.Join(directory, "keyset.json")
	require.NoError(t, os.WriteFile(kept, []byte("of the kept data"), 0o600))
	stopped, stop := context.WithCancel(t.Context())
	stop()

	// It has made its own secrets before it finds that it may start nothing.
	_, err := stack.Start(stopped, stack.Options{DataDir: directory, Ephemeral: true, Binary: binary})
	require.ErrorContains(t, err, "start PostgreSQL")

	content, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.Equal(t, "of the kept data", string(content))
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	require.Len(t, entries, 2, "the keyset and the logs")
}
