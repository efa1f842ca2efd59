package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/db/keyset"
)

func (t keyTools) rotateCommand() *cli.Command {
	return &cli.Command{
		Name:  "rotate",
		Usage: "make the newest key primary, and re-encrypt what is stored, while Milepost serves",
		Description: "Changes the keyset file in place. With MILEPOST_KEYSET it prints the keyset to set, and ends with\n" +
			"an error, until the newest key is primary there. It can be interrupted, and goes on where it was\n" +
			"when it is run again.\n\n" + keysOrder,
		Flags: []cli.Flag{
			keysetFileFlag(),
			&cli.Int32Flag{Name: "batch", Value: defaultBatch, Usage: "re-encrypt so many rows in a transaction"},
			&cli.DurationFlag{Name: "pause", Usage: "wait so long between batches, to spare the database"},
			jsonFlag(),
		},
		Action: func(ctx context.Context, command *cli.Command) error {
			if command.Int32("batch") < 1 || command.Duration("pause") < 0 {
				return errors.New("--batch must be at least 1, and --pause not negative")
			}
			if err := t.promote(command); err != nil {
				return err
			}
			return t.withRows(ctx, command, func(keys *keyset.Source, rows keyRows) error {
				return t.rotate(ctx, command, keys, rows)
			})
		},
	}
}

func (t keyTools) promote(command *cli.Command) error {
	var old uint32
	changed, err := t.change(command, func(k *keyset.Keyset) (*keyset.Keyset, error) {
		old = k.PrimaryID()
		return k.Promote()
	})
	switch {
	case err != nil:
		return err
	case changed.PrimaryID() == old:
		return t.say("key %s is the newest and primary", keyName(old))
	}
	if place, err := t.place(command); err != nil || place.File == "" {
		return errors.Join(err, errors.New("the newest key is not primary in MILEPOST_KEYSET: "+
			"set it to the keyset printed, restart every process, and run `milepost keys rotate` again"))
	}
	return t.say("key %s is primary now, in place of %s", keyName(changed.PrimaryID()), keyName(old))
}

// rotation is how a rotate ended.
type rotation struct {
	Primary     string `json:"primary"`
	Reencrypted int64  `json:"reencrypted"`
	// Left counts the rows under other keys.
	Left int64 `json:"left"`
}

func (t keyTools) rotate(ctx context.Context, command *cli.Command, keys *keyset.Source, rows keyRows) error {
	counts, err := rows.Rows(ctx)
	if err != nil {
		return err
	}
	status := newKeysetStatus(keys, counts)
	if err := status.alarm(); err != nil {
		return err
	}
	end := rotation{Primary: keyName(keys.PrimaryID()), Left: status.notPrimary()}
	err = t.reencrypt(ctx, rows, command.Int32("batch"), command.Duration("pause"), &end)
	if command.Bool("json") {
		return errors.Join(writeJSON(t.output, end), err)
	}
	return errors.Join(writeRotation(t.output, end), err)
}

// reencrypt goes on until nothing is left. What it has done is in end, however it ends.
func (t keyTools) reencrypt(ctx context.Context, rows keyRows, batch int32, pause time.Duration, end *rotation) error {
	var held time.Duration
	for {
		done, left, err := rows.Reencrypt(ctx, batch)
		if err != nil {
			return unfinished(ctx, err, end.Left)
		}
		end.Reencrypted, end.Left = end.Reencrypted+done, left
		if left == 0 {
			return nil
		}
		wait := pause
		if done > 0 {
			held = 0
			err = t.say("re-encrypted %d rows, %d left", end.Reencrypted, left)
		} else {
			if held >= t.patience {
				return fmt.Errorf("%d rows are in use, by a refresh or a consent under way: "+
					"run `milepost keys rotate` again in ten minutes, and after an hour `milepost trim`, "+
					"which forgets codes that nobody exchanged", left)
			}
			held += t.pause
			wait = max(pause, t.pause)
			err = t.say("waiting for %d rows that are in use", left)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return unfinished(ctx, ctx.Err(), left)
		case <-time.After(wait):
		}
	}
}

// unfinished tells a person who interrupted rotate what is left, and others also what went wrong.
func unfinished(ctx context.Context, err error, left int64) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted with %d rows left under other keys: run `milepost keys rotate` again to go on", left)
	}
	return fmt.Errorf("%w\n%d rows are left under other keys: run `milepost keys rotate` again to go on", err, left)
}
