package smartcar_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func TestTriggersAreReadInEveryShapeAndPlace(t *testing.T) {
	t.Parallel()
	named := smartcar.SignalRef{Code: "tractionbattery-stateofcharge", Name: "StateOfCharge", Group: "TractionBattery"}
	updated := smartcar.Trigger{Kind: smartcar.TriggerSignalUpdated, Signal: named}
	object := `{"name":"StateOfCharge","code":"tractionbattery-stateofcharge","group":"TractionBattery"}`
	cases := map[string]struct {
		sent string
		want smartcar.Trigger
	}{
		"typed with an object":      {`{"type":"SIGNAL_UPDATED","signal":` + object + `}`, updated},
		"typed with text":           {`{"type":"SIGNAL_UPDATED","signal":"TractionBattery.StateOfCharge"}`, updated},
		"first delivery by type":    {`{"type":"FIRST_DELIVERY"}`, smartcar.Trigger{Kind: "FIRST_DELIVERY"}},
		"object of the documents":   {object, smartcar.Trigger{Signal: named}},
		"first delivery by code":    {`{"code":"FIRST_DELIVERY"}`, smartcar.Trigger{Kind: "FIRST_DELIVERY"}},
		"text":                      {`"TractionBattery.StateOfCharge"`, smartcar.Trigger{Signal: named}},
		"first delivery as text":    {`"FIRST_DELIVERY"`, smartcar.Trigger{Kind: "FIRST_DELIVERY"}},
		"text that is a code":       {`"odometer-traveleddistance"`, smartcar.Trigger{Signal: smartcar.SignalRef{Code: smartcar.CodeOdometer}}},
		"a type nobody has yet met": {`{"type":"NEW_KIND"}`, smartcar.Trigger{Kind: "NEW_KIND"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top, _ := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{},"triggers":[`+c.sent+`]}`)
			require.Equal(t, []smartcar.Trigger{c.want}, top.Triggers)
			inside, _ := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"triggers":[`+c.sent+`]}}`)
			require.Equal(t, []smartcar.Trigger{c.want}, inside.Triggers)
		})
	}
	odd, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","triggers":{"type":"X"},"data":{"triggers":[null,1]}}`)
	require.Empty(t, odd.Triggers)
	require.Contains(t, event.Unknown, "triggers")
}

func TestDeliveredAtIsReadInEveryForm(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		`"2026-11-20T14:00:02.355Z"`:      "2026-11-20T14:00:02.355Z",
		`"2026-11-20T15:00:02.355+01:00"`: "2026-11-20T14:00:02.355Z",
		`"2026-11-20T14:00:02"`:           "2026-11-20T14:00:02Z",
		`1795183500994`:                   "2026-11-20T14:05:00.994Z",
		`"1795183500994"`:                 "2026-11-20T14:05:00.994Z",
		`1795183500`:                      "2026-11-20T14:05:00Z",
		`1795183500.5`:                    "2026-11-20T14:05:00.5Z",
		`1.795183500994e12`:               "2026-11-20T14:05:00.994Z",
		`1795183500994123`:                "2026-11-20T14:05:00.994123Z",
	}
	for sent, want := range cases {
		delivery, _ := decodeOne(t, `{"eventType":"VEHICLE_STATE","meta":{"deliveredAt":`+sent+`}}`)
		require.Equal(t, want, delivery.DeliveredAt.Format(time.RFC3339Nano), sent)
		require.Equal(t, time.UTC, delivery.DeliveredAt.Location())
	}
	for _, sent := range []string{
		`null`, `0`, `-5`, `""`, `"soon"`, `true`, `{}`, `1e300`, `1e-300`, `9223372036854775807`, `"0001-01-01T00:00:00Z"`,
	} {
		delivery, _ := decodeOne(t, `{"eventType":"VEHICLE_STATE","meta":{"deliveredAt":`+sent+`}}`)
		require.True(t, delivery.DeliveredAt.IsZero(), sent)
	}
}

func TestInventedDeliveriesAreNeverLive(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		sent string
		mode smartcar.Mode
		live bool
	}{
		"absent":                {`"meta":{}`, "", true},
		"null":                  {`"meta":{"mode":null}`, "", true},
		"live in lower case":    {`"meta":{"mode":"live"}`, smartcar.ModeLive, true},
		"test":                  {`"meta":{"mode":"Test"}`, smartcar.ModeTest, false},
		"unheard-of":            {`"meta":{"mode":"demo"}`, "DEMO", false},
		"no text":               {`"meta":{"mode":true}`, "TRUE", false},
		"said by the vehicle":   {`"meta":{"mode":"LIVE"},"data":{"vehicle":{"mode":"simulated"}}`, smartcar.ModeSimulated, false},
		"live by the vehicle":   {`"data":{"vehicle":{"mode":"live"}}`, smartcar.ModeLive, true},
		"said at the top level": {`"mode":"test","meta":{"mode":"LIVE"}`, smartcar.ModeTest, false},
	}
	for name, c := range cases {
		delivery, _ := decodeOne(t, `{"eventType":"VEHICLE_STATE",`+c.sent+`}`)
		require.Equal(t, c.mode, delivery.Mode, name)
		require.Equal(t, c.live, delivery.Mode.IsLive(), name)
	}
}

