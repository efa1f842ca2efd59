package stack_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/workflows"
)

// TestEveryExamplePayloadEndsInItsOutcome posts the example bodies one after the
// other: they tell of the same cars, so what a reading comes to depends on the
// ones before it.
func TestEveryExamplePayloadEndsInItsOutcome(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{})
	fleet := b.load(1)
	var eventIDs []string
	var posted [][]byte
	for _, step := range []struct{ file, end string }{
		{"verify-v4", ""},
		{"verify-minimal", ""},
		{"legacy-v2-verify", ""},
		{"vehicle-state-odometer-v4", "meter_entry"},
		{"vehicle-state-odometer-v4-retry", "meter_entry"}, // the same event: its second delivery
		{"vehicle-state-docs-shape-v4", "duplicate_reading"},
		{"vehicle-state-ev-full-v4", "duplicate_reading"},
		{"vehicle-state-first-delivery-v4", "duplicate_reading"},
		{"vehicle-state-partial-errors-v4", "duplicate_reading"},
		{"legacy-v2-eventdata", "duplicate_reading"},
		{"vehicle-state-ice-v4", "meter_entry"},
		{"legacy-v3-vehicle-state", "no_odometer"},
		{"seed-style-simple", "lower_reading"},
		{"vehicle-state-test-mode-v4", "test_delivery"},
		{"vehicle-error-auth-failed-v4", "vehicle_error"},
		{"vehicle-error-docs-shape-v4", "vehicle_error"},
		{"vehicle-error-remote-access-disabled-v4", "vehicle_error"},
		{"vehicle-error-resolved-v4", "vehicle_error"},
		{"vehicle-error-subscription-v4", "vehicle_error"},
		{"vehicle-error-unreachable-v4", "vehicle_error"},
		{"vehicle-error-v4", "vehicle_error"},
		{"seed-style-error", "vehicle_error"},
	} {
		body, err := os.ReadFile(filepath.Join(payloads, step.file+".json"))
		require.NoError(t, err)
		b.post(fleet, body)
		posted = append(posted, body)
		if step.end == "" {
			continue
		}
		delivery, err := smartcar.Decode(body)
		require.NoError(t, err)
		eventID := delivery.Events[0].ID
		require.Equal(t, step.end, b.ended(eventID), step.file)
		eventIDs = append(eventIDs, eventID)
	}

	require.Len(t, eventIDs, len(webhookPayloads(t))-3, "every webhook body but the three VERIFYs")
	require.Equal(t, 2, b.count("SELECT count(*) FROM meter_entries"))
	deliveries := b.count("SELECT delivery_count FROM smartcar_webhook_events WHERE event_id = $1", eventIDs[0])
	require.GreaterOrEqual(t, deliveries, 2)
	require.LessOrEqual(t, deliveries, 2+b.refused)
	require.Zero(t, b.count(`SELECT count(*) FROM vehicle_data WHERE smartcar_vehicle_id = '36ab27d0-fd9d-4455-823a-ce30af709ffc'`),
		"the values of a test delivery are stored nowhere")
	b.requireNothingSecret(eventIDs, posted)
	b.replay(eventIDs)
}

// webhookPayloads are the example files that are webhook bodies, not answers of an API.
func webhookPayloads(t *testing.T) (files []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(payloads, "*.json"))
	require.NoError(t, err)
	for _, file := range all {
		name := filepath.Base(file)
		if !strings.HasPrefix(name, "rest-") && !strings.HasPrefix(name, "oauth-") && !strings.HasPrefix(name, "iam-") {
			files = append(files, file)
		}
	}
	return files
}

// personal are the members of a body that must stay where they are stored.
var personal = regexp.MustCompile(`"(vin|latitude|longitude)": *"?([^",}\s]+)`)

// requireNothingSecret looks for what must appear in no log and no history.
func (b *bundle) requireNothingSecret(eventIDs []string, posted [][]byte) {
	b.t.Helper()
	log, err := os.ReadFile(b.ServeLog())
	require.NoError(b.t, err)
	texts := map[string]string{"the log": strings.ToLower(string(log))}
	for _, eventID := range eventIDs {
		history, err := proto.Marshal(b.history(eventID)) // in JSON payloads would be base64
		require.NoError(b.t, err)
		texts["the history of "+eventID] = strings.ToLower(string(history))
	}
	keyring, err := smartcar.NewKeyring(b.ManagementToken())
	require.NoError(b.t, err)
	secrets := map[string]string{b.ManagementToken(): "the management token"}
	for _, body := range posted {
		secrets[keyring.Sign(body)] = "a signature"
		for _, found := range personal.FindAllSubmatch(body, -1) {
			secrets[string(found[2])] = "a " + string(found[1])
		}
	}
	require.Len(b.t, secrets, 1+len(posted)+3, "there is something to find: a VIN and a place")
	for where, text := range texts {
		for secret, what := range secrets {
			found := strings.Contains(text, strings.ToLower(secret))
			require.False(b.t, found, "%s in %s", what, where) // without the text
		}
	}
}

// history is a workflow's whole history, once it is closed, which is a moment after its event is.
func (b *bundle) history(workflowID string) *historypb.History {
	b.t.Helper()
	err := b.temporal.GetWorkflow(b.t.Context(), workflowID, "").Get(b.t.Context(), nil)
	if _, failed := errors.AsType[*temporal.WorkflowExecutionError](err); !failed {
		require.NoError(b.t, err)
	}
	return b.historyOf(workflowID, "")
}

// historyOf is the history so far of one run of a workflow, or with "" of the last one.
func (b *bundle) historyOf(workflowID, runID string) *historypb.History {
	b.t.Helper()
	history := &historypb.History{}
	events := b.temporal.GetWorkflowHistory(b.t.Context(), workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(b.t, err)
		history.Events = append(history.Events, event)
	}
	return history
}

// replay replays what ran, and with -record keeps it for workflows' replay test.
func (b *bundle) replay(workflowIDs []string) {
	b.t.Helper()
	for _, workflowID := range workflowIDs {
		b.replayHistory(b.ended(workflowID), b.history(workflowID))
	}
}

func (b *bundle) replayHistory(name string, history *historypb.History) {
	b.t.Helper()
	replayer := worker.NewWorkflowReplayer()
	workflows.Register(replayer)
	require.NoError(b.t, replayer.ReplayWorkflowHistory(nil, history))
	if *record != "" {
		path := filepath.Join(*record, name+".json")
		require.NoError(b.t, os.WriteFile(path, []byte(protojson.Format(history)), 0o644))
	}
}
