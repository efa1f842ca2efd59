package keyset_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db/keyset"
)

// asNobody runs something without root's right to write everywhere.
func asNobody(t *testing.T, run func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		run()
		return
	}
	runtime.LockOSThread() // the change is one thread's
	defer runtime.UnlockOSThread()
	require.NoError(t, syscall.Setfsuid(nobody))
	defer func() { require.NoError(t, syscall.Setfsuid(0)) }()
	run()
}

func TestADirectoryThatCannotBeWrittenKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	path, keys := written(t)
	directory := filepath.Dir(path)
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(path, nobody, nobody))
		require.NoError(t, os.Chown(directory, nobody, nobody))
		require.NoError(t, os.Chmod(filepath.Dir(directory), 0o755))
	}
	other := made(t)(keyset.New())
	require.NoError(t, os.Chmod(directory, 0o500))
	asNobody(t, func() { require.ErrorIs(t, keyset.Write(path, other, true), fs.ErrPermission) })
	require.Equal(t, keys.PrimaryID(), made(t)(keyset.Read(path)).PrimaryID())
	requireFiles(t, path, "keyset.json")

	require.NoError(t, os.Chmod(directory, 0o700))
	asNobody(t, func() { require.NoError(t, keyset.Write(path, other, true)) })
	require.Equal(t, other.PrimaryID(), made(t)(keyset.Read(path)).PrimaryID())
}

func TestAnOwnerThatCannotBeKeptKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path, keys := written(t)
	other := made(t)(keyset.New())
	require.NoError(t, os.Chown(path, 1, 1))
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
	asNobody(t, func() { require.ErrorIs(t, keyset.Write(path, other, true), fs.ErrPermission) })
	require.Equal(t, keys.PrimaryID(), made(t)(keyset.Read(path)).PrimaryID())
	requireFiles(t, path, "keyset.json")
}