func TestMembersOfUnexpectedKindsAreToleratedAndKept(t *testing.T) {
	t.Parallel()
	_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","eventId":7,"vehicleId":12,"new":1,"meta":[],"payload":2,`+
		`"data":{"user":"u","vehicle":{"id":12,"make":{},"year":"2021","colour":"red","vin":null},"errors":[],"fresh":{"a":1}}}`)
	require.Equal(t, "12", event.VehicleID)
	require.Equal(t, 2021, event.Year)
	require.True(t, event.Derived)
	for _, path := range []string{"new", "meta", "payload", "data.user", "data.vehicle.colour", "data.errors", "data.fresh"} {
		require.Contains(t, event.Unknown, path)
	}
	_, event = decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"vehicle":{"id":"v\u0000\ud800","year":[1]}}}`)
	require.Equal(t, "v\uFFFD", event.VehicleID)
	require.Contains(t, event.Unknown, "data.vehicle.year")
	delivery, event := decodeOne(t, `{"eventType":"VEHICLE_CONNECTION","data":{"signals":{},"status":"UP"}}`)
	require.Equal(t, smartcar.EventType("VEHICLE_CONNECTION"), delivery.Type)
	require.Contains(t, event.Unknown, "data.signals")
}

func TestMembersAreReadInEveryNotationAndKeptByteForByte(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`[{"a" :`, 4000) + "1" + strings.Repeat("}]", 4000)
	_, event := decodeOne(t, ` { "event\u0054ype" : "VEHICLE_STATE" ,"eventId":"first","eventId":"last", "n":1,"n" : -2.50e1 ,`+
		`"half \ud800\u0041\u0000" : [ 1 , {"a\"" : "\"}\\" }, null] ,"\\":{ },"":"", "deep":`+deep+
		`, "data":{"vehicle":{"id":"a"},"vehicle":{"make":"M"},"signals":[ {"code":"c","body": { "value" : [ 1,2 ] } } ]}}`)
	require.Equal(t, "last", event.ID, "the last of repeated names counts")
	require.Equal(t, [2]string{"a", "M"}, [2]string{event.VehicleID, event.Make}, "and each of them is read")
	want := map[string]string{
		"n": "-2.50e1", "half \uFFFDA\x00": `[ 1 , {"a\"" : "\"}\\" }, null]`, `\`: "{ }", "": `""`, "deep": deep,
	}
	require.Len(t, event.Unknown, len(want))
	for name, raw := range want {
		require.Equal(t, raw, string(event.Unknown[name]), name)
	}
	require.Equal(t, `{ "value" : [ 1,2 ] }`, string(event.Signals[0].Body)) //nolint:testifylint // byte for byte
	require.Equal(t, `[ 1,2 ]`, string(event.Signals[0].Value))
}

func TestChallengeIsReadFromBothFormsOnly(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		string(payload(t, "verify-v4")):                                             "challenge_9fK2mQ7xT4vB1zLd",
		string(payload(t, "verify-minimal")):                                        "nsQsLU7wY9WKt2IU",
		string(payload(t, "legacy-v2-verify")):                                      "3f1c9a52-6d0e-4b7a-8c41-d2e5f6a7b8c9",
		`{"eventType":"VERIFY","data":{"challenge":5}}`:                             "",
		`{"eventType":"VERIFY"}`:                                                    "",
		`{"eventType":"VERIFY","vehicleId":"a","data":{"vehicle":{"id":"b"}}}`:      "",
		`{"eventName":"VERIFY","payload":{"challenge":"abcd"}}`:                     "abcd",
		`{"eventType":"VERIFY","data":{"challenge":"abcd"},"eventName":"schedule"}`: "abcd",
	} {
		challenge, isVerify := smartcar.ReadChallenge([]byte(body))
		require.True(t, isVerify, body)
		require.Equal(t, want, challenge)
		delivery, _ := decodeOne(t, body)
		require.Equal(t, smartcar.TypeVerify, delivery.Type)
		require.Equal(t, want, delivery.Challenge)
	}
	for _, body := range []string{
		``, `[]`, `{"eventType":"VERIFY"`, string(payload(t, "vehicle-state-odometer-v4")),
		`{"eventType":"VEHICLE_STATE","eventName":"verify","payload":{"challenge":"abcd"}}`, `{"EVENTTYPE":"VERIFY"}`,
	} {
		_, isVerify := smartcar.ReadChallenge([]byte(body))
		require.False(t, isVerify, body)
	}
}

func TestEventIDThatCannotServeIsReplaced(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d2001", "A.b_c:d-9", "reconcile-1", "reconciled", strings.Repeat("x", 128)} {
		_, event := decodeOne(t, fmt.Sprintf(`{"eventType":"VEHICLE_STATE","eventId":%q}`, id))
		require.Equal(t, id, event.ID)
		require.False(t, event.Derived)
	}
	for _, id := range []string{"", "-a", "a b", "a/b", "é", "reconcile", "Reconcile", strings.Repeat("x", 129)} {
		_, event := decodeOne(t, fmt.Sprintf(`{"eventType":"VEHICLE_STATE","eventId":%q}`, id))
		require.True(t, event.Derived, id)
	}
}

func TestDerivedIDIsThatOfTheEventNotOfTheDelivery(t *testing.T) {
	t.Parallel()
	id := func(body string) string {
		_, event := decodeOne(t, body)
		require.True(t, event.Derived)
		return event.ID
	}
	first := id(`{"eventType":"VEHICLE_STATE","vehicleId":"v","data":{"odometer":{"distance":1}},` +
		`"meta":{"deliveryId":"d1","deliveredAt":1,"webhookId":"w"}}`)
	retry := id(`{"meta":{"webhookId":"w","deliveredAt":2,"deliveryId":"d2","attempt":2}, ` +
		`"data":{"odometer":{"distance":1}},"vehicleId":"v","eventType":"VEHICLE_STATE"}`)
	require.Equal(t, first, retry)
	for name, other := range map[string]string{
		"value":   `{"eventType":"VEHICLE_STATE","vehicleId":"v","data":{"odometer":{"distance":1.0}},"meta":{"webhookId":"w"}}`,
		"vehicle": `{"eventType":"VEHICLE_STATE","vehicleId":"x","data":{"odometer":{"distance":1}},"meta":{"webhookId":"w"}}`,
		"webhook": `{"eventType":"VEHICLE_STATE","vehicleId":"v","data":{"odometer":{"distance":1}},"meta":{"webhookId":"y"}}`,
	} {
		require.NotEqual(t, first, id(other), name)
	}
	legacy := `{"eventName":"schedule","webhookId":"w","payload":{"vehicles":` +
		`[{"vehicleId":"v","requestId":"%s","data":[{"path":"/vin","code":%d}]}]}}`
	require.Equal(t, id(fmt.Sprintf(legacy, "r", 1)), id(fmt.Sprintf(legacy, "r", 2)), "the request decides")
	require.NotEqual(t, id(fmt.Sprintf(legacy, "r", 1)), id(fmt.Sprintf(legacy, "s", 1)))
	require.NotEqual(t, id(fmt.Sprintf(legacy, "", 1)), id(fmt.Sprintf(legacy, "", 2)))
}

func TestObservationTimeIsTheBestOneThatIsNotAbsurd(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	maker, retrieved, delivered := received.Add(-time.Hour), received.Add(-time.Minute), received.Add(-time.Second)
	ahead, absurd := received.Add(24*time.Hour), received.Add(24*time.Hour+time.Second)
	var none time.Time
	for name, c := range map[string]struct {
		signal    smartcar.Signal
		delivered time.Time
		want      time.Time
		source    smartcar.ObservationSource
	}{
		"the maker's":       {smartcar.Signal{OEMUpdatedAt: maker, RetrievedAt: retrieved}, delivered, maker, smartcar.SourceOEMUpdatedAt},
		"the retrieval":     {smartcar.Signal{RetrievedAt: retrieved}, delivered, retrieved, smartcar.SourceRetrievedAt},
		"the delivery":      {smartcar.Signal{}, delivered, delivered, smartcar.SourceDeliveredAt},
		"the receipt":       {smartcar.Signal{}, none, received, smartcar.SourceReceivedAt},
		"absurd ones left":  {smartcar.Signal{OEMUpdatedAt: absurd, RetrievedAt: absurd}, absurd, received, smartcar.SourceReceivedAt},
		"a little ahead":    {smartcar.Signal{OEMUpdatedAt: ahead}, delivered, ahead, smartcar.SourceOEMUpdatedAt},
		"absurd maker only": {smartcar.Signal{OEMUpdatedAt: absurd, RetrievedAt: retrieved}, delivered, retrieved, smartcar.SourceRetrievedAt},
	} {
		at, source := c.signal.ObservedAt(c.delivered, received)
		require.Equal(t, c.want, at, name)
		require.Equal(t, c.source, source, name)
	}
}
