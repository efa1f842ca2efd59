package keyset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrExists says that there is a file already, which may hold the only copy of its keys.
var ErrExists = errors.New("the keyset file exists already: choose another name, or add a key to it with `milepost keys add`")

// state is what of a file changes when it is replaced, written or made readable.
type state struct {
	device, inode  uint64
	owner          uint32
	mode           fs.FileMode
	size, modified int64
}

// look gives a file's state; the zero one when there is none.
func look(path string) (state, error) {
	info, err := os.Stat(path)
	if err != nil {
		return state{}, notFound(path, err)
	}
	found := state{mode: info.Mode(), size: info.Size(), modified: info.ModTime().UnixNano()}
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		found.device, found.inode, found.owner = uint64(system.Dev), system.Ino, system.Uid //nolint:gosec,unconvert,nolintlint // int32 on macOS
	}
	return found, nil
}

func notFound(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no file %s; name the right one, or make the first with `milepost keys new --file %s`",
			ErrKeyset, path, path)
	}
	return fmt.Errorf("find keyset file: %w", err)
}

// readable refuses a file that others than its owner can read. As with OpenSSH, the
// group may read a file that belongs to another account: that is how Kubernetes gives
// a Secret (of root's) to a process that is not root.
func (s state) readable(path string) error {
	const group, groupMayRead = 0o077, 0o040
	open := s.mode.Perm() & group
	switch {
	case !s.mode.IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", ErrKeyset, path)
	case open == 0, open == groupMayRead && s.owner != uint32(os.Geteuid()): //nolint:gosec // -1 is on Windows only
		return nil
	default:
		return fmt.Errorf("%w: %s can be read or changed by others than its owner: run `chmod 600 %s` "+
			"(in Kubernetes, set the volume's defaultMode to 0400)", ErrKeyset, path, path)
	}
}

// Read reads a keyset file. ErrKeyset when others can read it, too, or it holds no keyset.
func Read(path string) (*Keyset, error) {
	_, found, err := read(path)
	return found, err
}

// read gives the state as it was before the content was read: a change in between
// shows as one the next time.
func read(path string) (state, *Keyset, error) {
	before, err := look(path)
	if err != nil {
		return before, nil, err
	}
	if err := before.readable(path); err != nil {
		return before, nil, err
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return before, nil, fmt.Errorf("read keyset file: %w", err)
	}
	found, err := Parse(string(text))
	if err != nil {
		return before, nil, fmt.Errorf("%s: %w", path, err)
	}
	return before, found, nil
}

// Update changes a keyset file in place and gives the new keyset. Only one process
// does so at a time: of two that read the same file, the later write would drop the
// other's key. The file is not written when change gives its argument back.
func Update(path string, change func(*Keyset) (*Keyset, error)) (*Keyset, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, notFound(path, err)
	}
	unlock, err := lock(filepath.Dir(target))
	if err != nil {
		return nil, err
	}
	defer unlock()
	old, err := Read(target)
	if err != nil {
		return nil, err
	}
	changed, err := change(old)
	if err != nil || changed == old {
		return changed, err
	}
	return changed, Write(target, changed, true)
}

// lock takes the directory's lock, not the file's: the file is replaced.
func lock(directory string) (unlock func(), err error) {
	opened, err := os.Open(directory) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("open the keyset file's directory: %w", err)
	}
	if err := syscall.Flock(int(opened.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(
			fmt.Errorf("another process is changing keysets in %s: try again when it is done (%w)", directory, err), opened.Close())
	}
	return func() { _ = opened.Close() }, nil // the lock goes with it, and nothing was written
}

// Write puts a keyset into a file of mode 0600, at once: a reader sees the old file
// or the new one, and after a failure the old one is there. The owner stays the same.
// Without overwrite, ErrExists when there is a file.
func Write(path string, k *Keyset, overwrite bool) error {
	if overwrite {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
	}
	draft, err := writeDraft(path, k)
	if err != nil {
		return err
	}
	put := os.Link // which fails where there is a file, unlike Rename
	if overwrite {
		put = os.Rename
	}
	err = put(draft, path)
	if err != nil || !overwrite {
		err = errors.Join(err, os.Remove(draft))
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: %w", path, ErrExists)
	case err != nil:
		return fmt.Errorf("write keyset file: %w", err)
	default:
		return syncDirectory(filepath.Dir(path))
	}
}

// writeDraft writes a file beside path that has all that path's is to have.
func writeDraft(path string, k *Keyset) (name string, err error) {
	draft, err := os.CreateTemp(filepath.Dir(path), ".keyset-*") // with mode 0600
	if err != nil {
		return "", fmt.Errorf("write keyset file: %w", err)
	}
	_, err = draft.WriteString(k.Text() + "\n")
	err = errors.Join(err, keepOwner(draft, path), draft.Sync(), draft.Close())
	if err != nil {
		return "", fmt.Errorf("write keyset file: %w", errors.Join(err, os.Remove(draft.Name())))
	}
	return draft.Name(), nil
}

// keepOwner gives the draft to the owner of what it replaces; root may have been asked to change it.
func keepOwner(draft *os.File, path string) error {
	old, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err //nolint:wrapcheck // writeDraft says what was being done
	}
	ours, err := draft.Stat()
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	from, known := ours.Sys().(*syscall.Stat_t)
	to, alsoKnown := old.Sys().(*syscall.Stat_t)
	if !known || !alsoKnown || from.Uid == to.Uid {
		return nil
	}
	return draft.Chown(int(to.Uid), int(to.Gid)) //nolint:wrapcheck // as above
}

// syncDirectory makes the new name last: it would be lost with the power otherwise.
func syncDirectory(path string) error {
	directory, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return fmt.Errorf("write keyset file: %w", err)
	}
	if err := errors.Join(directory.Sync(), directory.Close()); err != nil {
		return fmt.Errorf("write keyset file: %w", err)
	}
	return nil
}
