package e2e_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

// TestTesseraAccepts reads the log as any tool of the ecosystem would: with the
// client and the fsck of Tessera, which knows nothing of this project.
func TestTesseraAccepts(t *testing.T) {
	l := newLocal(t)
	d := l.start(t)
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	// Past two bundles, and into a partial one: 2 + 3 for each grant.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := c.Agent.RequestGrant(t.Context(), ask(task)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	base, err := url.Parse(d.log + "/")
	must(t, err)
	fetch, err := client.NewHTTPFetcher(base, &http.Client{Timeout: 10 * time.Second})
	must(t, err)
	verifier, err := note.NewVerifier(l.vkey)
	must(t, err)
	cp, _, _, err := client.FetchCheckpoint(t.Context(), fetch.ReadCheckpoint, verifier, origin)
	must(t, err)
	if cp.Size < 602 {
		t.Fatalf("the log has %d records, want those of 200 grants", cp.Size)
	}

	t.Run("fsck", func(t *testing.T) {
		must(t, fsck.New(origin, verifier, fetch, leafHashes, fsck.Opts{N: 2}).Check(t.Context()))
		// The same check finds a changed record, so it is a check.
		bad := &changed{Fetcher: fetch}
		if err := fsck.New(origin, verifier, bad, leafHashes, fsck.Opts{N: 2}).Check(t.Context()); err == nil {
			t.Error("fsck accepts a changed record")
		}
	})
	t.Run("inclusion", func(t *testing.T) {
		builder, err := client.NewProofBuilder(t.Context(), cp.Size, fetch.ReadTile)
		must(t, err)
		for _, index := range []uint64{0, 255, 256, 511, 512, cp.Size - 1} {
			path, err := builder.InclusionProof(t.Context(), index)
			must(t, err)
			bundle, err := client.GetEntryBundle(t.Context(), fetch.ReadEntryBundle, index/256, cp.Size)
			must(t, err)
			leaf := rfc6962.DefaultHasher.HashLeaf(bundle.Entries[index%256])
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, cp.Size, leaf, path, cp.Hash); err != nil {
				t.Errorf("record %d: %v", index, err)
			}
		}
	})
	t.Run("consistency", func(t *testing.T) {
		raw, err := fetch.ReadCheckpoint(t.Context())
		must(t, err)
		follower, err := client.NewLogStateTracker(t.Context(), fetch.ReadTile, raw, verifier, origin, client.UnilateralConsensus(fetch.ReadCheckpoint))
		must(t, err)
		_, err = c.Agent.RequestGrant(t.Context(), ask(task))
		must(t, err)
		_, path, _, err := follower.Update(t.Context())
		must(t, err)
		if len(path) == 0 || follower.Latest().Size <= cp.Size {
			t.Errorf("a follower has %d hashes of proof to size %d", len(path), follower.Latest().Size)
		}
	})
	if code := d.term(t); code != 0 {
		t.Errorf("after SIGTERM it exits %d", code)
	}
}

// leafHashes reads an entry bundle of C2SP tlog-tiles.
func leafHashes(bundle []byte) (out [][]byte, err error) {
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return nil, errors.New("the bundle ends in the middle of an entry")
		}
		n := 2 + int(binary.BigEndian.Uint16(bundle))
		out = append(out, rfc6962.DefaultHasher.HashLeaf(bundle[2:n]))
		bundle = bundle[n:]
	}
	return out, nil
}

// changed is a log with one byte of one record changed.
type changed struct{ fsck.Fetcher }

func (c *changed) ReadEntryBundle(ctx context.Context, i uint64, p uint8) ([]byte, error) {
	raw, err := c.Fetcher.ReadEntryBundle(ctx, i, p)
	if err != nil {
		return nil, fmt.Errorf("reading bundle %d: %w", i, err)
	}
	if i == 1 {
		raw[len(raw)/2] ^= 1
	}
	return raw, nil
}
