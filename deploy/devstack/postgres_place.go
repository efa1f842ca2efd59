package devstack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	privateDirMode = 0o700
	publicDirMode  = 0o755
	// fallbackPrefix starts the directory for data whose own path the server's
	// account cannot reach; every account can reach /var/tmp, and a reboot spares it.
	fallbackPrefix = "/var/tmp/milepost-"
	hashLength     = 12

	temporaryPrefix = "milepost-postgres-"
	abandonedAfter  = time.Hour
)

// place is where a server's files are.
type place struct {
	// base is a directory of our own around the data; empty when the data lie
	// directly in a directory of the caller's.
	base    string
	dataDir string
	logFile string
	// ownLog says that the log's place was not the caller's choice.
	ownLog bool
	owner  *account
}

func (p *place) passwordFile() string { return p.dataDir + ".password" }
func (p *place) lockFile() string     { return p.dataDir + ".lock" }

func findPlace(options PostgresOptions) (*place, error) {
	owner, err := serverAccount()
	if err != nil {
		return nil, err
	}
	found := &place{owner: owner, logFile: options.LogFile, ownLog: options.LogFile == ""}

	if options.DataDir == "" {
		sweepAbandoned(options.Progress)
		if found.base, err = os.MkdirTemp("", temporaryPrefix); err != nil {
			return nil, fmt.Errorf("make a temporary directory: %w", err)
		}
		found.dataDir = filepath.Join(found.base, "data")
	} else {
		if found.dataDir, err = filepath.Abs(options.DataDir); err != nil {
			return nil, fmt.Errorf("resolve the data directory: %w", err)
		}
		if err := found.moveWithinReach(options.Progress); err != nil {
			return nil, err
		}
	}
	if found.ownLog {
		found.logFile = found.dataDir + ".log"
	}

	return found, nil
}

// moveWithinReach goes to /var/tmp when the server's account cannot reach the
// data directory. The name derives from the path, so the next start finds it.
func (p *place) moveWithinReach(progress func(string)) error {
	parent := filepath.Dir(p.dataDir)
	if err := os.MkdirAll(parent, publicDirMode); err != nil {
		return fmt.Errorf("make the directory of the data: %w", err)
	}
	reachable, err := p.owner.reaches(parent)
	if err != nil || reachable {
		return err
	}

	hash := sha256.Sum256([]byte(p.dataDir))
	p.base = fallbackPrefix + hex.EncodeToString(hash[:])[:hashLength]
	moved := filepath.Join(p.base, filepath.Base(p.dataDir))
	progress(fmt.Sprintf("account %s, which PostgreSQL runs as, cannot reach %s: the data are in %s", p.owner.name, p.dataDir, moved))
	p.dataDir = moved

	return nil
}

// prepare makes the directory around the data.
func (p *place) prepare() error {
	if p.base == "" {
		return nil
	}
	if err := os.Mkdir(p.base, privateDirMode); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the directory of the data: %w", err)
	}
	info, err := os.Lstat(p.base)
	if err != nil {
		return fmt.Errorf("examine the directory of the data: %w", err)
	}
	// Others may write beside it, so it must be ours before anything secret goes in.
	status, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || !p.mayOwn(status.Uid) || info.Mode().Perm() != privateDirMode {
		return fmt.Errorf("%s is not a private directory of ours: %w", p.base, os.ErrPermission)
	}

	return p.owner.own(p.base)
}

func (p *place) mayOwn(uid uint32) bool {
	return int(uid) == os.Geteuid() || p.owner != nil && uid == p.owner.uid
}

// initialise runs initdb when there are no data yet and returns the password.
func (p *place) initialise(ctx context.Context, options PostgresOptions) (string, error) {
	if err := p.checkVersion(ctx, options.BinDir); err == nil {
		password, err := os.ReadFile(p.passwordFile())
		if err != nil {
			return "", fmt.Errorf("read the password of %s: %w", p.dataDir, err)
		}

		return strings.TrimSpace(string(password)), nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}

	password := rand.Text()
	if err := os.WriteFile(p.passwordFile(), []byte(password+"\n"), privateFileMode); err != nil {
		return "", fmt.Errorf("keep the password: %w", err)
	}
	if err := p.owner.own(p.passwordFile()); err != nil {
		return "", err
	}
	options.Progress("making a PostgreSQL data directory in " + p.dataDir)

	return password, p.runInitdb(ctx, options)
}

// checkVersion returns os.ErrNotExist when there are no data.
func (p *place) checkVersion(ctx context.Context, binDir string) error {
	content, err := os.ReadFile(filepath.Join(p.dataDir, "PG_VERSION"))
	if err != nil {
		return fmt.Errorf("read the version of the data: %w", err)
	}
	major, err := postgresMajor(ctx, binDir)
	if err != nil {
		return err
	}
	if data := strings.TrimSpace(string(content)); data != major {
		return fmt.Errorf("%s was made by PostgreSQL %s, and the server in %s is %s: %w",
			p.dataDir, data, binDir, major, errors.ErrUnsupported)
	}

	return nil
}

// runInitdb works beside the data directory and renames at the end, so that an
// interrupted run leaves nothing that looks like data.
func (p *place) runInitdb(ctx context.Context, options PostgresOptions) error {
	unfinished := p.dataDir + ".init"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("remove an interrupted initdb: %w", err)
	}
	if err := os.Mkdir(unfinished, privateDirMode); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := p.owner.own(unfinished); err != nil {
		return err
	}

	arguments := []string{
		"--pgdata=" + unfinished, "--username=" + postgresUser, "--pwfile=" + p.passwordFile(),
		"--auth-host=scram-sha-256", "--auth-local=scram-sha-256", "--encoding=UTF8", "--no-locale",
	}
	if options.Unsafe {
		arguments = append(arguments, "--no-sync")
	}
	//nolint:gosec // The program was found by us or chosen by the caller.
	command := exec.CommandContext(ctx, filepath.Join(options.BinDir, "initdb"), arguments...)
	command.Env = serverEnvironment()
	command.Dir = unfinished
	command.SysProcAttr = childAttributes(p.owner.credential())
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(output)))
	}
	// A directory can be renamed onto an empty one, and onto no other.
	if err := os.Rename(unfinished, p.dataDir); err != nil {
		return fmt.Errorf("put the data directory in place: %w", err)
	}

	return nil
}

// remove deletes the data and everything beside them that is ours.
func (p *place) remove() error {
	paths := []string{p.base}
	if p.base == "" {
		paths = []string{p.dataDir, p.dataDir + ".init", p.passwordFile(), p.lockFile()}
		if p.ownLog {
			paths = append(paths, p.logFile)
		}
	}
	var err error
	for _, path := range paths {
		err = errors.Join(err, os.RemoveAll(path))
	}

	return err
}

// sweepAbandoned removes temporary directories of servers whose parent was killed
// before it could. What cannot be removed is somebody else's and stays.
func sweepAbandoned(progress func(string)) {
	bases, err := filepath.Glob(filepath.Join(os.TempDir(), temporaryPrefix+"*"))
	if err != nil {
		return
	}
	for _, base := range bases {
		left := place{base: base, dataDir: filepath.Join(base, "data")}
		// A lock file that is not there yet, or young, may be about to be taken.
		info, err := os.Stat(left.lockFile())
		if err != nil || time.Since(info.ModTime()) < abandonedAfter {
			continue
		}
		lock, err := tryLock(left.lockFile())
		if err != nil {
			continue
		}
		if err := errors.Join(left.remove(), lock.release()); err == nil {
			progress("removed " + base + ", left behind by a killed process")
		}
	}
}
