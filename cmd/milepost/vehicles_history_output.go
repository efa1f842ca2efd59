package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/milepost/milepost/db"
)

// shownValueLength is how many characters of a raw value a table shows.
const shownValueLength = 60

// writeRow writes one line of a table. Cells may hold text that Smartcar sent: it must neither break the table nor
// reach the terminal as a control sequence.
func writeRow(table io.Writer, cells ...string) error {
	for i, cell := range cells {
		cells[i] = orDash(strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return unicode.ReplacementChar
		}, cell))
	}
	_, err := fmt.Fprintln(table, strings.Join(cells, "\t"))
	return err
}

func writeSignalTable(output io.Writer, signals []db.SignalSummary) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	err := writeRow(table, "SIGNAL", "VALUE", "OBSERVED", "TIME FROM", "AVAILABILITY")
	for _, signal := range signals {
		err = errors.Join(err, writeRow(table, signal.Code, shownValue(signal), moment(signal.ObservedAt),
			text(signal.ObservedAtSource), availability(signal)))
	}
	return errors.Join(err, table.Flush())
}

// shownValue is the normalised value with its unit, or else what was sent.
func shownValue(signal db.SignalSummary) string {
	if signal.NormalisedValue != "" {
		return strings.TrimSpace(signal.NormalisedValue + " " + signal.NormalisedUnit)
	}
	if signal.Value == nil {
		return ""
	}
	var hidden string
	if json.Unmarshal(signal.Value, &hidden) == nil && hidden == notShown {
		return notShown
	}
	value := signal.Value
	var body map[string]json.RawMessage
	if json.Unmarshal(value, &body) == nil && len(body) == 1 && body["value"] != nil {
		value = body["value"]
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return "(unreadable)"
	}
	if short := []rune(compact.String()); len(short) > shownValueLength {
		return string(short[:shownValueLength]) + "…"
	}
	return compact.String()
}

func availability(signal db.SignalSummary) string {
	failure := strings.Trim(text(signal.FailureType)+"/"+text(signal.FailureCode), "/")
	if signal.Availability != db.SignalUnavailable || failure == "" {
		return string(signal.Availability)
	}
	return fmt.Sprintf("%s (%s)", signal.Availability, failure)
}

func writeVehicleErrorTable(output io.Writer, failures []advisedError) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	err := writeRow(table, "TYPE", "CODE", "OPENED", "RESOLVED", "OWNER ASKED", "TO DO", "SIGNALS")
	for _, failure := range failures {
		signals := strings.Join(failure.Signals, ", ")
		if signals == "" {
			signals = "the whole vehicle"
		}
		err = errors.Join(err, writeRow(table, failure.Type, failure.Code, moment(failure.OpenedAt), moment(failure.ResolvedAt),
			ownerAsked(failure), failure.ToDo, signals))
	}
	return errors.Join(err, table.Flush())
}

func ownerAsked(failure advisedError) string {
	if failure.OwnerAskedAt == nil && failure.Open && failure.Reaction.AsksOwner() {
		return "no"
	}
	return moment(failure.OwnerAskedAt)
}

func writeReadingTable(output io.Writer, readings []db.ReadingSummary) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	err := writeRow(table, "OBSERVED", "KM", "REPORTED", "SOURCE", "VERDICT", "ENTRY", "EVENT")
	for _, reading := range readings {
		reported := strings.TrimSpace(reading.ReportedValue.String() + " " + reading.ReportedUnit)
		if reading.UnitAssumed {
			reported += " (unit assumed)"
		}
		verdict := reading.Verdict
		if reading.SupersededAt != nil {
			verdict = "superseded: " + verdict
		}
		if reading.Confirmed {
			verdict += ", confirmed"
		}
		err = errors.Join(err, writeRow(table, reading.ObservedAt.UTC().Format(time.RFC3339), reading.Kilometres.String(),
			reported, reading.SourceType, verdict, meterEntry(reading), reading.EventID))
	}
	return errors.Join(err, table.Flush())
}

func meterEntry(reading db.ReadingSummary) string {
	switch {
	case reading.MeterEntryID == nil:
		return ""
	case reading.SupersededAt != nil:
		return strconv.FormatInt(*reading.MeterEntryID, 10) + " superseded"
	default:
		return strconv.FormatInt(*reading.MeterEntryID, 10)
	}
}
