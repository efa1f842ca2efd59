package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
)

const (
	oldToken, newToken = "the-old-management-token", "the-new-management-token"
	quarantinedBody    = `{"eventId":"e-1","eventType":"VEHICLE_STATE","data":{"vehicle":{"id":"v-1","vin":"VIN-1"}}}`
)

// explainBundle is a quarantine that the explain command works on.
type explainBundle struct {
	t           *testing.T
	environment map[string]string
	store       *db.Store
	quarantine  *db.Quarantine
	out         *bytes.Buffer
}

func setupExplain(t *testing.T) *explainBundle {
	t.Helper()
	url := dbtest.New(t)
	store, err := db.Open(t.Context(), db.Config{URL: url, MaxConnections: 2})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return &explainBundle{
		t: t, store: store, quarantine: db.NewQuarantine(store, db.QuarantineBounds{}), out: &bytes.Buffer{},
		environment: map[string]string{"DATABASE_URL": url, "SMARTCAR_MANAGEMENT_TOKEN": oldToken},
	}
}

func (b *explainBundle) run(arguments ...string) error {
	b.t.Helper()
	b.out.Reset()
	root := &cli.Command{
		Name: "milepost", Writer: b.out, ErrWriter: b.out,
		Commands: []*cli.Command{explainCommand(b.environment, b.out)},
	}
	err := root.Run(b.t.Context(), append([]string{"milepost", "explain"}, arguments...))
	for _, token := range []string{oldToken, newToken} {
		require.NotContains(b.t, b.out.String(), token)
	}
	return err
}

// addToken is what an operator does once it is known which token is missing.
func (b *explainBundle) addToken() {
	b.environment["SMARTCAR_MANAGEMENT_TOKEN"] = newToken + "," + oldToken
}

func signedWith(t *testing.T, token, body string) string {
	t.Helper()
	keyring, err := smartcar.NewKeyring(token)
	require.NoError(t, err)
	return keyring.Sign([]byte(body))
}

// refuse puts a delivery into quarantine and gives its id.
func (b *explainBundle) refuse(body string, signatures ...string) string {
	b.t.Helper()
	require.NoError(b.t, b.quarantine.Keep(b.t.Context(), db.QuarantinedDelivery{
		ReceivedAt: time.Now().Add(-time.Hour).Truncate(time.Second), Reason: db.QuarantineMismatch,
		Signatures: signatures, Body: []byte(body),
	}))
	kept, err := b.quarantine.List(b.t.Context(), 1)
	require.NoError(b.t, err)
	return strconv.FormatInt(kept[0].ID, 10)
}

func (b *explainBundle) kept() int {
	b.t.Helper()
	kept, err := b.quarantine.List(b.t.Context(), 1000)
	require.NoError(b.t, err)
	return len(kept)
}

func (b *explainBundle) decode(value any) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(b.out.Bytes(), value), b.out.String())
}

func TestExplainTellsWhichTokenWouldHaveMatched(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	signature := signedWith(t, newToken, quarantinedBody)
	id := b.refuse(quarantinedBody, signature)
	require.NoError(t, b.run(id))
	require.Contains(t, b.out.String(), "no_match")
	require.Contains(t, b.out.String(), "regenerated")

	b.addToken()
	require.NoError(t, b.run(id))
	require.Regexp(t, `verdict +verifies`, b.out.String())
	require.Regexp(t, `key +token 1 of SMARTCAR_MANAGEMENT_TOKEN`, b.out.String())
	require.NotContains(t, b.out.String(), signature)
	require.NotContains(t, b.out.String(), "VIN-1")

	require.NoError(t, b.run(id, "--json"))
	var explained explainedDelivery
	b.decode(&explained)
	require.Equal(t, len(quarantinedBody), explained.BodyBytes)
	require.Equal(t, smartcar.VerdictVerifies, explained.Signatures[0].Verdict)

	require.NoError(t, b.run(id, "--payload"))
	require.True(t, bytes.Equal([]byte(quarantinedBody), b.out.Bytes()), "byte by byte")
	require.NoError(t, b.run(id, "--signature", "sha256="+signature))
	require.Contains(t, b.out.String(), "signature_form")
}

func TestExplainKnowsTheWebhookSecretAndSeveralSignatures(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	b.environment["SMARTCAR_WEBHOOK_SECRET"] = "a-webhook-secret"
	id := b.refuse(quarantinedBody, "cut", signedWith(t, "a-webhook-secret", quarantinedBody))
	require.NoError(t, b.run(id))
	require.Contains(t, b.out.String(), "2, and there must be exactly one")
	require.Contains(t, b.out.String(), "signature_malformed")
	require.Contains(t, b.out.String(), "SMARTCAR_WEBHOOK_SECRET")
	require.NoError(t, b.run(b.refuse(quarantinedBody)))
	require.Contains(t, b.out.String(), "signature_missing")
}

