package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
)

const (
	webhookPath = "/api/smartcar/webhook"
	// smartcarPatience is how long Smartcar waits for an answer. Source: Smartcar, "delivery behaviour".
	smartcarPatience = 15 * time.Second
	answerLimit      = 64 << 10
)

func sendCommand(output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "send",
		Usage: "post files as webhooks, signed as Smartcar signs them",
		Description: "Finds the receiver and the management token in <data-dir>/dev.env, which `milepost-dev up` writes,\n" +
			"or takes --url and SMARTCAR_MANAGEMENT_TOKEN. Fails when an answer is not 2xx.",
		ArgsUsage: "FILE ...",
		Flags: []cli.Flag{
			dataDirFlag(),
			&cli.StringFlag{Name: "url", Usage: "the receiver's base URL"},
			&cli.BoolFlag{Name: "unsigned", Usage: "leave the signature out"},
			&cli.IntFlag{Name: "repeat", Value: 1, Usage: "post each file so many times"},
			&cli.BoolFlag{Name: "new-delivery", Usage: "give each post a new deliveryId and deliveredAt, as a retry has"},
			&cli.BoolFlag{Name: "new-event", Usage: "give each post a new eventId"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, one object a post"},
		},
		Action: func(ctx context.Context, command *cli.Command) error {
			if command.Args().Len() == 0 {
				return errors.New("give at least one file to post")
			}
			if command.Int("repeat") < 1 {
				return errors.New("--repeat must be at least 1")
			}
			sender, err := newSender(command, output)
			if err != nil {
				return err
			}
			for _, path := range command.Args().Slice() {
				if err := sender.file(ctx, path); err != nil {
					return err
				}
			}
			if sender.refused > 0 {
				return fmt.Errorf("%d of %d posts were not answered 2xx", sender.refused, sender.posts)
			}
			return nil
		},
	}
}

type sender struct {
	url     string
	keyring smartcar.Keyring
	command *cli.Command
	output  io.Writer
	client  *http.Client

	posts, refused int
}

func newSender(command *cli.Command, output io.Writer) (*sender, error) {
	url, token := command.String("url"), os.Getenv("SMARTCAR_MANAGEMENT_TOKEN")
	if url == "" || token == "" {
		environment, err := stack.ReadEnvironmentFile(command.String("data-dir"))
		if err != nil {
			return nil, fmt.Errorf("%w\nStart `milepost-dev up` first, or give --url and SMARTCAR_MANAGEMENT_TOKEN", err)
		}
		if url == "" {
			url = environment["MILEPOST_URL"]
		}
		if token == "" {
			token = environment["SMARTCAR_MANAGEMENT_TOKEN"]
		}
	}
	keyring, err := smartcar.NewKeyring(token)
	if err != nil {
		return nil, fmt.Errorf("read the management token: %w", err)
	}
	return &sender{
		url: url + webhookPath, keyring: keyring, command: command, output: output,
		client: &http.Client{Timeout: smartcarPatience},
	}, nil
}

func (s *sender) file(ctx context.Context, path string) error {
	body, err := os.ReadFile(path) //nolint:gosec // the file that the user names
	if err != nil {
		return fmt.Errorf("read the file to post: %w", err)
	}
	for range s.command.Int("repeat") {
		stamped, err := s.stamp(body)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := s.post(ctx, path, stamped); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) stamp(body []byte) (stamped []byte, err error) {
	stamped = body
	if s.command.Bool("new-event") {
		if stamped, err = smartcartest.NewEvent(stamped, uuid.NewString()); err != nil {
			return nil, err
		}
	}
	if s.command.Bool("new-delivery") || s.command.Bool("new-event") {
		return smartcartest.Restamp(stamped, uuid.NewString(), time.Now())
	}
	return stamped, nil
}

// sent is what --json prints of a post.
type sent struct {
	File         string          `json:"file"`
	Status       int             `json:"status"`
	Milliseconds float64         `json:"milliseconds"`
	Answer       json.RawMessage `json:"answer,omitempty"`
}

func (s *sender) post(ctx context.Context, path string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("prepare the post: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if !s.command.Bool("unsigned") {
		request.Header.Set(smartcar.SignatureHeader, s.keyring.Sign(body))
	}
	started := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	took := time.Since(started)
	s.posts++
	if response.StatusCode/100 != http.StatusOK/100 {
		s.refused++
	}
	if !s.command.Bool("json") {
		_, err = fmt.Fprintf(s.output, "%s → %s in %s %s\n", path, response.Status, took.Round(time.Microsecond), bytes.TrimSpace(answer))
		return err
	}
	result := sent{File: path, Status: response.StatusCode, Milliseconds: inMilliseconds(took)}
	if json.Valid(answer) {
		result.Answer = answer
	}
	return json.NewEncoder(s.output).Encode(result)
}
