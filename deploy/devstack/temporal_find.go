package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	temporalModule = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
	milepostModule = "module github.com/milepost/milepost"
	buildInterval  = 30 * time.Second
)

// temporalSearch is where to look for the temporal program.
type temporalSearch struct {
	path     string // A list of directories as in $PATH.
	tools    string // The directory of programs built here.
	module   string // What go install builds when all else fails.
	interval time.Duration
}

// FindTemporal returns the temporal program: from $PATH if it is version 1.5 or
// later, else from .tools/bin in Milepost's module, else built there with go
// install, which takes about five minutes. Outside the module the user's cache
// directory takes the place of .tools. Progress is told of what takes time; it
// may be nil.
func FindTemporal(ctx context.Context, progress func(message string)) (string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	tools, err := toolsDir()
	if err != nil {
		return "", err
	}
	search := temporalSearch{path: os.Getenv("PATH"), tools: tools, module: temporalModule, interval: buildInterval}

	return search.run(ctx, progress)
}

func (s temporalSearch) run(ctx context.Context, progress func(string)) (string, error) {
	for _, dir := range filepath.SplitList(s.path) {
		program, err := filepath.Abs(filepath.Join(dir, temporalName))
		if err == nil && isNewTemporal(temporalVersion(ctx, program)) {
			return program, nil
		}
	}

	built := filepath.Join(s.tools, temporalName)
	if temporalVersion(ctx, built) != "" {
		return built, nil
	}
	if err := os.MkdirAll(s.tools, publicDirMode); err != nil {
		return "", fmt.Errorf("make the tools directory: %w", err)
	}
	lock, err := waitLock(ctx, built+".lock", func() { progress("waiting for another process that builds the Temporal CLI") })
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.release() }() // The kernel releases it in any case.

	if temporalVersion(ctx, built) != "" {
		return built, nil
	}
	if err := s.build(ctx, progress); err != nil {
		return "", err
	}

	return built, nil
}

// build reports now and then: nothing else shows that the machine is at work.
func (s temporalSearch) build(ctx context.Context, progress func(string)) error {
	compiler, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("find the go command to build %s: %w", s.module, err)
	}
	// Outside any module, so that its versions are its own.
	outside, err := os.MkdirTemp("", "milepost-build-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(outside) }() // Nothing depends on its absence.

	command := exec.CommandContext(ctx, compiler, "install", s.module) //nolint:gosec // A constant but in tests.
	command.Dir = outside
	command.Env = append(os.Environ(), "GOBIN="+s.tools, "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	command.SysProcAttr = childAttributes(nil)
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }

	progress("building the Temporal CLI (" + s.module + ") once; this takes about five minutes")
	begin := time.Now()
	result := make(chan error, 1)
	go func() {
		// The parent-death signal belongs to the thread; see Process.run.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		output, err := command.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build the Temporal CLI: %w: %s", err, lastLine(string(output)))
		}
		result <- err
	}()

	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case err := <-result:
			return err
		case <-ticker.C:
			progress(fmt.Sprintf("still building the Temporal CLI, for %s now", time.Since(begin).Round(time.Second)))
		}
	}
}

// toolsDir is .tools/bin of the module around the working directory.
func toolsDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	if root := moduleRoot(dir); root != "" {
		return filepath.Join(root, ".tools", "bin"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}

	return filepath.Join(cache, "milepost", "tools"), nil
}

// moduleRoot walks up to the directory of Milepost's go.mod; empty if there is none.
func moduleRoot(dir string) string {
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod")) //nolint:gosec // Its first line is compared, no more.
		if err == nil {
			first, _, _ := strings.Cut(string(content), "\n")
			if strings.TrimSpace(first) == milepostModule {
				return dir
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// temporalVersion is what the program says of itself, empty when it does not run.
func temporalVersion(ctx context.Context, program string) string {
	if info, err := os.Stat(program); err != nil || info.IsDir() {
		return ""
	}
	command := exec.CommandContext(ctx, program, "--version")
	command.Env = environmentWithout("TEMPORAL_")
	output, err := command.Output()
	if err != nil {
		return ""
	}

	return strings.TrimSpace(string(output))
}

// isNewTemporal reads "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)". A CLI
// built from source calls itself 0.0.0-DEV; there its server's version decides.
func isNewTemporal(version string) bool {
	const cliMinor, serverMinor = 5, 29

	return isAtLeast(`temporal version v?(\d+)\.(\d+)\.`, version, cliMinor) ||
		strings.Contains(version, "0.0.0-DEV") && isAtLeast(`\(Server v?(\d+)\.(\d+)\.`, version, serverMinor)
}

// isAtLeast tells whether the version the pattern finds is 1.<minor> or later.
func isAtLeast(pattern, text string, minor int) bool {
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		return false
	}
	majorFound, majorErr := strconv.Atoi(match[1])
	minorFound, minorErr := strconv.Atoi(match[2])

	return errors.Join(majorErr, minorErr) == nil && (majorFound > 1 || majorFound == 1 && minorFound >= minor)
}
