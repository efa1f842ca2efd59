package smartcar

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
)

// Verdict is what [Explain] found, from a closed list.
type Verdict string

// The verdicts.
const (
	// VerdictVerifies: [Keyring.Verify] accepts the signature with these keys.
	VerdictVerifies Verdict = "verifies"
	// VerdictSignatureForm: the right signature of the right bytes, not written as 64 hexadecimal digits.
	VerdictSignatureForm Verdict = "signature_form"
	// VerdictBodyForm: one of the keys signed the same content in other bytes.
	VerdictBodyForm Verdict = "body_form"
	// VerdictMissing: there is no signature.
	VerdictMissing Verdict = "signature_missing"
	// VerdictMalformed: the signature is no HMAC-SHA256 in any usual form.
	VerdictMalformed Verdict = "signature_malformed"
	// VerdictNoMatch: no key made it over any form of the body.
	VerdictNoMatch Verdict = "no_match"
)

// NamedKey is a key that a delivery may have been signed with, and what a person calls it.
type NamedKey struct {
	Name string
	Key  Token
}

// Explanation says how a signature came about. It holds neither a key nor the signature nor anything of the body, so
// that it can be shown to anybody.
type Explanation struct {
	Verdict Verdict `json:"verdict"`
	// KeyPosition counts the keys from 1, and KeyName is that key's name; 0 and "" when no key matched.
	KeyPosition int    `json:"keyPosition,omitempty"`
	KeyName     string `json:"keyName,omitempty"`
	// SignatureForm is how the signature was written, such as "64 hexadecimal digits" or "base64".
	SignatureForm string `json:"signatureForm"`
	// BodyForm is which bytes were signed, such as "as received" or "as Python's json.dumps writes it"; "" when no
	// key matched.
	BodyForm string `json:"bodyForm,omitempty"`
	// Meaning is what that most likely means, and what to do about it.
	Meaning string `json:"meaning"`
}

const bodyAsReceived = "as received"

const (
	meaningVerifies = "The signature is right with the keys given here. If it was refused when it came, the receiver did not have this " +
		"key then: a delivery in quarantine can be re-admitted now."
	meaningSignatureForm = "The key and the bytes are right, but something on the way rewrites the SC-Signature header, or the sender is " +
		"not Smartcar, which sends 64 hexadecimal digits and nothing else."
	meaningBodyForm = "The key is right, but the bytes received are not those that were signed: a proxy, a gateway or a function in " +
		"front rewrites the body, or the sender signs what it does not send. Pass the body on byte by byte."
	meaningMissing = "Either it is not from Smartcar, which signs every event, or a proxy in front drops the SC-Signature header."
	meaningShort   = "The signature does not have the length of an HMAC-SHA256: it was cut, doubled or made with another " +
		"algorithm. Look at what passes the SC-Signature header on."
	meaningNoMatch = "Most likely the application management token was regenerated at Smartcar, or belongs to another application: " +
		"put the one of the dashboard first in SMARTCAR_MANAGEMENT_TOKEN and keep the old one behind it, since live deliveries may be " +
		"signed with the old one for a while. A client secret or a webhook secret of v3 in its place does this, too. Else the body was " +
		"changed on the way by more than its form, or it is not from Smartcar. If test deliveries verify and live ones do not with any " +
		"token, the application at Smartcar has to be created again."
	meaningNotJSON = "The body is not one valid JSON value, so it was most likely cut or changed on the way; else the key is not " +
		"among those given: put the application management token of Smartcar's dashboard first in SMARTCAR_MANAGEMENT_TOKEN."
)

