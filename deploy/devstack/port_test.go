package devstack_test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/deploy/devstack"
)

// portsRole makes the test binary take ports, print them, and keep them until its input ends.
const portsRole = "DEVSTACK_TEST_PORTS"

// manyPorts are enough that two who knew nothing of each other would pick dozens of the same.
func manyPorts() (ports []int, err error) {
	const calls, count = 10, 100
	for range calls {
		picked, err := devstack.FreePorts(count)
		if err != nil {
			return nil, err
		}
		ports = append(ports, picked...)
	}

	return ports, nil
}

func playPortTaker() int {
	ports, err := manyPorts()
	if err != nil {
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(ports); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // The end is what is waited for.

	return 0
}

func TestFreePortsAreGivenOnce(t *testing.T) {
	t.Parallel()
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), portsRole+"=1")
	input, err := other.StdinPipe()
	require.NoError(t, err)
	output, err := other.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())
	var theirs []int
	require.NoError(t, json.NewDecoder(output).Decode(&theirs))

	ours, err := manyPorts()
	require.NoError(t, err)
	seen := make(map[int]bool)
	for _, port := range append(theirs, ours...) {
		require.False(t, seen[port], "port %d is given twice", port)
		seen[port] = true
	}
	require.NoError(t, input.Close())
	require.NoError(t, other.Wait())
}