func TestAFileIsExplainedWithoutADatabase(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	delete(b.environment, "DATABASE_URL")
	file := filepath.Join(t.TempDir(), "body.json")
	require.NoError(t, os.WriteFile(file, []byte(quarantinedBody+"\n"), 0o600))
	require.NoError(t, b.run(file, "--signature", signedWith(t, oldToken, quarantinedBody)))
	require.Contains(t, b.out.String(), "without the white space at its end")
	require.ErrorContains(t, b.run(file), "--signature")
	require.ErrorIs(t, b.run(file+"x", "--signature", "00"), os.ErrNotExist)
	delete(b.environment, "SMARTCAR_MANAGEMENT_TOKEN")
	require.ErrorContains(t, b.run(file, "--signature", "00"), "SMARTCAR_MANAGEMENT_TOKEN is not set")
}

func TestOnlyWhatVerifiesNowIsReadmitted(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	id := b.refuse(quarantinedBody, signedWith(t, newToken, quarantinedBody))
	require.ErrorContains(t, b.run("--readmit", id), "1 of 1 stay in quarantine")
	require.Contains(t, b.out.String(), "matches no key")
	_, err := b.store.ShowEvent(t.Context(), "e-1")
	require.ErrorIs(t, err, db.ErrNotFound, "no effect on anything")

	b.addToken()
	require.NoError(t, b.run("--readmit", id, "--json"))
	var end readmission
	b.decode(&end)
	require.Equal(t, []string{"e-1"}, end.Admitted[0].EventIDs)
	require.False(t, end.Admitted[0].Duplicate)
	event, err := b.store.ShowEvent(t.Context(), "e-1")
	require.NoError(t, err)
	require.Equal(t, db.StatusReceived, event.Status)
	require.Equal(t, "v-1", event.SmartcarVehicleID)
	require.WithinDuration(t, time.Now().Add(-time.Hour), event.CreatedAt, 10*time.Minute, "when it came, not when it was re-admitted")
	payload, err := b.store.EventPayload(t.Context(), "e-1")
	require.NoError(t, err)
	require.True(t, bytes.Equal([]byte(quarantinedBody), payload), "byte by byte")
	require.Zero(t, b.kept())
	require.ErrorContains(t, b.run("--readmit", id), "there is no delivery "+id)
}

func TestReadmittingWhatIsInTheLedgerAlreadyIsHarmless(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	signature := signedWith(t, oldToken, quarantinedBody)
	first, second := b.refuse(quarantinedBody, signature), b.refuse(quarantinedBody, signature)
	require.NoError(t, b.run("--readmit", first, second))
	require.Contains(t, b.out.String(), first+": stored as e-1")
	require.Contains(t, b.out.String(), second+": was in the ledger already as e-1")
	require.Zero(t, b.kept())
}

func TestReadmittingAllLeavesWhatDoesNotVerify(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	b.addToken()
	verify := `{"eventType":"VERIFY","data":{"challenge":"challenge_1"}}`
	another := strings.Replace(quarantinedBody, "e-1", "e-2", 1)
	b.refuse(quarantinedBody, signedWith(t, newToken, quarantinedBody))
	forged := b.refuse(quarantinedBody, signedWith(t, "a-stranger's-token", quarantinedBody))
	b.refuse(another, signedWith(t, oldToken, another))
	b.refuse(another, "sha256="+signedWith(t, oldToken, another))
	b.refuse(verify, signedWith(t, oldToken, verify))
	b.refuse(another)
	require.NoError(t, b.run("--readmit", "--all"))
	require.Contains(t, b.out.String(), "2 re-admitted, 4 stay")
	require.Contains(t, b.out.String(), forged+": stays in quarantine")
	require.Equal(t, 4, b.kept())
	require.NoError(t, b.run("--readmit", "--all"), "again it finds nothing to do")
	require.Contains(t, b.out.String(), "0 re-admitted, 4 stay")
}

func TestTheQuarantineIsListedWithoutSignatures(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	signature := signedWith(t, newToken, quarantinedBody)
	id := b.refuse(quarantinedBody, signature)
	require.NoError(t, b.run("--list"))
	require.Regexp(t, id+` +mismatch +`+strconv.Itoa(len(quarantinedBody)), b.out.String())
	require.NotContains(t, b.out.String(), signature[:16])
	require.NoError(t, b.run("--list", "--json"))
	var kept []db.QuarantineSummary
	b.decode(&kept)
	require.Len(t, kept, 1)
}

func TestContradictoryArgumentsOfExplainAreRefused(t *testing.T) {
	t.Parallel()
	b := setupExplain(t)
	id := b.refuse(quarantinedBody)
	for _, arguments := range [][]string{
		{}, {id, id}, {"--list", id}, {"--list", "--readmit"}, {"--readmit"}, {"--all"}, {"--readmit", "--all", id},
		{"--readmit", id, "--signature", "00"}, {"--readmit", "body.json"}, {"--list", "--limit", "0"}, {"0"}, {"999999"},
	} {
		require.Error(t, b.run(arguments...), "%v", arguments)
	}
	require.Equal(t, 1, b.kept())
	delete(b.environment, "DATABASE_URL")
	require.ErrorContains(t, b.run("--list"), "DATABASE_URL")
}
