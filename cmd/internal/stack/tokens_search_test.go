package stack_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"github.com/milepost/milepost/workflows/contract"
)

// requireNoTokenAtRest looks where tokens might be left by whatever a test has done.
func (c *custody) requireNoTokenAtRest() {
	c.t.Helper()
	c.requireNoToken(map[string][]byte{"dump": c.dump(), "histories": c.histories()})
}

// requireNoToken looks for every token in every text and every log, as it is and as a
// dump or a history would encode it.
func (c *custody) requireNoToken(texts map[string][]byte) {
	c.t.Helper()
	// The log of another milepost serve is called milepost.log.<its roles>.
	logs, err := filepath.Glob(filepath.Join(filepath.Dir(c.ServeLog()), "*.log*"))
	require.NoError(c.t, err)
	require.Contains(c.t, logs, c.ServeLog())
	for _, path := range logs {
		texts[path], err = os.ReadFile(path)
		require.NoError(c.t, err)
	}
	issued := c.platform.IssuedTokens()
	require.NotEmpty(c.t, issued)
	forms := newForms(issued)
	size := 0
	for where, text := range texts {
		require.NotEmpty(c.t, text, where)
		size += len(text)
		require.False(c.t, forms.in(text), "a token is readable in %s", where)
	}
	c.t.Logf("%d tokens and codes, none of them in %d kB of %d texts", len(issued), size/1024, len(texts))
}

// forms are the ways in which tokens may be written, by how they begin, so that a
// text is read once however many they are.
type forms map[string][][]byte

const formBegins = 12

func newForms(tokens []string) forms {
	all := forms{}
	add := func(form string) { all[form[:formBegins]] = append(all[form[:formBegins]], []byte(form)) }
	for _, token := range tokens {
		add(token)
		add(hex.EncodeToString([]byte(token)))
		// Base64 takes three bytes at a time: what it makes of a token depends on what is before it.
		for skipped := range 3 {
			whole := token[skipped : skipped+(len(token)-skipped)/3*3]
			add(base64.StdEncoding.EncodeToString([]byte(whole)))
			add(base64.URLEncoding.EncodeToString([]byte(whole)))
		}
	}
	return all
}

func (f forms) in(text []byte) bool {
	for at := range max(0, len(text)-formBegins+1) {
		for _, form := range f[string(text[at:at+formBegins])] {
			if bytes.HasPrefix(text[at:], form) {
				return true
			}
		}
	}
	return false
}

// dump is what a backup holds.
func (c *custody) dump() []byte {
	c.t.Helper()
	path, err := exec.LookPath("pg_dump")
	if err != nil {
		return c.tables() // a PostgreSQL that was downloaded comes without
	}
	dump, err := exec.CommandContext(c.t.Context(), path, c.DatabaseURL()).Output()
	require.NoError(c.t, err)
	require.Contains(c.t, string(dump), "COPY public.smartcar_tokens")
	return dump
}

// tables is the content of every table, written as pg_dump does.
func (c *custody) tables() []byte {
	c.t.Helper()
	names := c.list(`SELECT schemaname || '.' || tablename FROM pg_tables
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`)
	require.Contains(c.t, names, "public.smartcar_tokens")
	connection, err := c.pool.Acquire(c.t.Context())
	require.NoError(c.t, err)
	defer connection.Release()
	var content bytes.Buffer
	for _, name := range names {
		schema, table, _ := strings.Cut(name, ".")
		from := pgx.Identifier{schema, table}.Sanitize()
		_, err := connection.Conn().PgConn().CopyTo(c.t.Context(), &content, "COPY (TABLE "+from+") TO STDOUT")
		require.NoError(c.t, err)
	}
	require.Contains(c.t, content.String(), c.cars[0].VehicleID, "there is something to find")
	return content.Bytes()
}

// executions are all runs of all workflows, once they can be listed, which is a moment later.
func (c *custody) executions() (runs []*commonpb.WorkflowExecution) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		runs = nil
		var next []byte
		for {
			listed, err := c.temporal.ListWorkflow(c.t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
				PageSize: 1000, NextPageToken: next,
			})
			require.NoError(c.t, err)
			for _, execution := range listed.GetExecutions() {
				runs = append(runs, execution.GetExecution())
			}
			if next = listed.GetNextPageToken(); len(next) == 0 {
				break
			}
		}
		return slices.ContainsFunc(runs, func(run *commonpb.WorkflowExecution) bool {
			return run.GetWorkflowId() == contract.TokenRefreshID(c.cars[0].VehicleID)
		})
	}, soon, 100*time.Millisecond)
	return runs
}

// histories are all histories as they are stored; in JSON payloads would be base64.
func (c *custody) histories() []byte {
	c.t.Helper()
	var all []byte
	for _, run := range c.executions() {
		encoded, err := proto.Marshal(c.historyOf(run.GetWorkflowId(), run.GetRunId()))
		require.NoError(c.t, err)
		all = append(all, encoded...)
	}
	require.Contains(c.t, string(all), c.cars[0].VehicleID, "there is something to find")
	return all
}

// temporalShow is what an operator sees at the command line.
func (c *custody) temporalShow() []byte {
	c.t.Helper()
	path, err := exec.LookPath("temporal")
	if err != nil {
		path, err = filepath.Abs("../../../.tools/bin/temporal")
	}
	require.NoError(c.t, err)
	var shown []byte
	for _, run := range c.executions() {
		output, err := exec.CommandContext(c.t.Context(), path, "workflow", "show", "--address", c.Temporal.Address(),
			"--workflow-id", run.GetWorkflowId(), "--run-id", run.GetRunId(), "--output", "json").Output()
		require.NoError(c.t, err)
		shown = append(shown, output...)
	}
	return shown
}

func TestATokenIsFoundHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	const token, other = "1f0c52aa-5f55-4b53-8f0e-6f6b1f2d9c01", "7e0c6bb2-40ce-4f0f-9d57-7f0a3bb1c001"
	sought := newForms([]string{other, token})
	require.False(t, sought.in(nil))
	require.False(t, sought.in([]byte(token[1:]+token[:len(token)-1])))
	for _, before := range []string{"", "a", "ab", "abc"} {
		text := before + token + before
		for _, written := range []string{
			text, hex.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text)),
			base64.RawURLEncoding.EncodeToString([]byte(text)),
		} {
			require.True(t, sought.in([]byte(written)), written)
		}
	}
}
