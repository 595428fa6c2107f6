package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/clients/logverify"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// entry is what the tests read in a record.
type entry struct {
	Type        string `json:"type"`
	Grant       string `json:"grant_id"`
	Issuance    string `json:"issuance_id"`
	Session     string `json:"session"`
	AccessKeyID string `json:"access_key_id"`
	Accessor    string `json:"vault_accessor"`
	Agent       string `json:"agent_spiffe_id"`
	Delegate    string `json:"delegate_spiffe_id"`
	Task        string `json:"task_id"`
	Outcome     string `json:"outcome"`
	Reason      string `json:"reason"`
}

// readLog reads every record by the public format, not through the broker.
func readLog(t *testing.T, s *site, from string) (raw [][]byte, entries []entry) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	src, err := logverify.Open(ctx, from)
	must(t, err)
	defer func() { must(t, src.Close()) }()
	res, err := logverify.Verify(ctx, src, logverify.Options{Key: s.vkey})
	must(t, err)
	for first := int64(0); first < res.Size; first += logverify.BundleWidth {
		records, err := src.Records(ctx, res.Size, first/logverify.BundleWidth, int(min(logverify.BundleWidth, res.Size-first)))
		must(t, err)
		raw = append(raw, records...)
	}
	for _, r := range raw {
		var e entry
		must(t, json.Unmarshal(r, &e))
		entries = append(entries, e)
	}
	return raw, entries
}

// tree checks a checkpoint's signature and reads it, with x/mod alone.
func tree(checkpoint, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	n, err := note.Open([]byte(checkpoint), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("the checkpoint is not of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// proven checks that the receipt's record is in the log of its checkpoint.
func proven(r *valetkeyv1.Receipt, vkey string) error {
	head, err := tree(r.GetCheckpoint(), vkey)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, h := range r.GetInclusionProof() {
		if len(h) != tlog.HashSize {
			return errors.New("a hash of the proof has not 32 bytes")
		}
		proof = append(proof, tlog.Hash(h))
	}
	return tlog.CheckRecord(proof, head.N, head.Hash, r.GetIndex(), tlog.RecordHash(r.GetRecord()))
}

// recorded holds a receipt against the whole log.
func recorded(t *testing.T, r *valetkeyv1.Receipt, log [][]byte) {
	t.Helper()
	if i := r.GetIndex(); i < 0 || i >= int64(len(log)) || !bytes.Equal(log[i], r.GetRecord()) {
		t.Errorf("the receipt's record %d is not in the log of %d", r.GetIndex(), len(log))
	}
}

// count is how many records are so.
func count(log []entry, is func(entry) bool) (n int) {
	for _, e := range log {
		if is(e) {
			n++
		}
	}
	return n
}
