// Package smartcar speaks Smartcar's protocol: signatures and challenges of webhooks, the events they carry in
// every form that is or was sent, the units of their readings, and as a client Connect (consent in the browser),
// tokens, and the REST and management APIs of both generations of the platform.
//
// The two generations, v2 with a token family for each user and v3 with one token for the application, are
// [V2Client] and [V3Client]; they share one set of methods, so that a caller can state it as an interface.
// Every failed call is a [CallError]: its Kind says what kind of answer came, and neither it nor anything else here
// prints a token, a code, a secret, a VIN or a text that was received.
//
// The package is a leaf: it knows nothing of databases, web frameworks or workflows, so that it can be used on its own.
//
// # Non-goals
//
// The package does not decide what a reading means for a vehicle (late, lower, implausible), and it does not retry:
// one method call asks each question once. It stores nothing; only [ApplicationTokens] remembers a token, in memory.
// Refreshing a family one at a time and keeping the new pair is its owner's work.
package smartcar
