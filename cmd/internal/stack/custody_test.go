package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/deploy/devstack"
	"github.com/milepost/milepost/workflows/contract"
)

var errNotExchanged = errors.New("not exchanged, only looked at")

// kills is how often the process is killed at each point.
const kills = 20

const tokenPath = "/oauth/token"

// TestNoFamilyIsLostWhenMilepostIsKilledAroundARefresh kills `milepost serve` with
// SIGKILL at three points of a refresh, each time with another vehicle's tokens in
// its hands. The points are held, not hit by luck: by the simulated Smartcar, by a
// lock on the table, and by a Temporal server that is stopped.
//
//nolint:paralleltest // tests under load run one at a time
func TestNoFamilyIsLostWhenMilepostIsKilledAroundARefresh(t *testing.T) {
	for name, point := range map[string]func(c *custody, vehicle string){
		"before the call": (*custody).killBeforeTheCall,
		"after Smartcar answered and before the commit":    (*custody).killBeforeTheCommit,
		"after the commit and before Temporal hears of it": (*custody).killAfterTheCommit,
	} {
		t.Run(name, func(t *testing.T) {
			c := setupCustody(t, kills, stack.Options{})
			c.connectAll()
			for _, car := range c.cars {
				before := c.generation(car.VehicleID)
				point(c, car.VehicleID)
				c.awaitGeneration(car.VehicleID, before+1)
			}
			for _, car := range c.cars {
				c.awaitSleeping(car.VehicleID)
			}
			c.requireNothingLost()
			c.requireAnotherRefreshWorks()
			c.requireNothingLost()
			c.requireNoTokenAtRest()
		})
	}
}

// killed kills milepost and waits for the one that takes its place.
func (c *custody) killed() {
	c.t.Helper()
	before := c.Milepost.Process()
	require.NoError(c.t, before.Kill())
	<-before.Exited()
	require.Eventually(c.t, func() bool { return c.Milepost.Process() != before }, soon, 10*time.Millisecond)
}

// killBeforeTheCall: the attempt is committed, and Smartcar has not done anything.
func (c *custody) killBeforeTheCall(vehicle string) {
	hold := make(chan struct{})
	fault := c.holdRefresh(vehicle, smartcartest.Fault{HoldBefore: hold})
	c.refreshNow(vehicle)
	c.await(fault.Arrived())
	c.killed()
	c.await(fault.Abandoned())
	close(hold)
	fault.Clear()
}

// killBeforeTheCommit: Smartcar has rotated the token and answered, and the new pair
// waits in Milepost for a lock on the table that the test holds.
func (c *custody) killBeforeTheCommit(vehicle string) {
	hold := make(chan struct{})
	fault := c.holdRefresh(vehicle, smartcartest.Fault{HoldAfter: hold})
	c.refreshNow(vehicle)
	c.await(fault.Arrived())
	blocking, err := c.pool.Begin(c.t.Context())
	require.NoError(c.t, err)
	_, err = blocking.Exec(c.t.Context(), `LOCK TABLE smartcar_tokens IN SHARE MODE`)
	require.NoError(c.t, err)
	close(hold)
	require.Eventually(c.t, func() bool {
		return c.count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%StoreTokens%'`) == 1
	}, soon, time.Millisecond, "the new pair does not wait to be stored")
	before := c.Milepost.Process()
	require.NoError(c.t, before.Kill())
	<-before.Exited()
	require.NoError(c.t, blocking.Rollback(c.t.Context()))
	fault.Clear()
	require.Eventually(c.t, func() bool { return c.Milepost.Process() != before }, soon, 10*time.Millisecond)
}

// killAfterTheCommit: the new pair is stored, and Temporal does not know.
func (c *custody) killAfterTheCommit(vehicle string) {
	before := c.generation(vehicle)
	hold := make(chan struct{})
	fault := c.holdRefresh(vehicle, smartcartest.Fault{HoldAfter: hold})
	c.refreshNow(vehicle)
	c.await(fault.Arrived())
	temporal, err := os.FindProcess(c.Temporal.Process().Pid())
	require.NoError(c.t, err)
	require.NoError(c.t, temporal.Signal(syscall.SIGSTOP))
	close(hold)
	c.awaitGeneration(vehicle, before+1)
	process := c.Milepost.Process()
	require.NoError(c.t, process.Kill())
	<-process.Exited()
	require.NoError(c.t, temporal.Signal(syscall.SIGCONT))
	fault.Clear()
	require.Eventually(c.t, func() bool { return c.Milepost.Process() != process }, soon, 10*time.Millisecond)
}

// holdRefresh sets a fault for the next refresh of this vehicle's family, and of no
// other: what an earlier kill has left is still being finished.
func (c *custody) holdRefresh(vehicle string, fault smartcartest.Fault) *smartcartest.InjectedFault {
	c.t.Helper()
	for _, family := range c.platform.Families() {
		if slices.Contains(family.VehicleIDs, vehicle) {
			fault.FamilyID = family.ID
		}
	}
	require.NotEmpty(c.t, fault.FamilyID, "%s has no tokens", vehicle)
	fault.Path, fault.Times = tokenPath, 1
	return c.platform.Fault(fault)
}

func (c *custody) await(signal <-chan struct{}) {
	c.t.Helper()
	select {
	case <-signal:
	case <-time.After(soon):
		require.Fail(c.t, "what was awaited did not happen")
	}
}

