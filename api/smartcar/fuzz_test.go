package smartcar_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

// FuzzDecode decodes a body as it is, and with a word in place of one of its values.
func FuzzDecode(f *testing.F) {
	for i, seed := range decodeSeeds(f) {
		f.Add([]byte(seed), uint16(i), uint8(i%len(words())))
	}
	f.Fuzz(func(t *testing.T, body []byte, place uint16, word uint8) {
		requireDecodes(t, body)
		requireDecodes(t, withWord(body, int(place), int(word)))
	})
}

func TestAnyValueOfABodyMayBeOfAnyKind(t *testing.T) {
	t.Parallel()
	const largest = 1000 // Those below have every form.
	for _, seed := range decodeSeeds(t) {
		if len(seed) > largest {
			continue
		}
		for place := range placesIn([]byte(seed)) {
			for word := range words() {
				requireDecodes(t, withWord([]byte(seed), place, word))
			}
		}
	}
}

func TestWhatIsNotUnderstoodIsKept(t *testing.T) {
	t.Parallel()
	const member = `"nobody":"expects this"`
	headers := regexp.MustCompile(`,\s*"headers":\s*\{[^}]*\}`) // of which only three are read
	for _, seed := range decodeSeeds(t) {
		if seed = headers.ReplaceAllString(seed, ""); strings.Contains(seed, `"eventId":"first"`) {
			continue // Of repeated names the last counts.
		}
		for _, place := range placesIn([]byte(seed)) {
			before, value, after := seed[:place[0]], seed[place[0]:place[1]], seed[place[1]:]
			changed := []string{before + "{" + member + "}" + after}
			if strings.HasPrefix(value, "{") {
				changed = append(changed, before+strings.Replace("{"+member+","+value[1:], ",}", "}", 1)+after)
			}
			for _, body := range changed {
				delivery, err := smartcar.Decode([]byte(body))
				if err == nil && delivery.Type != smartcar.TypeVerify {
					require.Contains(t, kept(delivery), "expects this", body)
				}
			}
		}
	}
}

// kept is all that is left undecoded of a delivery.
func kept(delivery smartcar.Delivery) string {
	var all []byte
	add := func(members map[string]json.RawMessage) {
		for _, raw := range members {
			all = append(all, raw...)
		}
	}
	for _, event := range delivery.Events {
		add(event.Unknown)
		for _, signal := range event.Signals {
			all = append(append(all, signal.Body...), signal.Value...)
			add(signal.Unknown)
		}
		for _, vehicleError := range event.Errors {
			add(vehicleError.Unknown)
		}
	}
	return string(all)
}

// requireDecodes requires what is true of every body.
func requireDecodes(t *testing.T, body []byte) {
	t.Helper()
	untouched := bytes.Clone(body)
	first, err := smartcar.Decode(body)
	require.True(t, bytes.Equal(untouched, body), "the body is only read")
	if err != nil {
		require.ErrorIs(t, err, smartcar.ErrMalformed)
		require.Len(t, first.Events, 1)
	}
	again, errAgain := smartcar.Decode(body)
	require.Equal(t, first, again)
	require.Equal(t, err, errAgain)
	require.NotEmpty(t, first.Events)
	seen := make(map[string]bool)
	for _, event := range first.Events {
		require.True(t, validID.MatchString(event.ID), event.ID)
		require.False(t, seen[event.ID], "events of one delivery have different IDs")
		seen[event.ID] = true
		_, _ = event.Odometer()
	}
	challenge, isVerify := smartcar.ReadChallenge(body)
	require.Equal(t, first.Type == smartcar.TypeVerify, isVerify, "%s", body)
	require.Equal(t, first.Challenge, challenge)
	if restamped, ok := restamp(body); ok {
		second, _ := smartcar.Decode(restamped)
		require.Equal(t, idsOf(first), idsOf(second), "a retry has the IDs of the first attempt: %s", body)
	}
}

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$`)

// restamp changes what Smartcar changes from attempt to attempt, and white space and member order with it.
func restamp(body []byte) ([]byte, bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var content map[string]any
	if !json.Valid(body) || decoder.Decode(&content) != nil || content == nil {
		return nil, false
	}
	if content["meta"] == nil {
		content["meta"] = map[string]any{}
	}
	meta, ok := content["meta"].(map[string]any)
	if !ok {
		return nil, false
	}
	meta["deliveryId"], meta["deliveredAt"], meta["deliveryTime"], meta["sequence"] = "another", 1, 2, 3
	restamped, err := json.MarshalIndent(content, "", " ")
	return restamped, err == nil
}

func idsOf(delivery smartcar.Delivery) []string {
	ids := make([]string, 0, len(delivery.Events))
	for _, event := range delivery.Events {
		ids = append(ids, event.ID)
	}
	return ids
}

func FuzzParseUnit(f *testing.F) {
	for _, seed := range []string{"", "km", "Kilometers", "kilowatt-hours", "miles_per_hour", "%", "°C", "furlong", "\xff"} {
		f.Add(seed)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "payloads", "vehicle-state-*.json"))
	require.NoError(f, err)
	unitMember := regexp.MustCompile(`"unit": "([^"]*)"`)
	for _, file := range files {
		body, err := os.ReadFile(file)
		require.NoError(f, err)
		for _, match := range unitMember.FindAllSubmatch(body, -1) {
			f.Add(string(match[1]))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		unit, err := smartcar.ParseUnit(text)
		spaced, errSpaced := smartcar.ParseUnit(" _" + text + "-\t")
		require.Equal(t, unit, spaced)
		require.Equal(t, err, errSpaced)
		if err != nil {
			require.Empty(t, unit)
			if text != "" {
				require.Contains(t, []error{smartcar.ErrUnitAbsent, smartcar.ErrUnitUnknown}, err)
			}
			return
		}
		again, err := smartcar.ParseUnit(strings.ToLower(string(unit)))
		require.NoError(t, err)
		require.Equal(t, unit, again)
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"vehicle-state-odometer-v4", "vehicle-state-ev-full-v4", "seed-style-simple"} {
		var compact bytes.Buffer
		require.NoError(b, json.Compact(&compact, payload(b, name)))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(compact.Len()))
			for b.Loop() {
				if _, err := smartcar.Decode(compact.Bytes()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	ring, err := smartcar.NewKeyring(managementToken)
	require.NoError(b, err)
	body := payload(b, "vehicle-state-odometer-v4")
	signature := ring.Sign(body)
	b.ReportAllocs()
	for b.Loop() {
		if err := ring.Verify(signature, body); err != nil {
			b.Fatal(err)
		}
	}
}
