package devstack

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	debianPostgres = "/usr/lib/postgresql/*/bin"
	// rootCache holds what root downloads for other accounts to run; root's own
	// cache directory is closed to them.
	rootCache = "/var/cache/milepost"
)

// aptOptions let apt-get bear a network that fails for a moment, and others at work.
func aptOptions() []string {
	return []string{"-q", "-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=600"}
}

// installPostgres uses apt-get where there is one and we are root.
func installPostgres(ctx context.Context, progress func(string)) ([]string, error) {
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return nil, nil // It does not apply here, which is no fault.
	}

	if err := os.MkdirAll(rootCache, publicDirMode); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	lock, err := waitLock(ctx, filepath.Join(rootCache, "apt-get.lock"), func() {
		progress("waiting for another process that installs PostgreSQL")
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.release() }() // The kernel releases it in any case.
	if installed, err := filepath.Glob(debianPostgres + "/initdb"); err == nil && len(installed) > 0 {
		return []string{debianPostgres}, nil
	}

	progress("installing the package postgresql with apt-get")
	for _, arguments := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postgresql"}} {
		command := exec.CommandContext(ctx, apt, append(aptOptions(), arguments...)...) //nolint:gosec // Fixed arguments.
		command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("apt-get %s: %w: %s", arguments[0], err, lastLine(string(output)))
		}
	}

	return []string{debianPostgres}, nil
}

// downloadPostgres lets embedded-postgres fetch its binaries by starting it once.
func downloadPostgres(ctx context.Context, progress func(string)) ([]string, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	version := embeddedpostgres.V17
	home := filepath.Join(cache, "postgresql-"+string(version))
	binDir := filepath.Join(home, "bin")
	if _, err := os.Stat(filepath.Join(binDir, "initdb")); err == nil {
		return []string{binDir}, nil
	}
	if err := os.MkdirAll(cache, publicDirMode); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	lock, err := waitLock(ctx, home+".lock", func() { progress("waiting for another process that downloads PostgreSQL") })
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.release() }() // The kernel releases it in any case.

	progress("downloading PostgreSQL " + string(version))
	if err := startEmbedded(version, cache, home); err != nil {
		// As root the start itself must fail, but only after the binaries are in place.
		if _, missing := os.Stat(filepath.Join(binDir, "initdb")); missing != nil {
			return nil, fmt.Errorf("download PostgreSQL: %w", err)
		}
	}
	// It unpacks into a private directory, which the server's account could not enter.
	if err := os.Chmod(home, publicDirMode); err != nil {
		return nil, fmt.Errorf("open the downloaded programs: %w", err)
	}

	return []string{binDir}, nil
}

func startEmbedded(version embeddedpostgres.PostgresVersion, cache, home string) error {
	scratch, err := os.MkdirTemp("", "milepost-download-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }() // Nothing depends on its absence.
	ports, err := FreePorts(1)
	if err != nil {
		return err
	}

	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		Port(uint32(ports[0])). //nolint:gosec // A port fits.
		CachePath(cache).
		BinariesPath(home).
		RuntimePath(filepath.Join(scratch, "runtime")).
		DataPath(filepath.Join(scratch, "data")).
		Logger(io.Discard))
	if err := server.Start(); err != nil {
		return fmt.Errorf("start it once: %w", err)
	}
	if err := server.Stop(); err != nil {
		return fmt.Errorf("stop it again: %w", err)
	}

	return nil
}

func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return rootCache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}

	return filepath.Join(dir, "milepost"), nil
}

func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")

	return lines[len(lines)-1]
}