// requireAnotherRefreshWorks shows that nothing stands in the way of the next one.
func (c *custody) requireAnotherRefreshWorks() {
	c.t.Helper()
	before := map[string]int64{}
	for _, car := range c.cars {
		before[car.VehicleID] = c.generation(car.VehicleID)
		c.refreshNow(car.VehicleID)
	}
	for _, car := range c.cars {
		c.awaitGeneration(car.VehicleID, before[car.VehicleID]+1)
	}
	for _, car := range c.cars {
		c.awaitSleeping(car.VehicleID)
	}
}

// TestAProcessThatIsToldToStopWithoutADatabaseStoresItsPairFirst: SIGTERM finds a pair that
// is nowhere but in the process's memory. What waits for activities to end waits for 35 s only.
//
//nolint:paralleltest // tests under load run one at a time
func TestAProcessThatIsToldToStopWithoutADatabaseStoresItsPairFirst(t *testing.T) {
	c := setupCustody(t, 1, stack.Options{})
	c.connectAll()
	vehicle := c.cars[0].VehicleID
	hold := make(chan struct{})
	fault := c.holdRefresh(vehicle, smartcartest.Fault{HoldAfter: hold})
	c.refreshNow(vehicle)
	c.await(fault.Arrived())
	sessions := children(t, c.Postgres.Process().Pid())
	require.NoError(t, c.Postgres.Kill())
	require.NoError(t, c.Postgres.Stop(t.Context()), "it is not to come back by itself")
	// A session outlives its server for a moment, in which it would still commit the pair.
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(sessions, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	}, soon, 10*time.Millisecond)
	close(hold)
	c.awaitLogged("tokens.not_stored")
	process := c.Milepost.Process()
	require.NoError(t, syscall.Kill(process.Pid(), syscall.SIGTERM))
	c.awaitLogged("tokens.waiting_to_be_stored")
	require.NoError(t, c.Postgres.Start(t.Context()))
	c.await(process.Exited())
	fault.Clear()
	c.awaitGeneration(vehicle, 2)
	c.requireNothingLost()
}

// awaitLogged waits for an event in the log of `milepost serve`.
func (c *custody) awaitLogged(event string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		log, err := os.ReadFile(c.ServeLog())
		return err == nil && bytes.Contains(log, []byte(event))
	}, 2*soon, 50*time.Millisecond, event)
}

// TestTwoWorkersThatMustRefreshOneFamilyMakeOneExchange runs two processes, and one
// family of two vehicles whose workflows are both told to refresh.
//
//nolint:paralleltest // tests under load run one at a time
func TestTwoWorkersThatMustRefreshOneFamilyMakeOneExchange(t *testing.T) {
	c := setupCustody(t, 1, stack.Options{})
	second := c.cars[0]
	second.VehicleID = "second-of-the-family"
	c.connectAll()
	status, err := c.Vault.TokenStatus(t.Context(), c.cars[0].VehicleID)
	require.NoError(t, err)
	_, err = c.Store.ConnectVehicle(t.Context(), db.ConnectedVehicle{
		SmartcarVehicleID: second.VehicleID, OwnerEmail: "simulated-driver@milepost.example", TokenID: status.TokenID,
	})
	require.NoError(t, err)
	c.awaitSleeping(second.VehicleID)
	c.secondWorker()
	before := c.platform.Requests(tokenPath)
	hold := make(chan struct{})
	fault := c.platform.Fault(smartcartest.Fault{Path: tokenPath, HoldBefore: hold})
	c.refreshNow(c.cars[0].VehicleID)
	c.refreshNow(second.VehicleID)
	c.await(fault.Arrived())
	// Both activities are under way; the second waits for the row that the first holds.
	require.Eventually(t, func() bool {
		return c.count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%LockTokens%'`) == 1
	}, soon, 10*time.Millisecond)
	close(hold)
	c.awaitGeneration(second.VehicleID, 2)
	c.awaitSleeping(c.cars[0].VehicleID)
	c.awaitSleeping(second.VehicleID)
	require.Equal(t, before+1, c.platform.Requests(tokenPath))
	require.Equal(t, int64(2), c.generation(second.VehicleID))
	c.requireNothingLost()
	c.requireNoTokenAtRest()
}

// secondWorker starts one more process with a worker, and waits until it polls.
func (c *custody) secondWorker() {
	c.t.Helper()
	c.another("worker", c.freeAddress())
	require.Eventually(c.t, func() bool {
		queue, err := c.temporal.DescribeTaskQueue(c.t.Context(), contract.SmartcarTaskQueue, enumspb.TASK_QUEUE_TYPE_ACTIVITY)
		return err == nil && len(queue.GetPollers()) >= 2
	}, soon, 100*time.Millisecond, "the second worker does not poll")
}

// another starts one more `milepost serve` with these roles, which listens on the given address.
func (c *custody) another(roles, address string) *devstack.Process {
	c.t.Helper()
	environment := os.Environ()
	for name, value := range c.Environment() {
		environment = append(environment, name+"="+value)
	}
	environment = append(environment, "MILEPOST_LISTEN="+address, "MILEPOST_ADMIN_LISTEN="+c.freeAddress())
	process, err := devstack.StartProcess(devstack.ProcessOptions{
		Name: "another milepost serve", Path: binary, Args: []string{"serve", "--roles=" + roles}, Env: environment,
		LogFile: c.ServeLog() + "." + roles,
	})
	require.NoError(c.t, err)
	after := context.WithoutCancel(c.t.Context())
	c.t.Cleanup(func() { require.NoError(c.t, process.Stop(after)) })
	return process
}

func (c *custody) freeAddress() string {
	c.t.Helper()
	ports, err := devstack.FreePorts(1)
	require.NoError(c.t, err)
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}
