// Package imports holds the rule of who may import whom in this module, as data,
// and checks packages against it. The linter checks the same while one writes;
// here it holds without a linter, and for what is linked into the product.
package imports

import (
	"fmt"
	"slices"
	"strings"
)

const module = "github.com/milepost/milepost"

// Package is what `go list -json` says of a package. Imports are import paths
// and leave out those of the package's tests.
type Package struct {
	ImportPath string
	Imports    []string
}

// layer says what of this module its packages may import. Paths are relative to
// the module; "x/..." means x and all below.
type layer struct {
	packages  string
	mayImport []string
	// never lists import paths outside the module, as patterns too.
	never []string
}

// The first layer that a package belongs to is the one that counts.
func layers() []layer {
	const (
		contract = "workflows/contract"
		smartcar = "api/smartcar"
		store    = "db"
	)
	// What makes a workflow decide differently when it is replayed.
	impure := []string{"net/http/...", "os/..."}

	return []layer{
		{packages: contract, never: impure},
		{packages: smartcar},
		{packages: "api/smartcar/smartcartest", mayImport: []string{smartcar}},
		{packages: "api", mayImport: []string{smartcar}},
		{packages: "api/console", mayImport: []string{smartcar}},
		{packages: "workflows", mayImport: []string{contract}, never: impure},
		{packages: "workflows/starter", mayImport: []string{contract, store}},
		{packages: "activities", mayImport: []string{contract, smartcar, store}},
		{packages: store, mayImport: []string{"db/internal/dbsqlc"}},
		{packages: "db/internal/dbsqlc"},
		{packages: "db/keyset"},
		{packages: "db/dbtest", mayImport: []string{"deploy/devstack"}},
		{packages: "deploy"},
		{packages: "deploy/devstack"},
		{packages: "cmd/...", mayImport: []string{"..."}},
	}
}

// reserved is a library that only some packages of this module may import.
type reserved struct {
	library  string
	packages []string
}

func reservations() []reserved {
	sql := []string{"db", "db/internal/dbsqlc", "db/dbtest", "deploy/devstack"}

	return []reserved{
		{library: "github.com/jackc/pgx/...", packages: sql},
		{library: "database/sql/...", packages: sql},
		{library: "github.com/gin-gonic/gin/...", packages: []string{"api", "api/console"}},
		{library: "github.com/tink-crypto/...", packages: []string{"db/keyset"}},
	}
}

// Violations describes, one line each, every import of the module's packages that
// breaks a rule, and every package of it that no rule knows. Other packages pass.
func Violations(packages []Package) []string {
	var found []string
	for _, pkg := range packages {
		name, ours := relative(pkg.ImportPath)
		if !ours {
			continue
		}
		at := slices.IndexFunc(layers(), func(l layer) bool { return matches(l.packages, name) })
		if at < 0 {
			found = append(found, name+" has no rule: say in cmd/internal/imports and .golangci.yml what it may import")
			continue
		}
		for _, path := range pkg.Imports {
			if !allowed(layers()[at], name, path) {
				found = append(found, fmt.Sprintf("%s must not import %s", name, path))
			}
		}
	}

	return found
}

// Linked describes, one line each, what must not be in a program of which these
// are all the packages: servers, and what is for development and tests.
func Linked(packages []Package) []string {
	unwanted := []string{
		module + "/deploy/...", module + "/db/dbtest/...", module + "/api/smartcar/smartcartest/...",
		"github.com/fergusstrange/embedded-postgres/...", "go.temporal.io/server/...",
	}
	var found []string
	for _, pkg := range packages {
		if matchesAny(unwanted, pkg.ImportPath) {
			found = append(found, pkg.ImportPath+" must not be linked")
		}
		// Temporal's SDK links testify for its test environment, which nobody can help.
		if _, ours := relative(pkg.ImportPath); ours && slices.ContainsFunc(pkg.Imports, isTestify) {
			found = append(found, pkg.ImportPath+" must not import testify")
		}
	}

	return found
}

func allowed(l layer, name, path string) bool {
	if target, ours := relative(path); ours {
		return matchesAny(l.mayImport, target)
	}
	for _, reservation := range reservations() {
		if matches(reservation.library, path) && !slices.Contains(reservation.packages, name) {
			return false
		}
	}

	return !matchesAny(l.never, path)
}

func isTestify(path string) bool { return matches("github.com/stretchr/testify/...", path) }

// relative is the path below the module, and whether it is of this module at all.
func relative(path string) (string, bool) {
	if path == module {
		return ".", true
	}

	return strings.CutPrefix(path, module+"/")
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, path) })
}

// matches follows the go command: "x/..." is x and all below, "..." is everything.
func matches(pattern, path string) bool {
	tree, isTree := strings.CutSuffix(pattern, "...")
	if !isTree {
		return path == pattern
	}

	return strings.HasPrefix(path+"/", tree)
}
