package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/milepost/milepost/db"
)

func writeSilence(output io.Writer, found silence) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	_, err := fmt.Fprintln(table, "OUTAGE FROM\tTO\tDELIVERIES EXPECTED\tSOURCE")
	for _, outage := range found.Outages {
		_, rowErr := fmt.Fprintf(table, "%s\t%s\t%s\t%s\n",
			outage.StartedAt.Format(time.RFC3339), outageEnd(outage), deliveriesExpected(outage), outage.Source)
		err = errors.Join(err, rowErr)
	}
	_, headingErr := fmt.Fprintln(table, "\nVEHICLE\tHEARD AT\tWHY\tLAST POLL\tOBSTACLE\tNEXT TRY\tWHAT TO DO")
	err = errors.Join(err, headingErr)
	for _, vehicle := range found.Vehicles {
		_, rowErr := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			vehicle.SmartcarVehicleID, vehicle.HeardAt.Format(time.RFC3339), strings.ReplaceAll(vehicle.Why, "_", " "),
			orDash(string(vehicle.LastPoll)), orDash(string(vehicle.Obstacle)), orDash(timeOrNone(vehicle.NextTry)), vehicle.Advice)
		err = errors.Join(err, rowErr)
	}
	_, lastErr := fmt.Fprintf(table, "\n%d vehicles should have been heard from%s\n",
		found.Silent, unlisted(found.Silent-len(found.Vehicles)))
	return errors.Join(err, lastErr, table.Flush())
}

func outageEnd(outage db.Outage) string {
	if outage.EndedAt.IsZero() {
		return "still"
	}
	return outage.EndedAt.Format(time.RFC3339)
}

func deliveriesExpected(outage db.Outage) string {
	if outage.Expected == 0 {
		return "-"
	}
	return strconv.FormatFloat(outage.Expected, 'f', 0, 64)
}

func timeOrNone(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

func unlisted(count int) string {
	if count <= 0 {
		return ""
	}
	return fmt.Sprintf(", %d of them not listed: see --limit", count)
}

// progress is one line with every number of the result.
func (r *reconciliation) progress() string {
	return fmt.Sprintf("%d of %d vehicles settled: %d received (%d being processed), %d heard from, %d nothing new, %d not restored",
		r.Asked-r.Result.Left, r.Asked, r.Result.Received, r.Result.Processing, r.Result.Heard, r.Result.NothingNew, r.Result.NotRestored)
}

func writeReconciliation(output io.Writer, asked *reconciliation) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	var faults []error
	line := func(format string, values ...any) {
		_, err := fmt.Fprintf(table, format+"\n", values...)
		faults = append(faults, err)
	}
	line("asked for\t%d vehicles, from %s to %s", asked.Asked, asked.Since.Format(time.RFC3339), asked.Until.Format(time.RFC3339))
	if result := asked.Result; result != nil {
		line("received\t%d", result.Received)
		for _, outcome := range slices.Sorted(maps.Keys(result.Outcomes)) {
			line("  %s\t%d", outcome, result.Outcomes[outcome])
		}
		for _, class := range slices.Sorted(maps.Keys(result.Failures)) {
			line("  failed: %s\t%d, see milepost events list --class %s", class, result.Failures[class], class)
		}
		line("  being processed\t%d", result.Processing)
		line("heard from by webhook\t%d", result.Heard)
		line("nothing new\t%d", result.NothingNew)
		line("still to be polled\t%d", result.Left)
		line("not restored\t%d%s", result.NotRestored, unlisted(result.NotRestored-len(result.Vehicles)))
		if len(result.Vehicles) > 0 {
			line("\nNOT RESTORED\tREASON\tNEXT TRY\tWHAT TO DO")
		}
		for _, vehicle := range result.Vehicles {
			line("%s\t%s\t%s\t%s", vehicle.SmartcarVehicleID, vehicle.Reason, orDash(timeOrNone(vehicle.NextTry)), vehicle.Advice)
		}
	}
	line("\n%s", asked.End.meaning())
	return errors.Join(append(faults, table.Flush())...)
}

// meaning is for people.
func (e reconcileEnd) meaning() string {
	const goesOn = "; it goes on by itself, and `milepost reconcile` shows how it stands"
	switch e {
	case endDone:
		return "done; what has a next try is tried again by itself"
	case endLimits:
		return "nothing moves any more: the rest waits for Smartcar's limits (the workflow reconcile in the Temporal UI says more);\n" +
			"it goes on by itself every MILEPOST_RECONCILE_INTERVAL, and `milepost reconcile` shows how it stands"
	case endNotStarted:
		return "not begun yet: `milepost serve` or Temporal is away, or an earlier run is still at work" + goesOn
	case endProcessing:
		return "everything is fetched, but not processed yet; see `milepost events list`"
	case endInterrupted:
		return "interrupted: the work goes on without this command, and `milepost reconcile` shows how it stands"
	case endNotWaited:
		return "asked for; `milepost reconcile` shows how it stands"
	case endUnknown:
		return "what has come of it since is not known; the request is stored" + goesOn
	default:
		return string(e)
	}
}
