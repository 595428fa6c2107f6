package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/logverify/approvals"
)

type ledgerCmd struct {
	Verify ledgerVerifyCmd `cmd:"" help:"Check every record, hash and signature, without trusting the broker."`
}

type ledgerVerifyCmd struct {
	Log        string `arg:"" name:"url|dir" help:"The log: an http(s) URL, a folder of tiles, or the broker's database file."`
	Key        string `required:"" help:"The log's verifier key, name+hash+base64, or a file that holds it." env:"VALETKEY_LEDGER_KEY" placeholder:"VKEY"`
	Checkpoint string `help:"Resume from the checkpoint in this file, and leave the new one there." placeholder:"FILE"`
	Full       bool   `help:"Read again what the checkpoint file covers, too."`
	Approvers  string `help:"Check the approvals on the record too, against the people in this allowed_signers file (ssh-keygen(1)): their public keys, and as further names of a line their groups (@sre), SPIFFE IDs and aliases." type:"existingfile" placeholder:"FILE"`
	Floor      int    `help:"How many people a destructive or admin credential has to rest on, with --approvers." default:"${floor}"`
	Hardware   string `help:"The lowest tier that is approved with a security key that asks for a PIN or a fingerprint, with --approvers: read, write, destructive, admin or none." default:"${hardware}" placeholder:"TIER"`
	Quiet      bool   `short:"q" help:"No progress."`
}

// verified is the JSON form of the result.
type verified struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	From   int64  `json:"from"`
	// Approvals is set with --approvers.
	Approvals *approvals.Summary `json:"approvals,omitempty"`
}

// What --floor and --hardware are where nobody says.
const (
	defaultFloor    = 2
	defaultHardware = "admin"
)

func (c *ledgerVerifyCmd) Run(ctx context.Context, out *output) (err error) {
	if c.Approvers == "" && (c.Floor != defaultFloor || c.Hardware != defaultHardware) {
		return &usageError{"--floor and --hardware say what approvals have to be: name the people with --approvers"}
	}
	var saved []byte
	if c.Checkpoint != "" {
		saved, err = os.ReadFile(c.Checkpoint)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading the saved checkpoint: %w", err)
		}
		// An empty file is no checkpoint to start from, and not none either.
		if err == nil && len(saved) == 0 {
			return fmt.Errorf("reading the saved checkpoint: %s is empty; remove it to start anew", c.Checkpoint)
		}
	}
	key, err := verifierKey(c.Key)
	if err != nil {
		return err
	}
	src, err := logverify.Open(ctx, c.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	opts := logverify.Options{Key: key, Saved: saved, Full: c.Full}
	if !c.Quiet {
		opts.Progress = progress(out)
	}
	people, err := c.approvals(key)
	if err != nil {
		return err
	}
	if people != nil {
		opts.Record, opts.Full = people.Record, true // a request may be older than the checkpoint
	}
	res, err := logverify.Verify(ctx, src, opts)
	if err != nil {
		return err
	}
	if c.Checkpoint != "" {
		if err := replaceFile(c.Checkpoint, res.Checkpoint); err != nil {
			return fmt.Errorf("saving the checkpoint: %w", err)
		}
	}
	result := verified{Origin: res.Origin, Size: res.Size, Root: res.Root.String(), From: res.From}
	rows := [][]string{
		{"ledger", res.Origin},
		{"records", strconv.FormatInt(res.Size, 10)},
		{"read", fmt.Sprintf("%d from record %d", res.Size-res.From, res.From)},
		{"root", res.Root.String()},
		{"verified", "every leaf, the tree and the signed checkpoint agree"},
	}
	if people != nil {
		sum := people.Summary()
		result.Approvals = &sum
		rows = append(rows, []string{"approvals", fmt.Sprintf("%d of %d people are signed, and %d issuances rest on them", sum.Approvals, sum.People, sum.Issuances)})
		if sum.Old > 0 {
			rows = append(rows, []string{"", fmt.Sprintf("%d of them in the old form, which says neither for which groups they count nor when they were signed", sum.Old)})
		}
	}
	if out.json() {
		return out.value(result)
	}
	return out.table(rows)
}

// approvals checks what people have signed; nil where that was not asked for.
func (c *ledgerVerifyCmd) approvals(key string) (*approvals.Checker, error) {
	if c.Approvers == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(c.Approvers)
	if err != nil {
		return nil, fmt.Errorf("reading the approvers: %w", err)
	}
	signers, err := approvals.ParseSigners(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Approvers, err)
	}
	if err := approvals.CheckHardware(c.Hardware); err != nil {
		return nil, &usageError{"--hardware: " + err.Error()}
	}
	origin, _, _ := strings.Cut(key, "+")
	return &approvals.Checker{Origin: origin, Signers: signers, Floor: c.Floor, Hardware: c.Hardware}, nil
}

// verifierKey reads the key from the file of that name, where there is one.
func verifierKey(arg string) (string, error) {
	info, err := os.Stat(arg)
	if err != nil || !info.Mode().IsRegular() {
		return arg, nil
	}
	raw, err := os.ReadFile(arg)
	if err != nil {
		return "", fmt.Errorf("reading the verifier key: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// progress says how far it is, at most once a second.
func progress(out *output) func(done, total int64) {
	last := time.Now()
	return func(done, total int64) {
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		out.say("%d of %d records", done, total)
	}
}

// replaceFile writes beside the file and renames, so that a crash leaves the
// old checkpoint or the new one.
func replaceFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".checkpoint-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
