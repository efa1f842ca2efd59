package devstack

import (
	"context"
	"time"
)

// SearchPostgres looks in the given places only; fetch stands in for an installation.
func SearchPostgres(
	ctx context.Context, path string, globs []string, fetch func(context.Context, func(string)) ([]string, error),
) (string, error) {
	search := postgresSearch{path: path, globs: globs}
	if fetch != nil {
		search.fetches = append(search.fetches, fetch)
	}

	return search.run(ctx, func(string) {})
}

// SearchTemporal looks in the given places only and builds module when it finds nothing.
func SearchTemporal(ctx context.Context, path, tools, module string, progress func(string)) (string, error) {
	const often = 10 * time.Millisecond
	search := temporalSearch{path: path, tools: tools, module: module, interval: often}

	return search.run(ctx, progress)
}

// ModuleRoot is moduleRoot.
func ModuleRoot(dir string) string { return moduleRoot(dir) }

// CommandLine is commandLine.
func CommandLine(ctx context.Context, pid int) string { return commandLine(ctx, pid) }
