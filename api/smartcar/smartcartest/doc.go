// Package smartcartest is a Smartcar to test against, in the manner of
// net/http/httptest: it posts webhooks as Smartcar does.
//
//   - BuildVehicleState and BuildVerify make bodies, Restamp and NewEvent change them.
//   - Sender posts a body with Smartcar's signature, time-out, retries and drop.
//   - Simulator drives a few made-up cars and reports them through a Sender.
//
// Everything random or timed can be fixed, so tests are repeatable. Nothing here
// logs or displays a VIN, coordinates, a token or a body.
package smartcartest
