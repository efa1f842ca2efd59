package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	orphanInterval = 50 * time.Millisecond
	// orphanGrace is short: nobody waits for what an orphan has under way, and the start is bounded.
	orphanGrace = 15 * time.Second
)

// orphan is a server a killed parent left behind, known from a pid file.
type orphan struct {
	pidFile string
	// mark is an argument of the server's command line that tells it from any
	// other process to which the system may have given the same id since.
	mark string
	// politely is the signal that makes the server shut down cleanly.
	politely syscall.Signal
	grace    time.Duration
}

// stop ends the orphan if there is one and removes a pid file that names
// nobody, or a stranger. The caller holds the lock of the data, so whatever
// still runs on them has lost its parent.
func (o orphan) stop(ctx context.Context, progress func(string)) error {
	content, err := os.ReadFile(o.pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read pid file: %w", err)
	}

	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err == nil && pid > 1 && o.isAlive(ctx, pid) {
		progress(fmt.Sprintf("stopping process %d, left behind on the same data", pid))
		if err := o.end(ctx, pid); err != nil {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
	}
	if err := os.Remove(o.pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale pid file: %w", err)
	}

	return nil
}

func (o orphan) end(ctx context.Context, pid int) error {
	for _, signal := range []syscall.Signal{o.politely, syscall.SIGKILL} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("send %s: %w", signal, err)
		}
		deadline := time.Now().Add(o.grace)
		for time.Now().Before(deadline) {
			if !o.isAlive(ctx, pid) {
				return nil
			}
			if err := pause(ctx, orphanInterval); err != nil {
				return err
			}
		}
	}

	return ErrInUse
}

func (o orphan) isAlive(ctx context.Context, pid int) bool {
	return strings.Contains(commandLine(ctx, pid), o.mark)
}

// commandLine is empty for a process that is gone, a zombie included.
func commandLine(ctx context.Context, pid int) string {
	if runtime.GOOS == "linux" {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return ""
		}

		return strings.ReplaceAll(string(content), "\x00", " ")
	}

	//nolint:gosec // The argument is a number.
	content, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}

	return string(content)
}
