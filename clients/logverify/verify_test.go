package logverify_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/clients/logverify"
)

func TestGoodLogs(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 255, 256, 257, 1000, 65536 + 256 + 5} {
		l := newLog(t, n)
		dir := l.folder()
		logs := map[string]string{"folder": dir, "http": serve(t, dir)}
		if n > 0 && n < 65536 { // a broker's log of nothing has no checkpoint; and so many rows are slow under the race detector
			logs["sqlite"], logs["sqlite of schema 5"] = l.database(), l.chunks()
		}
		for kind, name := range logs {
			var last int64
			res, err := verify(t, name, logverify.Options{Key: l.key, Progress: func(done, _ int64) { last = done }})
			if err != nil {
				t.Fatalf("%s of %d: %v", kind, n, err)
			}
			if res.Size != int64(n) || res.Origin != origin || last != int64(n) {
				t.Errorf("%s of %d: result %+v, progress ended at %d", kind, n, res, last)
			}
		}
	}
}

func TestResume(t *testing.T) {
	l := newLog(t, 700)
	saved := map[int64][]byte{}
	for _, n := range []int64{0, 1, 255, 256, 300, 512, 699, 700} {
		saved[n] = l.checkpointAt(n)
	}
	l.grow(333)
	dir := l.folder()
	for kind, name := range map[string]string{"folder": dir, "http": serve(t, dir), "sqlite": l.database(), "sqlite of schema 5": l.chunks()} {
		for n, note := range saved {
			for _, full := range []bool{false, true} {
				res, err := verify(t, name, logverify.Options{Key: l.key, Saved: note, Full: full})
				if err != nil {
					t.Fatalf("%s from %d (full %v): %v", kind, n, full, err)
				}
				if want := map[bool]int64{false: n, true: 0}[full]; res.From != want || res.Size != 1033 {
					t.Errorf("%s from %d (full %v): %+v", kind, n, full, res)
				}
			}
		}
	}
}

func TestResumeRefusesRewrittenHistory(t *testing.T) {
	l := newLog(t, 700)
	saved := l.checkpointAt(600)
	other := newLog(t, 0)
	other.signer, other.key = l.signer, l.key
	other.grow(100)
	other.records[50] = []byte(`{"quiet":"change"}`)
	records := other.records
	other.records, other.hashes = nil, nil
	for i, r := range append(records, l.records[100:]...) {
		hs, err := tlog.StoredHashes(int64(i), r, other.reader())
		if err != nil {
			t.Fatal(err)
		}
		other.records, other.hashes = append(other.records, r), append(other.hashes, hs...)
	}
	dir := other.folder()
	for kind, name := range map[string]string{"folder": dir, "sqlite": other.database()} {
		for _, full := range []bool{false, true} {
			_, err := verify(t, name, logverify.Options{Key: l.key, Saved: saved, Full: full})
			if !errors.Is(err, logverify.ErrVerification) || !strings.Contains(err.Error(), "rewritten") {
				t.Errorf("%s (full %v): %v, want history rewritten", kind, full, err)
			}
		}
	}
	short := newLog(t, 0)
	short.signer, short.key = l.signer, l.key
	short.grow(10)
	if _, err := verify(t, short.database(), logverify.Options{Key: l.key, Saved: saved}); !errors.Is(err, logverify.ErrVerification) || !strings.Contains(err.Error(), "shrunk") {
		t.Errorf("a shorter log: %v, want shrunk", err)
	}
}

