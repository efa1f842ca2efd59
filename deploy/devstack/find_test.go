package devstack_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/deploy/devstack"
)

// program writes a shell script that prints one line.
func program(t *testing.T, dir, name, says string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, name)
	// A child forked meanwhile would keep the file open for writing, and a file so
	// open cannot be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho '"+says+"'\n"), 0o755))

	return path
}

func fakePostgres(t *testing.T, dir string, major int) string {
	t.Helper()
	program(t, dir, "postgres", fmt.Sprintf("postgres (PostgreSQL) %d.4 (Debian)", major))
	program(t, dir, "initdb", "")

	return dir
}

func TestPostgresIsFound(t *testing.T) {
	t.Parallel()

	t.Run("behind links on the path", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		actual := fakePostgres(t, filepath.Join(root, "lib/postgresql/15/bin"), 15)
		links := filepath.Join(root, "bin")
		require.NoError(t, os.Mkdir(links, 0o755))
		require.NoError(t, os.Symlink(filepath.Join(actual, "postgres"), filepath.Join(links, "postgres")))

		found, err := devstack.SearchPostgres(t.Context(), filepath.Join(root, "empty")+":"+links, nil, nil)
		require.NoError(t, err)
		require.Equal(t, actual, found)
	})

	t.Run("in its newest version where several are installed", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		fakePostgres(t, filepath.Join(root, "9.6/bin"), 9)
		fakePostgres(t, filepath.Join(root, "15/bin"), 15)
		newest := fakePostgres(t, filepath.Join(root, "17/bin"), 17)
		program(t, filepath.Join(root, "18/bin"), "postgres", "postgres (PostgreSQL) 18.1") // Without initdb.

		found, err := devstack.SearchPostgres(t.Context(), "", []string{filepath.Join(root, "*/bin")}, nil)
		require.NoError(t, err)
		require.Equal(t, newest, found)
	})

	t.Run("after an installation when there was none or an old one", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		old := fakePostgres(t, filepath.Join(root, "old"), 12)
		installed := filepath.Join(root, "installed")

		found, err := devstack.SearchPostgres(t.Context(), old, nil, func(context.Context, func(string)) ([]string, error) {
			return []string{fakePostgres(t, installed, 16)}, nil
		})
		require.NoError(t, err)
		require.Equal(t, installed, found)
	})

	t.Run("nowhere, which is an error with its reasons", func(t *testing.T) {
		t.Parallel()
		_, err := devstack.SearchPostgres(t.Context(), "", nil, func(context.Context, func(string)) ([]string, error) {
			return nil, os.ErrPermission
		})
		require.ErrorContains(t, err, "no PostgreSQL server")
		require.ErrorIs(t, err, os.ErrPermission)
	})
}

func TestTemporalIsFound(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		onPath string
		taken  bool
	}{
		"on the path in version 1.5":             {"temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)", true},
		"on the path in a later version":         {"temporal version 1.10.0 (Server 1.31.0, UI 2.50.0)", true},
		"on the path, built from source":         {"temporal version 0.0.0-DEV (Server 1.29.1, UI 2.42.1)", true},
		"elsewhere when the path has an old one": {"temporal version 1.4.2 (Server 1.28.0, UI 2.39.0)", false},
		"elsewhere when the path has an old one from source": {
			"temporal version 0.0.0-DEV (Server 1.27.1, UI 2.36.0)", false,
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, tools := t.TempDir(), t.TempDir()
			expected := program(t, path, "temporal", test.onPath)
			built := program(t, tools, "temporal", "temporal version 0.0.0-DEV (Server 1.29.1, UI 2.42.1)")
			if !test.taken {
				expected = built
			}

			found, err := devstack.SearchTemporal(t.Context(), path, tools, "", nil)
			require.NoError(t, err)
			require.Equal(t, expected, found)
		})
	}

	t.Run("nowhere, and what cannot be built is an error", func(t *testing.T) {
		t.Parallel()
		progress := &messages{}
		_, err := devstack.SearchTemporal(t.Context(), "", t.TempDir(), "not/a/module", progress.add)
		require.ErrorContains(t, err, "build the Temporal CLI")
		require.Contains(t, progress.String(), "about five minutes")
	})
}

func TestModuleRootIsFoundFromBelow(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Dir(filepath.Dir(here)), devstack.ModuleRoot(here))

	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "go.mod"), []byte("module example.org/other\n"), 0o600))
	require.Empty(t, devstack.ModuleRoot(other))
}
