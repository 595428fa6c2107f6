package valetkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/clients/logverify/proof"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

var (
	// ErrForked means that the ledger now tells another history than the one that
	// this client has seen proof of. It wraps proof.ErrVerification.
	ErrForked = fmt.Errorf("the ledger's history was changed: %w", proof.ErrVerification)
	// ErrRolledBack means that the ledger has fewer records than this client has
	// seen proof of, as after the restoring of an old database. It wraps
	// proof.ErrVerification.
	ErrRolledBack = fmt.Errorf("the ledger has lost records: %w", proof.ErrVerification)
)

// history is what this client has seen proof of. It is safe for concurrent use.
type history struct {
	mode ledgerMode
	file string // empty for none
	log  *slog.Logger

	mu       sync.Mutex
	verifier note.Verifier // nil until the first use, where the mode is that; locked by mu
	last     tlog.Tree     // N is 0 for none; locked by mu
}

// keySuffix is of the file that holds a key that was trusted on first use.
const keySuffix = ".vkey"

func newHistory(cfg config) (*history, error) {
	h := &history{mode: cfg.mode, file: cfg.checkpointFile, log: cfg.log}
	key := cfg.ledgerKey
	if h.mode == ledgerFirstUse && h.file != "" {
		raw, err := os.ReadFile(h.file + keySuffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the ledger key of the first use: %w", err)
		}
		key = strings.TrimSpace(string(raw))
	}
	if key != "" {
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("parsing the ledger key: %w", err)
		}
		h.verifier = v
	}
	if h.mode == ledgerUnchecked || h.file == "" {
		return h, nil
	}
	return h, h.load()
}

func (h *history) load() error {
	raw, err := os.ReadFile(h.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("reading the remembered checkpoint: %w", err)
	case h.verifier == nil:
		return fmt.Errorf("reading the remembered checkpoint: %s is there and %s is not; restore it, or remove both to trust anew", h.file, h.file+keySuffix)
	}
	if h.last, err = proof.Checkpoint(raw, h.verifier); err != nil {
		return fmt.Errorf("opening the remembered checkpoint %s: %w", h.file, err)
	}
	return nil
}

// size is how many records there certainly are.
func (h *history) size() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last.N
}

// key is what checkpoints verify under.
func (h *history) key(ctx context.Context, c *Client) (note.Verifier, error) {
	h.mu.Lock()
	v := h.verifier
	h.mu.Unlock()
	switch {
	case v != nil:
		return v, nil
	case h.mode != ledgerFirstUse: // whoever pins a key asks no broker for one
		return nil, ErrNoLedgerKey
	}
	resp, _, err := call(ctx, c, "asking for the ledger's key", func(ctx context.Context) (*valetkeyv1.GetLedgerKeyResponse, error) {
		return c.Ledger.GetLedgerKey(ctx, &valetkeyv1.GetLedgerKeyRequest{})
	})
	if err != nil {
		return nil, err
	}
	if v, err = note.NewVerifier(resp.GetVerifierKey()); err != nil {
		return nil, fmt.Errorf("parsing the ledger key of the broker: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.verifier != nil {
		return h.verifier, nil // another call was first
	}
	if h.file != "" {
		if err := replaceFile(h.file+keySuffix, []byte(resp.GetVerifierKey()+"\n")); err != nil {
			return nil, fmt.Errorf("keeping the ledger key of the first use: %w", err)
		}
	}
	h.verifier = v
	return v, nil
}

// grown holds a checkpoint against the remembered one, and remembers the newer of
// the two. Answers arrive in any order, so that an older one is no fault as long
// as it is of the same history.
func (h *history) grown(ctx context.Context, c *Client, now tlog.Tree, signed []byte) error {
	for {
		h.mu.Lock()
		last := h.last
		h.mu.Unlock()
		if err := h.consistent(ctx, c, last, now); err != nil {
			return err
		}
		if now.N <= last.N {
			return nil
		}
		if h.advance(ctx, last, now, signed) {
			return nil
		}
	}
}

func (h *history) consistent(ctx context.Context, c *Client, a, b tlog.Tree) error {
	if a.N > b.N {
		a, b = b, a
	}
	if a.N == 0 {
		return nil
	}
	var path [][]byte
	if a.N < b.N {
		resp, _, err := call(ctx, c, "asking for proof that the ledger only grew", func(ctx context.Context) (*valetkeyv1.GetConsistencyProofResponse, error) {
			return c.Ledger.GetConsistencyProof(ctx, &valetkeyv1.GetConsistencyProofRequest{OldSize: a.N, NewSize: b.N})
		})
		switch {
		case errors.Is(err, ErrRecordNotFound):
			return fmt.Errorf("%w: the broker does not know a size that it has signed: %w", ErrRolledBack, err)
		case err != nil:
			return err
		}
		path = resp.GetProof()
	}
	if err := proof.Growth(a, b, path); err != nil {
		return fmt.Errorf("%w: of sizes %d and %d: %w; tell the broker's operator, and keep the checkpoint file as evidence", ErrForked, a.N, b.N, err)
	}
	return nil
}

// advance remembers now, unless something else than last is remembered by now.
func (h *history) advance(ctx context.Context, last, now tlog.Tree, signed []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != last {
		return false
	}
	h.last = now
	if h.file != "" {
		if err := replaceFile(h.file, signed); err != nil {
			// It is remembered all the same, for as long as this process lives.
			h.log.WarnContext(ctx, "keeping the last checkpoint failed", slog.String("file", h.file), slog.String("error", err.Error()))
		}
	}
	return true
}

// replaceFile writes beside the file and renames, so that a crash leaves the old
// content or the new. The mode is 0600.
func replaceFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".valetkey-*")
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
