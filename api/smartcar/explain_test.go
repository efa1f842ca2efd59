package smartcar_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

// awkwardBody has what languages write differently.
const (
	awkwardBody    = "{\"b\": 104.0, \"10\": 1e5, \"2\": -0, \"é\": \"\\u00e9\\u007f\\u2028\\/ \\ud83d\\ude97 \\ud800<&>\", \"x\": [ ], \"o\": {}, \"n\": [1e16, 1e-5, 0.0001, 1E21, 1.5e-7, 123456789012345678901234567890, -0.0, 1.50, 1e999], \"b\": null, \"t\\t\": true}"
	explainedToken = "explained-token"
)

// rewritten is what Node.js 20 and Python 3 make of the body when they parse it and write it again.
type rewritten struct{ form, received, signed string }

func rewrittenBodies() []rewritten {
	awkwardBodyWithoutHalfAPair := strings.Replace(awkwardBody, ` \ud800`, "", 1)
	return []rewritten{
		{"as JavaScript's JSON.stringify writes it", awkwardBody,
			"{\"2\":0,\"10\":100000,\"b\":null,\"é\":\"é\x7f\u2028/ 🚗 \\ud800<&>\",\"x\":[],\"o\":{},\"n\":[10000000000000000,0.00001,0.0001,1e+21,1.5e-7,1.2345678901234568e+29,0,1.5,null],\"t\\t\":true}"},
		{"as JavaScript's JSON.stringify writes it, indented by 2 spaces", awkwardBody,
			"{\n  \"2\": 0,\n  \"10\": 100000,\n  \"b\": null,\n  \"é\": \"é\x7f\u2028/ 🚗 \\ud800<&>\",\n  \"x\": [],\n  \"o\": {},\n  \"n\": [\n    10000000000000000,\n    0.00001,\n    0.0001,\n    1e+21,\n    1.5e-7,\n    1.2345678901234568e+29,\n    0,\n    1.5,\n    null\n  ],\n  \"t\\t\": true\n}"},
		{"as JavaScript's JSON.stringify writes it, with sorted names", awkwardBody,
			"{\"10\":100000,\"2\":0,\"b\":null,\"n\":[10000000000000000,0.00001,0.0001,1e+21,1.5e-7,1.2345678901234568e+29,0,1.5,null],\"o\":{},\"t\\t\":true,\"x\":[],\"é\":\"é\x7f\u2028/ 🚗 \\ud800<&>\"}"},
		{"as Python's json.dumps writes it", awkwardBody,
			"{\"b\": null, \"10\": 100000.0, \"2\": 0, \"\\u00e9\": \"\\u00e9\\u007f\\u2028/ \\ud83d\\ude97 \\ud800<&>\", \"x\": [], \"o\": {}, \"n\": [1e+16, 1e-05, 0.0001, 1e+21, 1.5e-07, 123456789012345678901234567890, -0.0, 1.5, Infinity], \"t\\t\": true}"},
		{"as Python's json.dumps writes it, with sorted names", awkwardBody,
			"{\"10\": 100000.0, \"2\": 0, \"b\": null, \"n\": [1e+16, 1e-05, 0.0001, 1e+21, 1.5e-07, 123456789012345678901234567890, -0.0, 1.5, Infinity], \"o\": {}, \"t\\t\": true, \"x\": [], \"\\u00e9\": \"\\u00e9\\u007f\\u2028/ \\ud83d\\ude97 \\ud800<&>\"}"},
		{"as Python's json.dumps writes it, compact", awkwardBody,
			"{\"b\":null,\"10\":100000.0,\"2\":0,\"\\u00e9\":\"\\u00e9\\u007f\\u2028/ \\ud83d\\ude97 \\ud800<&>\",\"x\":[],\"o\":{},\"n\":[1e+16,1e-05,0.0001,1e+21,1.5e-07,123456789012345678901234567890,-0.0,1.5,Infinity],\"t\\t\":true}"},
		{"as Python's json.dumps writes it, compact with sorted names", awkwardBody,
			"{\"10\":100000.0,\"2\":0,\"b\":null,\"n\":[1e+16,1e-05,0.0001,1e+21,1.5e-07,123456789012345678901234567890,-0.0,1.5,Infinity],\"o\":{},\"t\\t\":true,\"x\":[],\"\\u00e9\":\"\\u00e9\\u007f\\u2028/ \\ud83d\\ude97 \\ud800<&>\"}"},
		{"as Python's json.dumps writes it, indented by 2 spaces", awkwardBody,
			"{\n  \"b\": null,\n  \"10\": 100000.0,\n  \"2\": 0,\n  \"\\u00e9\": \"\\u00e9\\u007f\\u2028/ \\ud83d\\ude97 \\ud800<&>\",\n  \"x\": [],\n  \"o\": {},\n  \"n\": [\n    1e+16,\n    1e-05,\n    0.0001,\n    1e+21,\n    1.5e-07,\n    123456789012345678901234567890,\n    -0.0,\n    1.5,\n    Infinity\n  ],\n  \"t\\t\": true\n}"},
		{"as Python's json.dumps writes it, without ASCII escapes", awkwardBodyWithoutHalfAPair,
			"{\"b\": null, \"10\": 100000.0, \"2\": 0, \"é\": \"é\x7f\u2028/ 🚗<&>\", \"x\": [], \"o\": {}, \"n\": [1e+16, 1e-05, 0.0001, 1e+21, 1.5e-07, 123456789012345678901234567890, -0.0, 1.5, Infinity], \"t\\t\": true}"},
		{"as Python's json.dumps writes it, compact without ASCII escapes", awkwardBodyWithoutHalfAPair,
			"{\"b\":null,\"10\":100000.0,\"2\":0,\"é\":\"é\x7f\u2028/ 🚗<&>\",\"x\":[],\"o\":{},\"n\":[1e+16,1e-05,0.0001,1e+21,1.5e-07,123456789012345678901234567890,-0.0,1.5,Infinity],\"t\\t\":true}"},
		{"compact, without white space between values", awkwardBody, strings.NewReplacer(": ", ":", ", ", ",", "[ ]", "[]").Replace(awkwardBody)},
		{"indented by 2 spaces", `{"b":[104.0,{"\u00e9":1e5}],"a":[]}`, "{\n  \"b\": [\n    104.0,\n    {\n      \"\\u00e9\": 1e5\n    }\n  ],\n  \"a\": []\n}"},
		{"compact with sorted names", `{"b":104.0,"a":{"d":"\u00e9","c":1}}`, `{"a":{"c":1,"d":"\u00e9"},"b":104.0}`},
	}
}

