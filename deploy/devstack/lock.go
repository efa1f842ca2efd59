package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	privateFileMode = 0o600
	lockInterval    = 200 * time.Millisecond
)

// ErrInUse means that another live process works on the same data.
var ErrInUse = errors.New("in use by another process")

// fileLock is an advisory lock on a file. The kernel drops it when its holder
// ends, so a killed holder blocks nobody.
type fileLock struct{ file *os.File }

// tryLock takes the lock or returns ErrInUse.
func tryLock(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, privateFileMode) //nolint:gosec // Beside the caller's data.
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}

		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}

	return &fileLock{file: file}, nil
}

// waitLock waits for the lock and calls waiting once if it is not free at once.
func waitLock(ctx context.Context, path string, waiting func()) (*fileLock, error) {
	for first := true; ; first = false {
		lock, err := tryLock(path)
		if !errors.Is(err, ErrInUse) {
			return lock, err
		}
		if first {
			waiting()
		}
		if err := pause(ctx, lockInterval); err != nil {
			return nil, fmt.Errorf("wait for %s: %w", path, err)
		}
	}
}

func (l *fileLock) release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}

	return nil
}
