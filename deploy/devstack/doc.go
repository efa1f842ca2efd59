// Package devstack starts the two servers Milepost needs, PostgreSQL and the
// Temporal dev server, as child processes: for the workbench, for tests and for
// benchmarks. It finds the programs on the machine, fetches or builds them when
// they are missing, and brings a killed child back on the same ports with the
// same data.
//
// It knows nothing of Milepost's schema or workflows, and it is not meant for
// production: every server listens on 127.0.0.1 only. Debian and macOS are
// supported, as root or as an ordinary user.
package devstack
