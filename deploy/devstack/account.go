package devstack

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

var errNoAccount = errors.New("PostgreSQL refuses to run as root, and there is neither an account postgres nor nobody")

// account is the unprivileged user PostgreSQL runs as when we are root. The nil
// account stands for "whoever we are".
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount picks the account for PostgreSQL: nil unless we are root.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // The nil account is a valid one.
	}
	for _, name := range []string{"postgres", "nobody"} {
		entry, err := user.Lookup(name)
		if err != nil {
			continue
		}
		const idBits = 32
		uid, uidErr := strconv.ParseInt(entry.Uid, 10, idBits+1)
		gid, gidErr := strconv.ParseInt(entry.Gid, 10, idBits+1)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("ids of account %s: %w", name, err)
		}
		// macOS gives nobody the id -2, which the kernel keeps as an unsigned number.
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil //nolint:gosec // See above.
	}

	return nil, errNoAccount
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}

	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, a.name, err)
	}

	return nil
}

// reaches tells whether the account may pass through every directory of path,
// by the mode bits alone.
func (a *account) reaches(path string) (bool, error) {
	if a == nil {
		return true, nil
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, fmt.Errorf("resolve %s: %w", path, err)
	}
	for {
		info, err := os.Stat(resolved)
		if err != nil {
			return false, fmt.Errorf("examine %s: %w", resolved, err)
		}
		if !a.mayPass(info) {
			return false, nil
		}
		parent := filepath.Dir(resolved)
		if parent == resolved {
			return true, nil
		}
		resolved = parent
	}
}

func (a *account) mayPass(info os.FileInfo) bool {
	const ownerPass, groupPass, otherPass = 0o100, 0o010, 0o001

	bit := os.FileMode(otherPass)
	if status, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case status.Uid == a.uid:
			bit = ownerPass
		case status.Gid == a.gid:
			bit = groupPass
		}
	}

	return info.Mode().Perm()&bit != 0
}

// environmentWithout is our environment less the variables with that prefix,
// which would otherwise steer the child behind our back, plus some of our own.
func environmentWithout(prefix string, extra ...string) []string {
	kept := make([]string, 0, len(os.Environ())+len(extra))
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, prefix) {
			kept = append(kept, entry)
		}
	}

	return append(kept, extra...)
}
