package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// DROP DATABASE … WITH (FORCE) came with 13; older servers are unsupported anyway.
const oldestPostgres = 14

var errNoPostgres = errors.New("no PostgreSQL server of version 14 or later found")

// postgresSearch is where and how to look for the server's programs.
type postgresSearch struct {
	// path is a list of directories as in $PATH, globs are patterns of directories.
	path  string
	globs []string
	// fetches are tried in turn when nothing was found; each returns the patterns
	// of directories to look into afterwards, none if it does not apply here.
	fetches []func(ctx context.Context, progress func(string)) ([]string, error)
}

// FindPostgres returns the directory of the server programs (postgres, initdb),
// version 14 or later: from $PATH, from Debian's or Homebrew's places, else
// installed with apt-get (as root, where there is one), else downloaded. Progress
// is told of what takes time; it may be nil.
func FindPostgres(ctx context.Context, progress func(message string)) (string, error) {
	search := postgresSearch{
		path: os.Getenv("PATH"),
		globs: []string{
			debianPostgres,
			"/opt/homebrew/opt/postgresql*/bin",
			"/usr/local/opt/postgresql*/bin",
		},
		fetches: []func(context.Context, func(string)) ([]string, error){installPostgres, downloadPostgres},
	}
	if progress == nil {
		progress = func(string) {}
	}

	return search.run(ctx, progress)
}

func (s postgresSearch) run(ctx context.Context, progress func(string)) (string, error) {
	for _, dir := range filepath.SplitList(s.path) {
		if binDir := s.resolve(ctx, dir); binDir != "" {
			return binDir, nil
		}
	}
	if binDir := s.newest(ctx, s.globs); binDir != "" {
		return binDir, nil
	}

	faults := []error{errNoPostgres}
	for _, fetch := range s.fetches {
		globs, err := fetch(ctx, progress)
		if err != nil {
			progress(err.Error())
			faults = append(faults, err)
		}
		if binDir := s.newest(ctx, globs); binDir != "" {
			return binDir, nil
		}
	}

	return "", errors.Join(faults...)
}

// resolve follows links such as /usr/local/bin/postgres to the real directory,
// where initdb and the server's own files are; empty if it will not do.
func (s postgresSearch) resolve(ctx context.Context, dir string) string {
	server, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return ""
	}
	binDir, err := filepath.Abs(filepath.Dir(server))
	if err != nil {
		return ""
	}
	if _, err := exec.LookPath(filepath.Join(binDir, "initdb")); err != nil {
		return ""
	}
	if versionOf(ctx, binDir) < oldestPostgres {
		return ""
	}

	return binDir
}

func (s postgresSearch) newest(ctx context.Context, globs []string) string {
	var found []string
	for _, glob := range globs {
		dirs, err := filepath.Glob(glob)
		if err != nil {
			continue
		}
		for _, dir := range dirs {
			if binDir := s.resolve(ctx, dir); binDir != "" {
				found = append(found, binDir)
			}
		}
	}
	if len(found) == 0 {
		return ""
	}

	return slices.MaxFunc(found, func(a, b string) int { return versionOf(ctx, a) - versionOf(ctx, b) })
}

// versionOf is the major version, 0 when the program does not tell.
func versionOf(ctx context.Context, binDir string) int {
	major, err := postgresMajor(ctx, binDir)
	if err != nil {
		return 0
	}
	number, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}

	return number
}

func postgresMajor(ctx context.Context, binDir string) (string, error) {
	//nolint:gosec // The program was found by us or chosen by the caller.
	output, err := exec.CommandContext(ctx, filepath.Join(binDir, "postgres"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	match := regexp.MustCompile(`\(PostgreSQL\) (\d+)`).FindStringSubmatch(string(output))
	if match == nil {
		return "", fmt.Errorf("version %q: %w", strings.TrimSpace(string(output)), errors.ErrUnsupported)
	}

	return match[1], nil
}
