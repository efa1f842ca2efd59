package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/contrib/opentelemetry"
	temporallog "go.temporal.io/sdk/log"

	"go.opentelemetry.io/otel/metric"

	"github.com/milepost/milepost/workflows/contract"
)

const (
	temporalRetryPause = time.Second
	temporalTimeout    = 5 * time.Second
)

// NewTemporalClient reads TEMPORAL_* from the environment and does not connect
// yet: Milepost starts, and acknowledges webhooks, while Temporal is down.
func NewTemporalClient(logger *slog.Logger, meter metric.Meter) (client.Client, string, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, "", fmt.Errorf("read TEMPORAL_* settings: %w", err)
	}
	options.Logger = temporallog.NewStructuredLogger(logger)
	if meter != nil {
		options.MetricsHandler = opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{Meter: meter})
	}
	// Our messages are a few hundred bytes: gzip, the default, costs both ends more than it saves.
	options.ConnectionOptions.GrpcCompression = &client.GrpcCompressionNone{}
	if options.Namespace == "" {
		options.Namespace = client.DefaultNamespace
	}
	temporalClient, err := client.NewLazyClient(options)
	if err != nil {
		return nil, "", fmt.Errorf("prepare the Temporal client: %w", err)
	}
	return temporalClient, options.Namespace, nil
}

// RegisterSearchAttributes makes Milepost's search attributes known to the
// namespace. Those that are there already are left alone.
func RegisterSearchAttributes(ctx context.Context, temporalClient client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, temporalTimeout)
	defer cancel()
	operator := temporalClient.OperatorService()
	known, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for _, name := range contract.SearchAttributes() {
		if _, found := known.GetCustomAttributes()[name]; !found {
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: missing,
	})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("add search attributes: %w", err)
	}
	return nil
}

// awaitTemporal returns once Temporal answers and has the search attributes, or ctx is done.
func awaitTemporal(ctx context.Context, temporalClient client.Client, namespace string, logger *slog.Logger) error {
	for {
		err := RegisterSearchAttributes(ctx, temporalClient, namespace)
		switch {
		case err == nil:
			return nil
		case isDenied(err):
			logger.Warn("temporal.search_attributes_not_checked",
				slog.String("do", "make sure that the namespace has them; `milepost migrate --help` lists them"))
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		logger.Warn("temporal.unavailable", slog.String("error", err.Error()))
		select {
		case <-time.After(temporalRetryPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func isDenied(err error) bool {
	_, denied := errors.AsType[*serviceerror.PermissionDenied](err)
	return denied
}
