package valetkey_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

var errLost = status.Error(codes.Unavailable, "the answer was lost")

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

func mintOne(t *testing.T, task *valetkey.Task) error {
	t.Helper()
	_, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
	if (err == nil) != cred.Valid() {
		t.Errorf("a credential: %v, error: %v", cred.Valid(), err)
	}
	return err
}

// setBack stops the broker, puts an older database in place of its own, and
// starts it again behind the front.
func setBack(t *testing.T, h *brokertest.Harness, f *front, old string) {
	t.Helper()
	h.Stop()
	restore(t, old, h.Dir)
	h.Start()
	f.point(h.Addr())
}

// restore copies the database files of one folder to another.
func restore(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		raw, err := os.ReadFile(filepath.Join(from, "valetkey.db"+suffix))
		if errors.Is(err, os.ErrNotExist) {
			if err := os.Remove(filepath.Join(to, "valetkey.db"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			continue
		}
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, "valetkey.db"+suffix), raw, 0o600))
	}
}

// TestHistory sets a broker's database back to an older one. An agent that has seen
// more refuses, before and after the log has grown to be longer than ever; and so
// does its next run, which has only the file.
func TestHistory(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	file, old := filepath.Join(t.TempDir(), "checkpoint"), t.TempDir()
	c := dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithCheckpointFile(file))
	task := open(t, c)
	must(t, mintOne(t, task))
	h.Stop()
	restore(t, h.Dir, old)
	h.Start()
	f.point(h.Addr())
	for range 5 {
		must(t, mintOne(t, task))
	}
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the checkpoint file has mode %v", info.Mode().Perm())
	}
	src, err := logverify.Open(t.Context(), filepath.Join(h.Dir, "valetkey.db"))
	must(t, err)
	saved, err := os.ReadFile(file)
	must(t, err)
	if _, err := logverify.Verify(t.Context(), src, logverify.Options{Key: h.Key.VerifierKey(), Saved: saved}); err != nil {
		t.Errorf("the file is not what the verifier takes: %v", err)
	}
	must(t, src.Close())

	setBack(t, h, f, old)
	if err := mintOne(t, task); !errors.Is(err, valetkey.ErrRolledBack) || !errors.Is(err, logverify.ErrVerification) {
		t.Errorf("set back: %v", err)
	}
	fresh := open(t, dial(t, h)) // has seen nothing, and can object to nothing
	for range 10 {
		must(t, mintOne(t, fresh))
	}
	if err := mintOne(t, task); !errors.Is(err, valetkey.ErrForked) {
		t.Errorf("set back and grown: %v", err)
	}
	next := open(t, dial(t, h, valetkey.WithCheckpointFile(file)))
	if err := mintOne(t, next); !errors.Is(err, valetkey.ErrForked) {
		t.Errorf("the next run: %v", err)
	}
	after, err := os.ReadFile(file)
	must(t, err)
	if string(after) != string(saved) {
		t.Error("the evidence was written over")
	}
}

// TestManyReceipts has answers come in any order.
func TestManyReceipts(t *testing.T) {
	h := start(t)
	task := open(t, dial(t, h, valetkey.WithCheckpointFile(filepath.Join(t.TempDir(), "checkpoint"))))
	g, err := task.Request(t.Context(), "s3-prefix-read", params)
	must(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if cred, err := g.Mint(t.Context()); err != nil || !cred.Receipt().Verified {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestProofThatProvesNothing has the consistency proof changed, or refused.
func TestProofThatProvesNothing(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	task := open(t, dial(t, h, valetkey.WithConn(between)))
	must(t, mintOne(t, task))
	meddle := func(fn func(*valetkeyv1.GetConsistencyProofResponse) error) {
		between.set(func(m *meddler) {
			m.after = func(_ string, reply proto.Message) error {
				if r, ok := reply.(*valetkeyv1.GetConsistencyProofResponse); ok {
					return fn(r)
				}
				return nil
			}
		})
	}
	meddle(func(r *valetkeyv1.GetConsistencyProofResponse) error { r.Proof[0][0] ^= 1; return nil })
	if err := mintOne(t, task); !errors.Is(err, valetkey.ErrForked) {
		t.Errorf("a changed proof: %v", err)
	}
	meddle(func(r *valetkeyv1.GetConsistencyProofResponse) error { r.Proof = nil; return nil })
	if err := mintOne(t, task); !errors.Is(err, valetkey.ErrForked) {
		t.Errorf("no proof: %v", err)
	}
	// Not having looked is not having found.
	meddle(func(*valetkeyv1.GetConsistencyProofResponse) error {
		return status.Error(codes.Unimplemented, "an old broker")
	})
	if err := mintOne(t, task); err == nil || errors.Is(err, logverify.ErrVerification) {
		t.Errorf("a broker that cannot prove: %v", err)
	}
	between.set(func(m *meddler) { m.after = nil })
	must(t, mintOne(t, task))
}

// TestFirstUse trusts the first key, and no second.
func TestFirstUse(t *testing.T) {
	h, other := start(t), start(t)
	file := filepath.Join(t.TempDir(), "checkpoint")
	first := func(h *brokertest.Harness) *valetkey.Task {
		return open(t, dial(t, h, valetkey.WithLedgerTrustOnFirstUse(), valetkey.WithCheckpointFile(file)))
	}
	must(t, mintOne(t, first(h)))
	must(t, mintOne(t, first(h)))
	if err := mintOne(t, first(other)); !errors.Is(err, logverify.ErrVerification) {
		t.Errorf("another ledger: %v", err)
	}
	must(t, os.Remove(file+".vkey"))
	if _, err := valetkey.New(t.Context(), valetkey.WithConn(h.Dial(brokertest.Agent)), valetkey.WithLedgerTrustOnFirstUse(), valetkey.WithCheckpointFile(file)); err == nil {
		t.Error("a checkpoint of a key that is gone is believed")
	}
}

// TestCheckpointFile refuses what it cannot hold a ledger against.
func TestCheckpointFile(t *testing.T) {
	h := start(t)
	file := filepath.Join(t.TempDir(), "checkpoint")
	for name, text := range map[string]string{"empty": "", "garbage": "garbage\n", "another log's": "other.example/log\n1\nAAAA\n\n— other.example/log AAAA\n"} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if _, err := valetkey.New(t.Context(), valetkey.WithConn(h.Dial(brokertest.Agent)), valetkey.WithLedgerKey(h.Key.VerifierKey()), valetkey.WithCheckpointFile(file)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
