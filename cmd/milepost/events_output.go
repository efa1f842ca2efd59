package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/milepost/milepost/db"
)

const columnPadding = 2

func writeJSON(output io.Writer, value any) error {
	encoder := json.NewEncoder(output)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func writeEventTable(output io.Writer, events []db.EventSummary) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	_, err := fmt.Fprintln(table, "RECEIVED\tEVENT\tTYPE\tVEHICLE\tSTATUS\tENDED AS\tDELIVERIES")
	for _, event := range events {
		_, rowErr := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n",
			event.CreatedAt.UTC().Format(time.RFC3339), event.EventID, event.EventType,
			orDash(event.SmartcarVehicleID), event.Status, orDash(endedAs(event)), event.DeliveryCount)
		err = errors.Join(err, rowErr)
	}
	return errors.Join(err, table.Flush())
}

func writeEvent(output io.Writer, event db.EventDetail) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	var faults []error
	line := func(name, value string) {
		_, err := fmt.Fprintf(table, "%s\t%s\n", name, orDash(value))
		faults = append(faults, err)
	}
	line("event", event.EventID)
	line("type", event.EventType)
	line("mode", event.Mode)
	line("vehicle", event.SmartcarVehicleID)
	line("status", event.Status)
	line("ended as", endedAs(event.EventSummary))
	if event.FailureDetail != nil {
		line("detail", *event.FailureDetail)
	}
	line("received", event.CreatedAt.UTC().Format(time.RFC3339))
	line("deliveries", fmt.Sprintf("%d, the last %s", event.DeliveryCount, event.LastDeliveredAt.UTC().Format(time.RFC3339)))
	line("payload", fmt.Sprintf("%d bytes (--payload prints them)", event.PayloadBytes))
	for _, audit := range event.Audits {
		line("audit", fmt.Sprintf("%s %s by %s %s", audit.CreatedAt.UTC().Format(time.RFC3339), audit.Action, audit.Actor, audit.Reason))
	}
	return errors.Join(append(faults, table.Flush())...)
}

// endedAs is the outcome or the failure class, whichever there is.
func endedAs(event db.EventSummary) string {
	switch {
	case event.Outcome != nil:
		return *event.Outcome
	case event.FailureClass != nil:
		return *event.FailureClass
	default:
		return ""
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
