// Package api is Milepost's public HTTP surface: the webhook receiver, the owners' way through Connect, and
// the health endpoints, served with Gin.
//
// The receiver does as little as it can before it answers: cap the body, check the signature over the raw bytes,
// commit to the ledger, 200. Smartcar gives a delivery up for ever after 175 s, so an answer may depend on the
// ledger alone and nothing is processed here. While the ledger is away, a breaker answers 503 at once, so that
// requests do not pile up; one delivery a second is tried. Source: Smartcar, "delivery behaviour".
//
// What is refused for its signature has no effect; a [Quarantine] may keep it, after the answer, for people to look at.
// Once they have found the token that was missing, [Admit] does with it what the receiver would have done.
//
// Connect takes an owner from a link that the application signed ([ConnectLink]) to Smartcar's consent pages, and back
// to a page that says how it went. A consent is bound to a random state, good once, and to the browser it began in;
// what follows from it is done elsewhere, behind [Consents].
package api
