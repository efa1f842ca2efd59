package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/cmd/internal/imports"
)

const module = "github.com/milepost/milepost"

func TestEveryImportFollowsTheRules(t *testing.T) {
	t.Parallel()
	packages := list(t, module+"/...")
	require.Contains(t, paths(packages), module+"/workflows", "go list must have seen the module")

	require.Empty(t, imports.Violations(packages))
}

func TestTheProductLinksNothingOfTheWorkbench(t *testing.T) {
	t.Parallel()
	packages := list(t, "-deps", module+"/cmd/milepost")
	require.Contains(t, paths(packages), "go.temporal.io/sdk/client", "go list must have seen the libraries")

	require.Empty(t, imports.Linked(packages))
}

func TestTheModuleDoesNotRequireTheTemporalServer(t *testing.T) {
	t.Parallel()
	var file struct {
		Require []struct{ Path string }
	}
	require.NoError(t, json.Unmarshal(run(t, "mod", "edit", "-json"), &file))
	require.NotEmpty(t, file.Require)

	for _, required := range file.Require {
		require.NotEqual(t, "go.temporal.io/server", required.Path)
	}
}

func TestForbiddenImportsAreNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		importer, imported string
		violation          string
	}{
		"a leaf imports the store": {
			module + "/workflows/contract", module + "/db", "workflows/contract must not import " + module + "/db",
		},
		"Smartcar's protocol imports a leaf": {
			module + "/api/smartcar", module + "/workflows/contract",
			"api/smartcar must not import " + module + "/workflows/contract",
		},
		"the receiver imports the store": {module + "/api", module + "/db", "api must not import " + module + "/db"},
		"the receiver imports the simulator": {
			module + "/api", module + "/api/smartcar/smartcartest", "api must not import " + module + "/api/smartcar/smartcartest",
		},
		"a workflow imports an activity": {
			module + "/workflows", module + "/activities", "workflows must not import " + module + "/activities",
		},
		"a workflow talks HTTP":       {module + "/workflows", "net/http", "workflows must not import net/http"},
		"a workflow runs a program":   {module + "/workflows", "os/exec", "workflows must not import os/exec"},
		"an activity writes SQL":      {module + "/activities", "github.com/jackc/pgx/v5", "activities must not import github.com/jackc/pgx/v5"},
		"a command opens a database":  {module + "/cmd/milepost", "database/sql", "cmd/milepost must not import database/sql"},
		"the store serves HTTP":       {module + "/db", "github.com/gin-gonic/gin", "db must not import github.com/gin-gonic/gin"},
		"the store imports a command": {module + "/db", module + "/cmd/milepost", "db must not import " + module + "/cmd/milepost"},
		"test databases know the schema": {
			module + "/db/dbtest", module + "/db", "db/dbtest must not import " + module + "/db",
		},
		"the dev stack knows Milepost": {
			module + "/deploy/devstack", module + "/workflows/contract",
			"deploy/devstack must not import " + module + "/workflows/contract",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packages := []imports.Package{
				{ImportPath: "example.com/elsewhere", Imports: []string{"os", module + "/db"}},
				{ImportPath: test.importer, Imports: []string{"fmt", test.imported}},
			}
			require.Equal(t, []string{test.violation}, imports.Violations(packages))
		})
	}
}

func TestAPackageWithoutARuleIsAViolation(t *testing.T) {
	t.Parallel()
	violations := imports.Violations([]imports.Package{{ImportPath: module + "/util"}, {ImportPath: module}})
	require.Len(t, violations, 2)
	require.Contains(t, violations[0], "util has no rule")
}

func TestImportsThatTheRulesAllowPass(t *testing.T) {
	t.Parallel()
	require.Empty(t, imports.Violations([]imports.Package{
		{ImportPath: module + "/activities", Imports: []string{module + "/workflows/contract", module + "/api/smartcar", module + "/db"}},
		{ImportPath: module + "/workflows/starter", Imports: []string{module + "/workflows/contract", module + "/db", "os"}},
		{ImportPath: module + "/db", Imports: []string{module + "/db/internal/dbsqlc", "github.com/jackc/pgx/v5/pgxpool", "database/sql"}},
		{ImportPath: module + "/cmd/milepost-dev", Imports: []string{module + "/deploy/devstack", "net/http"}},
	}))
}

func TestWhatMustNotBeLinkedIsNamed(t *testing.T) {
	t.Parallel()
	found := imports.Linked([]imports.Package{
		{ImportPath: module + "/cmd/milepost", Imports: []string{"github.com/stretchr/testify/require"}},
		{ImportPath: module + "/deploy/devstack"},
		{ImportPath: module + "/db/dbtest"},
		{ImportPath: module + "/api/smartcar/smartcartest"},
		{ImportPath: "github.com/fergusstrange/embedded-postgres"},
		{ImportPath: "go.temporal.io/server/common"},
		{ImportPath: "go.temporal.io/sdk/internal", Imports: []string{"github.com/stretchr/testify/mock"}},
		{ImportPath: module + "/db"},
	})
	require.Len(t, found, 6)
}

func list(t *testing.T, arguments ...string) []imports.Package {
	t.Helper()
	output := run(t, append([]string{"list", "-json=ImportPath,Imports"}, arguments...)...)
	var packages []imports.Package
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var pkg imports.Package
		err := decoder.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, pkg)
	}
}

func run(t *testing.T, arguments ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", arguments...)
	var faults bytes.Buffer
	command.Stderr = &faults
	output, err := command.Output()
	require.NoError(t, err, faults.String())
	return output
}

func paths(packages []imports.Package) []string {
	var all []string
	for _, pkg := range packages {
		all = append(all, pkg.ImportPath)
	}
	return all
}
