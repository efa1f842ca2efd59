package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// readmission is what became of the deliveries that --readmit was given.
type readmission struct {
	Admitted []admittedDelivery `json:"admitted"`
	Refused  []refusedDelivery  `json:"refused"`
}

type admittedDelivery struct {
	ID       int64    `json:"id"`
	EventIDs []string `json:"eventIds"`
	// Duplicate says that the ledger had all its events already.
	Duplicate bool `json:"duplicate"`
}

// refusedDelivery stays in quarantine.
type refusedDelivery struct {
	ID     int64  `json:"id"`
	Reason string `json:"reason"`
}

func (t explainTools) readmit(ctx context.Context, command *cli.Command, store *db.Store) error {
	keyring, _, err := signingKeys(t.environment)
	if err != nil {
		return err
	}
	admission := admission{quarantine: quarantineOf(store), ledger: db.NewLedger(store), keyring: keyring}
	ids, err := admission.chosen(ctx, command)
	if err != nil {
		return err
	}
	end, err := admission.readmit(ctx, ids, command.Bool("all"))
	if command.Bool("json") {
		return errors.Join(err, writeJSON(t.output, end))
	}
	return errors.Join(err, writeReadmission(t.output, end))
}

// admission moves deliveries from the quarantine to the ledger.
type admission struct {
	quarantine *db.Quarantine
	ledger     *db.Ledger
	keyring    smartcar.Keyring
}

// chosen gives the ids to re-admit, with --all the oldest first.
func (a admission) chosen(ctx context.Context, command *cli.Command) ([]int64, error) {
	var ids []int64
	for _, text := range command.Args().Slice() {
		id, err := quarantineID(text)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if !command.Bool("all") {
		return ids, nil
	}
	kept, err := a.quarantine.List(ctx, math.MaxInt32)
	for _, summary := range slices.Backward(kept) {
		ids = append(ids, summary.ID)
	}
	return ids, err
}

// readmit takes one delivery after the other. With all, those that do not verify, and those that made room for newer
// ones meanwhile, are no error: nobody named them.
func (a admission) readmit(ctx context.Context, ids []int64, all bool) (readmission, error) {
	end := readmission{Admitted: []admittedDelivery{}, Refused: []refusedDelivery{}}
	for _, id := range ids {
		row, err := a.quarantine.Get(ctx, id)
		if all && errors.Is(err, db.ErrNotFound) {
			continue
		}
		if err != nil {
			return end, explainMissing(err, id)
		}
		entries, err := api.Admit(a.keyring, row.Signatures, row.Body, row.ReceivedAt)
		if err != nil {
			end.Refused = append(end.Refused, refusedDelivery{ID: id, Reason: err.Error()})
			continue
		}
		admitted, err := a.admit(ctx, id, entries)
		if err != nil {
			return end, err
		}
		end.Admitted = append(end.Admitted, admitted)
	}
	if !all && len(end.Refused) > 0 {
		return end, fmt.Errorf("%d of %d stay in quarantine; `milepost explain %d` says why", len(end.Refused), len(ids), end.Refused[0].ID)
	}
	return end, nil
}

// admit commits to the ledger first: should it end in between, the next attempt finds a duplicate.
func (a admission) admit(ctx context.Context, id int64, entries []api.LedgerDelivery) (admittedDelivery, error) {
	admitted := admittedDelivery{ID: id, Duplicate: true}
	deliveries := make([]db.Delivery, len(entries))
	for i, entry := range entries {
		deliveries[i] = db.Delivery(entry)
	}
	receipts, err := a.ledger.Append(ctx, deliveries)
	if err != nil {
		return admitted, err
	}
	for _, receipt := range receipts {
		admitted.EventIDs = append(admitted.EventIDs, receipt.EventID)
		admitted.Duplicate = admitted.Duplicate && receipt.Duplicate
	}
	return admitted, a.quarantine.Delete(ctx, id)
}
