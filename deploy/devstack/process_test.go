package devstack_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/deploy/devstack"
)

// parentRole makes the test binary play a parent that starts a child and waits
// to be killed.
const parentRole = "DEVSTACK_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentRole) != "" {
		os.Exit(playParent())
	}
	if os.Getenv(portsRole) != "" {
		os.Exit(playPortTaker())
	}
	os.Exit(m.Run())
}

func playParent() int {
	process, err := devstack.StartProcess(devstack.ProcessOptions{Name: "sleeper", Path: "/bin/sleep", Args: []string{"600"}})
	if err != nil {
		return 1
	}
	if _, err := os.Stdout.WriteString(strconv.Itoa(process.Pid()) + "\n"); err != nil {
		return 1
	}
	<-process.Exited()

	return 0
}

func shell(t *testing.T, script string) devstack.ProcessOptions {
	t.Helper()

	return devstack.ProcessOptions{
		Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, LogFile: filepath.Join(t.TempDir(), "script.log"),
	}
}

func start(t *testing.T, options devstack.ProcessOptions) *devstack.Process {
	t.Helper()
	process, err := devstack.StartProcess(options)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, process.Kill())
		<-process.Exited()
	})

	return process
}

// logContains is a probe for a line the script writes once it is set up.
func logContains(path, text string) func(context.Context) error {
	return func(context.Context) error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.Contains(string(content), text) {
			return errors.New("not written yet")
		}

		return nil
	}
}

// isGone is a condition that holds for a zombie too: a killed child of a dead
// parent may stay one where nobody reaps it.
func isGone(t *testing.T, pid int) func() bool {
	t.Helper()

	return func() bool { return devstack.CommandLine(t.Context(), pid) == "" }
}

func TestProcess(t *testing.T) {
	t.Parallel()

	t.Run("has a process group of its own, out of reach of a Ctrl-C", func(t *testing.T) {
		t.Parallel()
		process := start(t, shell(t, "exec sleep 600"))
		group, err := syscall.Getpgid(process.Pid())
		require.NoError(t, err)
		require.Equal(t, process.Pid(), group)
	})

	t.Run("is stopped with its polite signal", func(t *testing.T) {
		t.Parallel()
		// Not INT: a shell cannot trap what was ignored when it began, as for a job in the background.
		options := shell(t, `trap 'echo politely; exit 0' USR1; echo set up; while :; do sleep 0.01; done`)
		options.StopSignal = syscall.SIGUSR1
		process := start(t, options)
		require.NoError(t, process.WaitReady(t.Context(), logContains(options.LogFile, "set up")))

		require.NoError(t, process.Stop(t.Context()))
		require.NoError(t, process.Err())
		content, err := os.ReadFile(options.LogFile)
		require.NoError(t, err)
		require.Contains(t, string(content), "politely")
		require.NoError(t, process.Stop(t.Context()), "stopping twice is no error")
	})

	t.Run("is killed when it ignores the polite signal", func(t *testing.T) {
		t.Parallel()
		options := shell(t, `trap '' TERM; echo set up; while :; do sleep 0.01; done`)
		options.Grace = 50 * time.Millisecond
		process := start(t, options)
		require.NoError(t, process.WaitReady(t.Context(), logContains(options.LogFile, "set up")))

		require.ErrorIs(t, process.Stop(t.Context()), devstack.ErrForced)
		require.ErrorContains(t, process.Err(), "killed")
	})

	t.Run("is not waited for once it has exited", func(t *testing.T) {
		t.Parallel()
		process := start(t, shell(t, "exit 3"))
		err := process.WaitReady(t.Context(), func(context.Context) error { return errors.New("nobody there") })
		require.ErrorIs(t, err, devstack.ErrExited)
		require.ErrorContains(t, err, "exit status 3")
		require.ErrorContains(t, err, "nobody there")
	})

	t.Run("cannot be started from a program that is missing", func(t *testing.T) {
		t.Parallel()
		_, err := devstack.StartProcess(devstack.ProcessOptions{Name: "nothing", Path: "/nonexistent/program"})
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestKilledParentLeavesNoChild(t *testing.T) {
	t.Parallel()
	if !killsWithParent {
		t.Skip("the kernel has no parent-death signal")
	}

	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), parentRole+"=1")
	output, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	// Between fork and exec the command line is empty for a moment.
	require.Eventually(t, func() bool { return !isGone(t, child)() }, 30*time.Second, 10*time.Millisecond)

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, isGone(t, child), 30*time.Second, 10*time.Millisecond)
}
