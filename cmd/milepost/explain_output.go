package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/milepost/milepost/db"
)

func writeQuarantineTable(output io.Writer, kept []db.QuarantineSummary) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	_, err := fmt.Fprintln(table, "RECEIVED\tID\tSIGNATURE\tBYTES")
	for _, summary := range kept {
		_, rowErr := fmt.Fprintf(table, "%s\t%d\t%s\t%d\n",
			summary.ReceivedAt.UTC().Format(time.RFC3339), summary.ID, summary.Reason, summary.BodyBytes)
		err = errors.Join(err, rowErr)
	}
	return errors.Join(err, table.Flush())
}

func writeExplanation(output io.Writer, delivery explainedDelivery) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	var faults []error
	line := func(name, value string) {
		_, err := fmt.Fprintf(table, "%s\t%s\n", name, orDash(value))
		faults = append(faults, err)
	}
	if delivery.ReceivedAt != nil {
		line("delivery", fmt.Sprintf("%d, received %s", delivery.ID, delivery.ReceivedAt.Format(time.RFC3339)))
		line("refused for", delivery.Reason)
	} else {
		line("file", delivery.File)
	}
	line("bytes", strconv.Itoa(delivery.BodyBytes))
	if len(delivery.Signatures) > 1 {
		line("signatures", fmt.Sprintf("%d, and there must be exactly one", len(delivery.Signatures)))
	}
	for _, found := range delivery.Signatures {
		line("verdict", string(found.Verdict))
		line("signature", found.SignatureForm)
		line("key", found.KeyName)
		line("body signed", found.BodyForm)
		line("meaning", found.Meaning)
	}
	return errors.Join(append(faults, table.Flush())...)
}

func writeReadmission(output io.Writer, end readmission) error {
	var text strings.Builder
	for _, admitted := range end.Admitted {
		was := "stored"
		if admitted.Duplicate {
			was = "was in the ledger already"
		}
		_, _ = fmt.Fprintf(&text, "%d: %s as %s\n", admitted.ID, was, strings.Join(admitted.EventIDs, ", "))
	}
	for _, refused := range end.Refused {
		_, _ = fmt.Fprintf(&text, "%d: stays in quarantine: %s\n", refused.ID, refused.Reason)
	}
	_, _ = fmt.Fprintf(&text, "%d re-admitted, %d stay; see `milepost events list` for how events end\n", len(end.Admitted), len(end.Refused))
	_, err := fmt.Fprint(output, text.String())
	return err
}