func TestTamperedDatabase(t *testing.T) {
	l := newLog(t, 700)
	leaf := func(n int64) int64 { return tlog.StoredHashIndex(0, n) }
	for _, tt := range []struct {
		name        string
		do          func(t *testing.T, db string)
		first, last int64
	}{
		{"one byte of a record", func(t *testing.T, db string) {
			exec(t, db, `UPDATE records SET data = CAST(replace(CAST(data AS TEXT), '"v":1', '"v":2') AS BLOB) WHERE idx = 437`)
		}, 437, 437},
		{"two records", func(t *testing.T, db string) {
			exec(t, db, `UPDATE records SET data = x'00' WHERE idx IN (611, 12)`)
		}, 12, 12},
		{"a record and its leaf", func(t *testing.T, db string) {
			h := tlog.RecordHash([]byte("x"))
			exec(t, db, `UPDATE records SET data = CAST('x' AS BLOB) WHERE idx = 300`)
			setHash(t, db, leaf(300), h)
		}, 300, 301},
		{"a leaf", func(t *testing.T, db string) {
			setHash(t, db, leaf(5), tlog.Hash{})
		}, 5, 5},
		{"a node", func(t *testing.T, db string) {
			setHash(t, db, tlog.StoredHashIndex(3, 2), tlog.Hash{})
		}, 16, 23},
		{"a record gone", func(t *testing.T, db string) { exec(t, db, `DELETE FROM records WHERE idx = 256`) }, 256, 256},
		{"the last record gone", func(t *testing.T, db string) { exec(t, db, `DELETE FROM records WHERE idx = 699`) }, 699, 699},
		{"hashes gone", func(t *testing.T, db string) { exec(t, db, `UPDATE records SET hashes = x'' WHERE idx = 8`) }, 8, 8},
		{"some of its hashes gone", func(t *testing.T, db string) {
			exec(t, db, `UPDATE records SET hashes = substr(hashes, 1, 64) WHERE idx = 31`)
		}, 31, 31},
		{"a record more", func(t *testing.T, db string) {
			exec(t, db, `INSERT INTO records (idx, hashes, data) VALUES (700, x'00', x'00')`)
		}, 700, 700},
		{"a record before the first", func(t *testing.T, db string) {
			exec(t, db, `INSERT INTO records (idx, hashes, data) VALUES (-7, x'00', x'00')`)
		}, -7, -7},
		{"the checkpoint in another row", func(t *testing.T, db string) {
			exec(t, db, `UPDATE records SET note = (SELECT note FROM records WHERE idx = 699) WHERE idx = 698`)
			exec(t, db, `UPDATE records SET note = NULL WHERE idx = 699`)
		}, 698, 698},
		{"a second checkpoint", func(t *testing.T, db string) {
			exec(t, db, `UPDATE records SET note = (SELECT note FROM records WHERE idx = 699) WHERE idx = 500`)
		}, 500, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := l.database()
			tt.do(t, db)
			_, err := verify(t, db, logverify.Options{Key: l.key})
			var bad *logverify.BadRecordError
			if !errors.As(err, &bad) || !errors.Is(err, logverify.ErrVerification) {
				t.Fatalf("error %v, want a bad record", err)
			}
			if bad.First != tt.first || bad.Last != tt.last {
				t.Errorf("named %d to %d, want %d to %d (%v)", bad.First, bad.Last, tt.first, tt.last, err)
			}
		})
	}
}

// A database of the version before is held to the same.
func TestTamperedChunks(t *testing.T) {
	l := newLog(t, 700)
	for _, tt := range []struct{ query, want string }{
		{`UPDATE records SET data = x'00' WHERE idx = 437`, "record 437:"},
		{`UPDATE hash_chunks SET data = CAST(zeroblob(32) || substr(data, 33) AS BLOB) WHERE chunk = 0`, "record 0:"},
		{`UPDATE hash_chunks SET data = CAST(data || zeroblob(32) AS BLOB) WHERE chunk = 0`, "chunk 0 has 2080 bytes"},
		{`DELETE FROM hash_chunks WHERE chunk = 3`, "is missing"},
		{`DELETE FROM records WHERE idx = 699`, "record 699:"},
		{`INSERT INTO records VALUES (700, x'00')`, "record 700:"},
		{`INSERT INTO records VALUES (-7, x'00')`, "record -7:"},
		{`UPDATE checkpoint SET size = 699`, "record 698:"},
		{`DELETE FROM checkpoint`, "holds no checkpoint"},
	} {
		db := l.chunks()
		exec(t, db, tt.query)
		if _, err := verify(t, db, logverify.Options{Key: l.key}); !errors.Is(err, logverify.ErrVerification) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.query, err, tt.want)
		}
	}
}