func mac(key, body string) []byte {
	hash := hmac.New(sha256.New, []byte(key))
	hash.Write([]byte(body))
	return hash.Sum(nil)
}

func named(keys ...string) []smartcar.NamedKey {
	var all []smartcar.NamedKey
	for i, key := range keys {
		all = append(all, smartcar.NamedKey{Name: fmt.Sprintf("key %d", i+1), Key: smartcar.Token(key)})
	}
	return all
}

func TestABodyWrittenAnewIsRecognised(t *testing.T) {
	t.Parallel()
	for _, c := range rewrittenBodies() {
		for ending, name := range map[string]string{"": c.form, "\n": c.form + " and a newline"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				found := smartcar.Explain([]byte(c.received), hex.EncodeToString(mac(explainedToken, c.signed+ending)),
					named("another", explainedToken))
				require.Equal(t, smartcar.VerdictBodyForm, found.Verdict)
				require.Equal(t, name, found.BodyForm)
				require.Equal(t, 2, found.KeyPosition)
				require.Equal(t, "key 2", found.KeyName)
			})
		}
	}
}

func TestChangesAtTheEdgesOfABodyAreRecognised(t *testing.T) {
	t.Parallel()
	for form, c := range map[string][2]string{
		"as received":                        {`{"a":1}`, `{"a":1}`},
		"without the white space at its end": {" {\"a\":1} \r\n", ` {"a":1}`},
		"without the white space around it":  {" {\"a\":1}\n", `{"a":1}`},
		"with a newline at its end":          {`{"a":1}`, "{\"a\":1}\n"},
		"with CRLF at its end":               {`{"a":1}`, "{\"a\":1}\r\n"},
		"with LF in place of CRLF":           {"{\r\n\"a\":1}", "{\n\"a\":1}"},
		"with CRLF in place of LF":           {"{\n\"a\":1}", "{\r\n\"a\":1}"},
		"without the byte order mark":        {"\ufeff{\"a\":1}", `{"a":1}`},
		"with a byte order mark":             {`{"a":1}`, "\ufeff{\"a\":1}"},
	} {
		found := smartcar.Explain([]byte(c[0]), hex.EncodeToString(mac(explainedToken, c[1])), named(explainedToken))
		require.Equal(t, form, found.BodyForm)
		require.Equal(t, form == "as received", found.Verdict == smartcar.VerdictVerifies, form)
	}
}