// Explain says why a signature is refused: it tries every key on the body as received, then on other forms of it that
// programs in between are known to make (white space and line ends, and JSON written anew as JavaScript, Python and
// others do), and reads the signature in other forms than Smartcar's (with the prefix "sha256=", in base64).
//
// It is for people and for tests. What it finds must not be accepted: only the bytes as received prove anything, and
// [Keyring.Verify] alone decides. Keys that are blank are counted and not tried; white space around one is dropped.
// It takes time and memory in proportion to the body, some twenty times over for each key: keep it out of request paths.
// Of a body that is nested deeper than 32 levels, as none of Smartcar's is, it tries no JSON written anew.
//
// Source: Smartcar, "payload verification".
func Explain(body []byte, signature string, keys []NamedKey) Explanation {
	trimmed := strings.TrimSpace(signature)
	if trimmed == "" {
		return Explanation{Verdict: VerdictMissing, SignatureForm: "none", Meaning: meaningMissing}
	}
	claimed, form := readSignature(trimmed)
	if claimed == nil {
		return Explanation{Verdict: VerdictMalformed, SignatureForm: form, Meaning: meaningShort}
	}
	usable := usableKeys(keys)
	forms, isJSON := bodyForms(body)
	for bodyForm, bytes := range forms {
		for _, key := range usable {
			if !hmac.Equal(claimed, sum(key.text, bytes)) {
				continue
			}
			found := Explanation{KeyPosition: key.position, KeyName: key.name, SignatureForm: form, BodyForm: bodyForm}
			found.Verdict, found.Meaning = VerdictBodyForm, meaningBodyForm
			if bodyForm == bodyAsReceived {
				found.Verdict, found.Meaning = VerdictSignatureForm, meaningSignatureForm
				if isHexSignature(signature) {
					found.Verdict, found.Meaning = VerdictVerifies, meaningVerifies
				}
			}
			return found
		}
	}
	none := Explanation{Verdict: VerdictNoMatch, SignatureForm: form, Meaning: meaningNoMatch}
	if !isJSON {
		none.Meaning = meaningNotJSON
	}
	return none
}

type explainedKey struct {
	position int
	name     string
	text     []byte
}

func usableKeys(keys []NamedKey) []explainedKey {
	var usable []explainedKey
	for i, key := range keys {
		// With an empty key anybody's signature would match.
		if text := strings.TrimSpace(key.Key.Reveal()); text != "" {
			usable = append(usable, explainedKey{position: i + 1, name: key.Name, text: []byte(text)})
		}
	}
	return usable
}

func isHexSignature(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == hex.EncodedLen(sha256.Size)
}

// readSignature gives the bytes of a signature in any form that is in use, or nil, and the form's name.
func readSignature(text string) (claimed []byte, form string) {
	const prefix = "sha256="
	if len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
		claimed, form = readSignature(text[len(prefix):])
		return claimed, form + ` after "sha256="`
	}
	if isHexSignature(text) {
		claimed, _ = hex.DecodeString(text) // isHexSignature has decoded it before.
		if strings.ContainsAny(text, "ABCDEF") {
			return claimed, "64 hexadecimal digits with upper case"
		}
		return claimed, "64 hexadecimal digits"
	}
	for _, encoding := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		if decoded, err := encoding.DecodeString(text); err == nil && len(decoded) == sha256.Size {
			return decoded, "base64"
		}
	}
	return nil, "neither 64 hexadecimal digits nor 32 bytes in base64"
}

// edgeForms are the changes that need no understanding of the body.
func edgeForms(body []byte) []bodyForm {
	mark := []byte("\ufeff")
	lines := bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	return []bodyForm{
		{bodyAsReceived, body},
		{"without the white space at its end", bytes.TrimRight(body, " \t\r\n")},
		{"without the white space around it", bytes.Trim(body, " \t\r\n")},
		{"with a newline at its end", append(slices.Clone(body), '\n')},
		{"with CRLF at its end", append(slices.Clone(body), '\r', '\n')},
		{"with LF in place of CRLF", lines},
		{"with CRLF in place of LF", bytes.ReplaceAll(lines, []byte("\n"), []byte("\r\n"))},
		{"without the byte order mark", bytes.TrimPrefix(body, mark)},
		{"with a byte order mark", append(slices.Clone(mark), body...)},
	}
}
