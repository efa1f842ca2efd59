package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strconv"
	"syscall"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

// devDynamicConfig suits one process on one machine: the limits that protect a
// shared cluster are raised out of a benchmark's way, and one partition per task
// queue spares the forwarding between partitions. Visibility is written four times
// a second, in larger batches, so that a workflow which closes at once costs one
// write instead of two; and the list of search attributes, which the dev server
// would read from its database for every workflow, is cached.
// Source: Temporal server 1.29, dynamic configuration.
func devDynamicConfig() map[string]string {
	const unlimited = "100000"

	return map[string]string{
		"system.enableEagerWorkflowStart":                "true",
		"frontend.rps":                                   unlimited,
		"system.forceSearchAttributesCacheRefreshOnRead": "false",
		"history.visibilityProcessorMaxPollRPS":          "4",
		"history.visibilityTaskBatchSize":                "1000",
		"frontend.namespaceRPS":                          unlimited,
		"frontend.namespaceRPS.visibility":               unlimited,
		"frontend.namespaceCount":                        unlimited,
		"frontend.persistenceMaxQPS":                     unlimited,
		"history.rps":                                    unlimited,
		"history.persistenceMaxQPS":                      unlimited,
		"matching.rps":                                   unlimited,
		"matching.persistenceMaxQPS":                     unlimited,
		"system.visibilityPersistenceMaxReadQPS":         unlimited,
		"system.visibilityPersistenceMaxWriteQPS":        unlimited,
		"matching.numTaskqueueReadPartitions":            "1",
		"matching.numTaskqueueWritePartitions":           "1",
	}
}

func (t *Temporal) launch(ctx context.Context) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, temporalStartLimit)
	defer cancel()

	persistent := t.options.DatabaseFile != ""
	if persistent {
		left := orphan{
			pidFile:  t.pidFile(),
			mark:     "--db-filename " + t.options.DatabaseFile + " ",
			politely: syscall.SIGINT,
			grace:    orphanGrace,
		}
		if err := left.stop(ctx, t.options.Progress); err != nil {
			return nil, err
		}
	}

	process, err := StartProcess(ProcessOptions{
		Name: temporalName,
		Path: t.options.Binary,
		Args: t.arguments(),
		// TEMPORAL_* speaks to clients, and may well name this very server.
		Env:        environmentWithout("TEMPORAL_"),
		LogFile:    t.options.LogFile,
		StopSignal: syscall.SIGINT,
	})
	if err != nil {
		return nil, err
	}
	if persistent {
		err = os.WriteFile(t.pidFile(), []byte(strconv.Itoa(process.Pid())+"\n"), logFileMode)
	}
	if err == nil {
		err = process.WaitReady(ctx, t.prepare)
	}
	if err != nil {
		stopErr := process.Kill()
		<-process.Exited()

		return nil, errors.Join(fmt.Errorf("%w (log: %s)", err, t.options.LogFile), stopErr)
	}

	return process, nil
}

func (t *Temporal) arguments() []string {
	arguments := []string{"server", "start-dev"}
	if t.options.DatabaseFile != "" {
		arguments = append(arguments, "--db-filename", t.options.DatabaseFile)
	}
	arguments = append(arguments,
		"--ip", loopback,
		"--port", strconv.Itoa(t.options.Port),
		"--http-port", strconv.Itoa(t.httpPort),
		"--metrics-port", strconv.Itoa(t.metricsPort),
		"--log-level", "warn",
		"--disable-config-file", "--disable-config-env",
	)
	if t.options.UIPort == Headless {
		arguments = append(arguments, "--headless")
	} else {
		arguments = append(arguments, "--ui-port", strconv.Itoa(t.options.UIPort))
	}
	for _, pair := range sortedPairs(t.options.SearchAttributes) {
		arguments = append(arguments, "--search-attribute", pair)
	}
	config := devDynamicConfig()
	maps.Copy(config, t.options.DynamicConfig)
	for _, pair := range sortedPairs(config) {
		arguments = append(arguments, "--dynamic-config-value", pair)
	}

	return arguments
}

// prepare succeeds once the namespace answers and has the search attributes: the
// server registers those it is given only when it creates the namespace.
func (t *Temporal) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()

	connection, err := client.DialContext(ctx, client.Options{
		HostPort:  t.Address(),
		Namespace: temporalNamespace,
		Logger:    log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer connection.Close()

	operator := connection.OperatorService()
	listed, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: temporalNamespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := make(map[string]enums.IndexedValueType)
	for name, kind := range t.options.SearchAttributes {
		if _, ok := listed.GetCustomAttributes()[name]; ok {
			continue
		}
		if missing[name], err = enums.IndexedValueTypeFromString(kind); err != nil {
			return fmt.Errorf("search attribute %s: %w", name, err)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: temporalNamespace, SearchAttributes: missing,
	})
	if err != nil {
		return fmt.Errorf("add search attributes: %w", err)
	}

	return nil
}