// What cannot be read says so, and which schema it is.
func TestSchemasThatAreNotRead(t *testing.T) {
	for version, want := range map[int]string{0: "schema 0", 1: "schema 1", 99: "schema 99"} {
		name := filepath.Join(t.TempDir(), "x.db")
		schema(t, name, version)
		src, err := logverify.Open(t.Context(), name)
		if err == nil {
			_, err = src.Checkpoint(t.Context())
			if cerr := src.Close(); cerr != nil {
				t.Error(cerr)
			}
		}
		if err == nil || errors.Is(err, logverify.ErrVerification) || !strings.Contains(err.Error(), want) {
			t.Errorf("schema %d: %v", version, err)
		}
	}
	name := filepath.Join(t.TempDir(), "x.db")
	exec(t, name, `CREATE TABLE other (a)`)
	if src, err := logverify.Open(t.Context(), name); err == nil || !strings.Contains(err.Error(), "which schema") {
		t.Errorf("another program's database: %v, %v", src, err)
	}
}

func TestTamperedTiles(t *testing.T) {
	l := newLog(t, 700)
	flip := func(t *testing.T, dir, name string, at int) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		data[at] ^= 1
		write(t, filepath.Join(dir, name), data)
	}
	for _, tt := range []struct {
		name, want string
		do         func(t *testing.T, dir string)
	}{
		{"a record", "record 256:", func(t *testing.T, dir string) { flip(t, dir, "tile/entries/001", 5) }},
		{"a length", "record 256:", func(t *testing.T, dir string) { flip(t, dir, "tile/entries/001", 1) }},
		{"a leaf tile", "record 3:", func(t *testing.T, dir string) { flip(t, dir, "tile/0/000", 3*32) }},
		{"an upper tile", "records 256 to 511:", func(t *testing.T, dir string) { flip(t, dir, "tile/1/000.p/2", 32) }},
		{"a short tile", "tile tile/0/002.p/188 has 1 bytes", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "tile/0/002.p/188"), []byte{1}) }},
		{"a bundle gone", "does not serve tile/entries/002.p/188", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "tile/entries/002.p/188")); err != nil {
				t.Fatal(err)
			}
		}},
		{"the signature", "signature", func(t *testing.T, dir string) { flip(t, dir, "checkpoint", len(origin)+1) }},
		{"another root", "signed checkpoint says", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "checkpoint"), l.sign(origin+"\n700\n"+base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n"))
		}},
		{"another origin", "is of log", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "checkpoint"), l.sign("other.example/log\n0\n"+base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n"))
		}},
		{"a size with a zero in front", "not a number", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "checkpoint"), l.sign(origin+"\n0700\n"+base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n"))
		}},
		{"a short root", "not a hash", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "checkpoint"), l.sign(origin+"\n700\nAAAA\n"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := l.folder()
			tt.do(t, dir)
			_, err := verify(t, serve(t, dir), logverify.Options{Key: l.key})
			if !errors.Is(err, logverify.ErrVerification) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestNotHavingLookedIsNotTampering(t *testing.T) {
	l := newLog(t, 3)
	dir := l.folder()
	if _, err := verify(t, dir, logverify.Options{Key: "nonsense"}); err == nil || errors.Is(err, logverify.ErrVerification) {
		t.Errorf("a bad key: %v", err)
	}
	if _, err := verify(t, dir, logverify.Options{Key: newLog(t, 0).key}); !errors.Is(err, logverify.ErrVerification) {
		t.Errorf("another log's key: %v", err)
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	if _, err := verify(t, srv.URL, logverify.Options{Key: l.key}); err == nil || errors.Is(err, logverify.ErrVerification) {
		t.Errorf("no log at the address: %v", err)
	}
	for _, name := range []string{filepath.Join(t.TempDir(), "absent"), t.TempDir()} {
		if src, err := logverify.Open(t.Context(), name); err == nil {
			t.Errorf("opening %s: no error (close: %v)", name, src.Close())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	src, err := logverify.Open(ctx, l.database())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := logverify.Verify(ctx, src, logverify.Options{Key: l.key}); err == nil || errors.Is(err, logverify.ErrVerification) {
		t.Errorf("a cancelled run: %v", err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}