func TestASignatureInAnotherFormIsRead(t *testing.T) {
	t.Parallel()
	const body = `{"a":1}`
	right := mac(explainedToken, body)
	digits := hex.EncodeToString(right)
	for signature, form := range map[string]string{
		"sha256=" + digits:                          `64 hexadecimal digits after "sha256="`,
		"SHA256=" + strings.ToUpper(digits):         `64 hexadecimal digits with upper case after "sha256="`,
		base64.StdEncoding.EncodeToString(right):    "base64",
		base64.RawURLEncoding.EncodeToString(right): "base64",
		" " + digits: "64 hexadecimal digits",
	} {
		found := smartcar.Explain([]byte(body), signature, named(explainedToken))
		require.Equal(t, smartcar.VerdictSignatureForm, found.Verdict, form)
		require.Equal(t, form, found.SignatureForm)
		require.Equal(t, "as received", found.BodyForm)
	}
	upper := smartcar.Explain([]byte(body), strings.ToUpper(digits), named(explainedToken))
	require.Equal(t, smartcar.VerdictVerifies, upper.Verdict, "the receiver takes either case")
}

func TestWhatMatchesNothingIsSaidToMatchNothing(t *testing.T) {
	t.Parallel()
	keys := named("", "  ", explainedToken)
	const body = `{"a":1}`
	for signature, verdict := range map[string]smartcar.Verdict{
		"":                                  smartcar.VerdictMissing,
		"  ":                                smartcar.VerdictMissing,
		"sha256=":                           smartcar.VerdictMalformed,
		strings.Repeat("0", 63):             smartcar.VerdictMalformed,
		strings.Repeat("z", 64):             smartcar.VerdictMalformed,
		hex.EncodeToString(mac("", body)):   smartcar.VerdictNoMatch,
		hex.EncodeToString(mac("  ", body)): smartcar.VerdictNoMatch,
		hex.EncodeToString(mac("b", body)):  smartcar.VerdictNoMatch,
	} {
		found := smartcar.Explain([]byte(body), signature, keys)
		require.Equal(t, verdict, found.Verdict)
		require.Zero(t, found.KeyPosition)
		require.NotEmpty(t, found.Meaning)
	}
	whole := smartcar.Explain([]byte(body), strings.Repeat("0", 64), keys)
	cut := smartcar.Explain([]byte(body[:5]), strings.Repeat("0", 64), keys)
	require.Contains(t, whole.Meaning, "regenerated")
	require.Contains(t, cut.Meaning, "cut or changed")
	require.Equal(t, 3, smartcar.Explain([]byte(body), hex.EncodeToString(mac(explainedToken, body)), keys).KeyPosition)
	require.Equal(t, smartcar.VerdictNoMatch, smartcar.Explain(nil, strings.Repeat("0", 64), nil).Verdict)
}

func TestExplainAgreesWithTheVectors(t *testing.T) {
	t.Parallel()
	bundle := setup(t)
	for _, vector := range bundle.Bodies {
		found := smartcar.Explain([]byte(vector.Body), vector.ExpectedHex, named("another", vector.ManagementToken))
		require.Equal(t, smartcar.VerdictVerifies, found.Verdict, vector.Name)
		require.Equal(t, 2, found.KeyPosition, vector.Name)
	}
	for _, vector := range bundle.Negatives {
		verdict := smartcar.VerdictNoMatch
		if vector.Name == "truncated-signature" {
			verdict = smartcar.VerdictMalformed
		}
		require.Equal(t, verdict, smartcar.Explain([]byte(vector.Body), vector.Signature, named(vector.ManagementToken)).Verdict, vector.Name)
	}
}

