// Package smartcartest is a Smartcar to test against, in the manner of net/http/httptest: it posts webhooks as Smartcar
// does, and answers as Smartcar does.
//
//   - BuildVehicleState and BuildVerify make bodies, Restamp and NewEvent change them.
//   - Sender posts a body with Smartcar's signature, time-out, retries and drop.
//   - Webhooks are the webhooks of an application: registered, verified, subscribed to cars, and posted in any form and
//     disorder, on a clock that a test can set by hand.
//   - Simulator drives a few made-up cars and reports them through a Sender.
//   - Platform is an http.Handler that serves Connect, the token endpoints, and the REST and management APIs of v2 and v3.
//
// A Platform can be given faults and limits (Fault, Limit, RevokeUser, BlockUser) and asked what it saw (Families,
// Requests, PeakRate, ValidPair, IssuedTokens). Consent and Issue stand for an owner with a browser. For other processes
// it has, under /simulator/: GET platform, POST and DELETE faults, POST users/{id}/revoke and users/{id}/block.
//
// Webhooks have, for people: GET /simulator/webhooks, and POST /simulator/webhooks/test, verify, disable and enable, all
// with an optional ?webhookId=. What a form cannot say it refuses with ErrForm rather than to say something else.
//
// Where Smartcar's documents leave a choice, the Platform takes the one that is harder on a client: of several answers to
// the same refresh token only the pair issued last stays good, the others die after the grace.
//
// Everything random or timed can be fixed, so tests are repeatable. Nothing here logs a VIN, coordinates, a token or a
// body, and no page shows one.
package smartcartest
