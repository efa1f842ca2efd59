package keyset_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db/keyset"
)

const nobody = 65534

// written gives a new keyset in a file.
func written(t *testing.T) (path string, k *keyset.Keyset) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keyset.json")
	k = made(t)(keyset.New())
	require.NoError(t, keyset.Write(path, k, false))
	return path, k
}

func requireFiles(t *testing.T, path string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	var found []string
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	require.Equal(t, names, found, "drafts must not be left")
}

func TestAWrittenFileIsItsOwnersOnlyAndReadsBack(t *testing.T) {
	t.Parallel()
	path, keys := written(t)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	read := made(t)(keyset.Read(path))
	require.Equal(t, keys.PrimaryID(), read.PrimaryID())
	requireFiles(t, path, "keyset.json")
}

func TestAnExistingFileIsNotOverwrittenUnlessThatIsMeant(t *testing.T) {
	t.Parallel()
	path, keys := written(t)
	other := made(t)(keyset.New())
	require.ErrorIs(t, keyset.Write(path, other, false), keyset.ErrExists)
	require.Equal(t, keys.PrimaryID(), made(t)(keyset.Read(path)).PrimaryID())
	require.NoError(t, keyset.Write(path, other, true))
	require.Equal(t, other.PrimaryID(), made(t)(keyset.Read(path)).PrimaryID())
	requireFiles(t, path, "keyset.json")
}

func TestAFileThatOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	path, _ := written(t)
	for _, mode := range []fs.FileMode{0o604, 0o640, 0o644, 0o660, 0o602, 0o666, 0o440} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := keyset.Read(path)
		require.ErrorIs(t, err, keyset.ErrKeyset, "%o", mode)
		require.ErrorContains(t, err, "chmod 600 "+path)
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := keyset.Read(path)
		require.NoError(t, err, "%o", mode)
	}
}

func TestTheGroupMayReadAFileOfAnotherAccount(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path, _ := written(t)
	require.NoError(t, os.Chown(path, nobody, nobody))
	for mode, allowed := range map[fs.FileMode]bool{0o640: true, 0o440: true, 0o660: false, 0o644: false} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := keyset.Read(path)
		require.Equal(t, allowed, err == nil, "%o", mode)
	}
}

func TestAReplacedFileKeepsItsOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path, _ := written(t)
	require.NoError(t, os.Chown(path, nobody, nobody))
	made(t)(keyset.Update(path, (*keyset.Keyset).Add))
	info, err := os.Stat(path)
	require.NoError(t, err)
	owner, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.Equal(t, uint32(nobody), owner.Uid)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	require.Len(t, made(t)(keyset.Read(path)).KeyIDs(), 2)
}

func TestALinkStaysALink(t *testing.T) {
	t.Parallel()
	path, _ := written(t)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	made(t)(keyset.Update(link, (*keyset.Keyset).Add))
	target, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, path, target)
	require.Len(t, made(t)(keyset.Read(path)).KeyIDs(), 2)
	require.ErrorIs(t, keyset.Write(link, made(t)(keyset.New()), false), keyset.ErrExists)
}

func TestWhatIsNoKeysetFileIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	_, err := keyset.Read(filepath.Join(directory, "absent"))
	require.ErrorContains(t, err, "milepost keys new --file")
	_, err = keyset.Update(filepath.Join(directory, "absent"), (*keyset.Keyset).Add)
	require.ErrorContains(t, err, "milepost keys new --file")
	_, err = keyset.Read(directory)
	require.ErrorContains(t, err, "not a regular file")
	path := filepath.Join(directory, "notes")
	require.NoError(t, os.WriteFile(path, []byte("hunter2"), 0o600))
	_, err = keyset.Read(path)
	require.ErrorIs(t, err, keyset.ErrKeyset)
	require.ErrorContains(t, err, path)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAFailedChangeLeavesTheFileAlone(t *testing.T) {
	t.Parallel()
	path, keys := written(t)
	before, err := os.Stat(path)
	require.NoError(t, err)
	_, err = keyset.Update(path, func(*keyset.Keyset) (*keyset.Keyset, error) { return nil, errors.New("no") })
	require.EqualError(t, err, "no")
	made(t)(keyset.Update(path, (*keyset.Keyset).Promote)) // the only key is primary already
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Equal(t, keys.KeyIDs(), made(t)(keyset.Read(path)).KeyIDs())
}

func TestChangesAtTheSameTimeLoseNoKey(t *testing.T) {
	t.Parallel()
	path, _ := written(t)
	var group sync.WaitGroup
	var mutex sync.Mutex
	added := map[uint32]bool{}
	for range 20 {
		group.Go(func() {
			changed, err := keyset.Update(path, (*keyset.Keyset).Add)
			if err != nil {
				return // another one was at work
			}
			mutex.Lock()
			defer mutex.Unlock()
			added[changed.NewestID()] = true
		})
	}
	group.Wait()
	require.NotEmpty(t, added)
	read := made(t)(keyset.Read(path)).KeyIDs()
	require.Len(t, read, 1+len(added))
	for _, id := range read[1:] {
		require.True(t, added[id])
	}
}

func TestAChangeUnderWayKeepsOthersOut(t *testing.T) {
	t.Parallel()
	path, _ := written(t)
	made(t)(keyset.Update(path, func(k *keyset.Keyset) (*keyset.Keyset, error) {
		_, err := keyset.Update(path, (*keyset.Keyset).Add)
		require.ErrorContains(t, err, "try again")
		return k.Add()
	}))
	require.Len(t, made(t)(keyset.Read(path)).KeyIDs(), 2)
}
