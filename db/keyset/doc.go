// Package keyset keeps the keys that tokens are encrypted with at rest: AES-256-GCM
// through Tink, as a cleartext Tink keyset, which is itself the secret. It lives in
// a variable, or in a file that only its owner can read.
//
// A keyset has one primary key, which encrypts; all its enabled keys decrypt. That is
// what lets keys change while a fleet of processes serves: add a key, let every
// process have it, make it primary, re-encrypt what is stored, remove the old key.
//
// Keysets print masked. Only Text gives the material.
package keyset
