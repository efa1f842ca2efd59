package dbtest_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m, migrate)) }

// migrate stands in for a real schema.
func migrate(ctx context.Context, databaseURL string) error {
	connection, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	_, err = connection.Exec(ctx, "CREATE TABLE migrated (id bigint PRIMARY KEY)")

	return errors.Join(err, connection.Close(ctx))
}

func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close(context.WithoutCancel(t.Context())) }) // Its server may be gone.

	return connection
}

func insert(t *testing.T, connection *pgx.Conn, id int) {
	t.Helper()
	_, err := connection.Exec(t.Context(), "INSERT INTO migrated VALUES ($1)", id)
	require.NoError(t, err)
}

func count(t *testing.T, connection *pgx.Conn) int {
	t.Helper()
	var rows int
	require.NoError(t, connection.QueryRow(t.Context(), "SELECT count(*) FROM migrated").Scan(&rows))

	return rows
}

func TestEachTestHasAMigratedDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one", "another", "a third", "a fourth"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection := connect(t, dbtest.New(t))
			require.Zero(t, count(t, connection))
			insert(t, connection, 1)
			require.Equal(t, 1, count(t, connection))
		})
	}
}

//nolint:tparallel // The subtest must have ended before its database is looked for.
func TestADatabaseIsDroppedEvenWhileItIsInUse(t *testing.T) {
	t.Parallel()
	witness := connect(t, dbtest.New(t))

	var name string
	t.Run("in a test that leaves its connection open", func(t *testing.T) {
		databaseURL := dbtest.New(t)
		address, err := url.Parse(databaseURL)
		require.NoError(t, err)
		name = address.Path[1:]
		_, err = pgx.Connect(t.Context(), databaseURL)
		require.NoError(t, err)
	})

	var exists bool
	query := "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
	require.NoError(t, witness.QueryRow(t.Context(), query, name).Scan(&exists))
	require.False(t, exists)
}

func TestAServerOfItsOwnCanBeKilledAndComesBackWithItsData(t *testing.T) {
	t.Parallel()
	server := dbtest.NewServer(t)
	address := server.URL()
	connection, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	insert(t, connection, 1)

	require.NoError(t, server.Kill())
	require.Eventually(t, func() bool { return connection.Ping(t.Context()) != nil }, 30*time.Second, time.Millisecond)
	_, err = pgx.Connect(t.Context(), address)
	require.Error(t, err)

	require.NoError(t, server.Start(t.Context()))
	require.Equal(t, address, server.URL())
	require.Equal(t, 1, count(t, connect(t, address)))
}

// TestAnExistingServerIsUsed runs another test of this binary against a given server.
func TestAnExistingServerIsUsed(t *testing.T) {
	t.Parallel()
	server := dbtest.NewServer(t)
	again := func(databaseURL string) (string, error) {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestEachTest")
		command.Env = append(os.Environ(), "DATABASE_URL="+databaseURL)
		output, err := command.CombinedOutput()

		return string(output), err
	}

	output, err := again(server.URL())
	require.NoError(t, err, output)

	var left int
	query := `SELECT count(*) FROM pg_database WHERE datname LIKE 'milepost\_test\_%'`
	require.NoError(t, connect(t, server.URL()).QueryRow(t.Context(), query).Scan(&left))
	require.Zero(t, left, "everything is dropped")

	require.NoError(t, server.Kill())
	_, err = again(server.URL())
	require.Error(t, err, "it was this server and no other")

	output, err = again("no URL:secret")
	require.Error(t, err)
	require.Contains(t, output, "DATABASE_URL must look like")
	require.NotContains(t, output, "secret")
}
