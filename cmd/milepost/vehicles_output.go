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

func writeVehicleTable(output io.Writer, vehicles []db.VehicleSummary) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	_, err := fmt.Fprintln(table, "VEHICLE\tOWNER\tCAR\tSTATE\tAPI\tTOKENS\tEXPIRE\tLAST ERROR")
	for _, vehicle := range vehicles {
		_, rowErr := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			vehicle.SmartcarVehicleID, vehicle.Owner, orDash(car(vehicle.Make, vehicle.Model, vehicle.Year)), stateOf(vehicle),
			vehicle.API, orDash(text(vehicle.TokenStatus)), orDash(moment(vehicle.TokenExpiresAt)), orDash(text(vehicle.LastError)))
		err = errors.Join(err, rowErr)
	}
	return errors.Join(err, table.Flush())
}

// stateOf adds what `vehicles errors` explains.
func stateOf(vehicle db.VehicleSummary) string {
	if vehicle.Degraded {
		return vehicle.State + ", degraded"
	}
	return vehicle.State
}

func writeVehicle(output io.Writer, vehicle db.VehicleSummary) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	var faults []error
	for _, line := range [][2]string{
		{"vehicle", vehicle.SmartcarVehicleID},
		{"our id", strconv.FormatInt(vehicle.VehicleID, 10)},
		{"owner", vehicle.Owner},
		{"car", car(vehicle.Make, vehicle.Model, vehicle.Year)},
		{"active", strconv.FormatBool(vehicle.Active)},
		{"state", stateOf(vehicle)},
		{"waits for its owner since", moment(vehicle.ReauthSince)},
		{"API", vehicle.API},
		{"permissions", strings.Join(vehicle.Permissions, " ")},
		{"subscribed to webhook", vehicle.SubscribedWebhookID},
		{"tokens", text(vehicle.TokenStatus)},
		{"tokens issued", moment(vehicle.TokenIssuedAt)},
		{"access token expires", moment(vehicle.TokenExpiresAt)},
		{"last error", text(vehicle.LastError)},
	} {
		_, err := fmt.Fprintf(table, "%s\t%s\n", line[0], orDash(line[1]))
		faults = append(faults, err)
	}
	return errors.Join(append(faults, table.Flush())...)
}

func writeDuplicateTable(output io.Writer, duplicates []db.PossibleDuplicate) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	_, err := fmt.Fprintln(table, "KNOWN VEHICLE\tNEWER VEHICLE\tOWNER\tCAR")
	for _, pair := range duplicates {
		_, rowErr := fmt.Fprintf(table, "%s\t%s\t%s\t%s\n",
			pair.SmartcarVehicleID, pair.OtherSmartcarVehicleID, pair.Owner, car(pair.Make, pair.Model, pair.Year))
		err = errors.Join(err, rowErr)
	}
	return errors.Join(err, table.Flush())
}

func car(maker, model string, year int32) string {
	name := strings.TrimSpace(maker + " " + model)
	if year != 0 {
		name = strings.TrimSpace(name + " " + strconv.Itoa(int(year)))
	}
	return name
}

func text(pointer *string) string {
	if pointer == nil {
		return ""
	}
	return *pointer
}

func moment(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
