// Package dbtest gives every test a PostgreSQL database of its own.
//
// One server serves a whole test binary. A template database is migrated once,
// and each test gets a copy of it, which takes some tens of milliseconds and
// lets tests run in parallel. Nothing is started before the first test that asks.
//
//	func TestMain(m *testing.M) { os.Exit(dbtest.Main(m, db.Migrate)) }
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		url := dbtest.New(t)
//		…
//	}
//
// If DATABASE_URL is set, the databases are made on that server, and removed
// again; its account must be allowed to create databases.
package dbtest
