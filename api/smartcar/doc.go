// Package smartcar speaks Smartcar's protocol: signatures and challenges of webhooks, the events they carry in
// every form that is or was sent, and the units of their readings.
//
// It is a leaf: it knows nothing of databases, HTTP servers or workflows, so that it can be used on its own.
//
// # Non-goals
//
// The package does not decide what a reading means for a vehicle (late, lower, implausible), it keeps no state and
// it does no I/O.
package smartcar