// The bodies that the Node SDK cannot verify are those that it writes differently: signed that way, they are recognised.
func TestWhatTheNodeSDKWouldHaveSignedIsRecognised(t *testing.T) {
	t.Parallel()
	rewritten := map[string]string{
		"trailing-newline":  `{"eventType":"VEHICLE_STATE"}`,
		"integer-like-keys": `{"2":3,"10":2,"b":1}`,
	}
	forms := map[string]string{
		"trailing-newline":  "without the white space at its end",
		"integer-like-keys": "as JavaScript's JSON.stringify writes it",
	}
	unverifiable := 0
	raw, err := os.ReadFile(filepath.Join("testdata", "signature-vectors.json"))
	require.NoError(t, err)
	var vectors struct {
		Bodies []struct {
			signatureVector

			Verifies bool `json:"node_verifyPayload"`
		} `json:"body_vectors"`
	}
	require.NoError(t, json.Unmarshal(raw, &vectors))
	for _, vector := range vectors.Bodies {
		if vector.Verifies {
			continue
		}
		unverifiable++
		found := smartcar.Explain([]byte(vector.Body),
			hex.EncodeToString(mac(vector.ManagementToken, rewritten[vector.Name])), named(vector.ManagementToken))
		require.Equal(t, smartcar.VerdictBodyForm, found.Verdict, vector.Name)
		require.Equal(t, forms[vector.Name], found.BodyForm)
	}
	require.Equal(t, len(rewritten), unverifiable)
}

// Anybody can have such a body put into quarantine, for a person to explain.
//
//nolint:paralleltest // What the process allocates is measured.
func TestAHostileBodyIsExplainedInBoundedMemory(t *testing.T) {
	const most = 256 << 20
	for _, depth := range []int{1, 32, 33, 9_999} {
		body := strings.Repeat("[", depth) + strings.Repeat("0,", 115_000) + "0" + strings.Repeat("]", depth)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		found := smartcar.Explain([]byte(body), strings.Repeat("0", 64), named(explainedToken))
		runtime.ReadMemStats(&after)
		require.Equal(t, smartcar.VerdictNoMatch, found.Verdict)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(most), "nested %d deep", depth)
	}
}

func FuzzExplainAgreesWithTheKeyring(f *testing.F) {
	for _, c := range rewrittenBodies() {
		f.Add([]byte(c.received), strings.Repeat("0", 64))
	}
	f.Add([]byte(`{"\ud800\udc00\udc00":"\ud800"}`), "")
	f.Add([]byte("{\"a\":[[[{}]]],\"a\":\"\xff\"}"), "sha256=")
	f.Fuzz(func(t *testing.T, body []byte, other string) {
		ring, err := smartcar.NewKeyring(explainedToken)
		require.NoError(t, err)
		for _, signature := range []string{other, ring.Sign(body)} {
			found := smartcar.Explain(body, signature, named(explainedToken))
			require.Equal(t, ring.Verify(signature, body) == nil, found.Verdict == smartcar.VerdictVerifies)
			require.Equal(t, found.KeyPosition > 0, found.BodyForm != "")
		}
	})
}

func TestAnExplanationRepeatsNoSecret(t *testing.T) {
	t.Parallel()
	signature := hex.EncodeToString(mac(explainedToken, `{"vin":"1"}`))
	found := smartcar.Explain([]byte(`{"vin":"1"}`), signature, named(explainedToken))
	encoded, err := json.Marshal(found)
	require.NoError(t, err)
	for _, printed := range []string{string(encoded), fmt.Sprintf("%+v", found), fmt.Sprintf("%#v", named(explainedToken))} {
		require.NotContains(t, printed, explainedToken)
		require.NotContains(t, printed, signature)
		require.NotContains(t, printed, "vin")
	}
}

func ExampleExplain() {
	// Something in front of the receiver parsed the body and wrote it again: the white space is gone.
	received := []byte(`{"eventType":"VEHICLE_STATE","value":104}`)
	ring, err := smartcar.NewKeyring("the-management-token")
	if err != nil {
		fmt.Println(err)
		return
	}
	signature := ring.Sign([]byte(`{"eventType": "VEHICLE_STATE", "value": 104}`))
	found := smartcar.Explain(received, signature, []smartcar.NamedKey{
		{Name: "current token", Key: "another-management-token"},
		{Name: "previous token", Key: "the-management-token"},
	})
	fmt.Println(found.Verdict)
	fmt.Println(found.KeyPosition, found.KeyName)
	fmt.Println(found.BodyForm)
	// Output:
	// body_form
	// 2 previous token
	// as Python's json.dumps writes it
}
