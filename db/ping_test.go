package db_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestAPingReadsNextToNothingHoweverMuchWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var waiting []db.Delivery
	for n := range 100 {
		waiting = append(waiting, delivery(fmt.Sprint("waiting-", n)))
	}
	_, err := b.ledger.Append(t.Context(), waiting)
	require.NoError(t, err)
	b.store.Close()
	before := b.rowsRead(t)

	store, err := db.Open(t.Context(), db.Config{URL: b.url})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	require.NoError(t, store.Ping(t.Context()))
	store.Close()
	require.LessOrEqual(t, b.rowsRead(t)-before, 1)
}

// rowsRead is how many rows of the ledger have ever been read. PostgreSQL is sure to have counted them all only when
// nobody else is connected.
func (b *bundle) rowsRead(t *testing.T) (rows int) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var others int
		return connection.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`).Scan(&others) == nil && others == 0
	}, 10*time.Second, 20*time.Millisecond)
	require.NoError(t, connection.QueryRow(t.Context(), `SELECT
		(SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'smartcar_webhook_events') +
		(SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'smartcar_webhook_events')`).Scan(&rows))
	require.NoError(t, connection.Close(t.Context()))
	return rows
}

func TestAPingFailsWithoutTheLedger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.store.Ping(t.Context()))
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	_, err = connection.Exec(t.Context(), "ALTER TABLE smartcar_webhook_events RENAME TO elsewhere")
	require.NoError(t, err)
	require.NoError(t, connection.Close(t.Context()))
	require.Error(t, b.store.Ping(t.Context()))
}
