package logverify_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/clients/logverify"
)

const origin = "valetkey.dev/log"

// testLog is a log made with x/mod alone.
type testLog struct {
	t       *testing.T
	signer  note.Signer
	key     string
	records [][]byte
	hashes  []tlog.Hash
}

func newLog(t *testing.T, n int) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{t: t, signer: signer, key: vkey}
	l.grow(n)
	return l
}

func (l *testLog) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(is []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(is))
		for i, x := range is {
			out[i] = l.hashes[x]
		}
		return out, nil
	})
}

func (l *testLog) grow(n int) {
	l.t.Helper()
	for range n {
		i := int64(len(l.records))
		data := fmt.Appendf(nil, `{"n":%d,"v":1}`, i)
		hs, err := tlog.StoredHashes(i, data, l.reader())
		if err != nil {
			l.t.Fatal(err)
		}
		l.records, l.hashes = append(l.records, data), append(l.hashes, hs...)
	}
}

func (l *testLog) checkpointAt(n int64) []byte {
	l.t.Helper()
	root, err := tlog.TreeHash(n, l.reader())
	if err != nil {
		l.t.Fatal(err)
	}
	return l.sign(fmt.Sprintf("%s\n%d\n%s\n", origin, n, base64.StdEncoding.EncodeToString(root[:])))
}

func (l *testLog) sign(text string) []byte {
	l.t.Helper()
	out, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// folder writes the log as tlog-tiles.
func (l *testLog) folder() string {
	l.t.Helper()
	dir := l.t.TempDir()
	n := int64(len(l.records))
	write(l.t, filepath.Join(dir, "checkpoint"), l.checkpointAt(n))
	for _, t := range tlog.NewTiles(8, 0, n) {
		data, err := tlog.ReadTileData(t, l.reader())
		if err != nil {
			l.t.Fatal(err)
		}
		name := strings.TrimPrefix(t.Path(), "tile/8/")
		write(l.t, filepath.Join(dir, "tile", name), data)
		if t.L != 0 {
			continue
		}
		var bundle []byte
		for _, r := range l.records[t.N*256 : t.N*256+int64(t.W)] {
			bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(r))), r...)
		}
		write(l.t, filepath.Join(dir, "tile", "entries", strings.TrimPrefix(name, "0/")), bundle)
	}
	return dir
}

// database writes the log as the broker's tables.
func (l *testLog) database() string {
	l.t.Helper()
	name := filepath.Join(l.t.TempDir(), "state of things.db")
	exec(l.t, name, `PRAGMA journal_mode=WAL`)
	exec(l.t, name, `CREATE TABLE records(idx INTEGER PRIMARY KEY, data BLOB);
		CREATE TABLE hash_chunks(chunk INTEGER PRIMARY KEY, data BLOB);
		CREATE TABLE checkpoint(id INTEGER PRIMARY KEY, note BLOB)`)
	db, err := sql.Open("sqlite", name)
	if err != nil {
		l.t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		l.t.Fatal(err)
	}
	for i, r := range l.records {
		must(l.t, tx, `INSERT INTO records VALUES (?, ?)`, i, r)
	}
	for chunk := range slices.Chunk(l.hashes, 64) {
		var data []byte
		for _, h := range chunk {
			data = append(data, h[:]...)
		}
		must(l.t, tx, `INSERT INTO hash_chunks SELECT count(*), ? FROM hash_chunks`, data)
	}
	must(l.t, tx, `INSERT INTO checkpoint VALUES (0, ?)`, l.checkpointAt(int64(len(l.records))))
	if err := errors.Join(tx.Commit(), db.Close()); err != nil {
		l.t.Fatal(err)
	}
	return name
}

func setHash(t *testing.T, name string, at int64, h tlog.Hash) {
	t.Helper()
	exec(t, name, `UPDATE hash_chunks SET data = CAST(substr(data, 1, ?) || ? || substr(data, ?) AS BLOB) WHERE chunk = ?`,
		at%64*tlog.HashSize, h[:], at%64*tlog.HashSize+tlog.HashSize+1, at/64)
}

type execer interface {
	Exec(q string, args ...any) (sql.Result, error)
}

func must(t *testing.T, e execer, q string, args ...any) {
	t.Helper()
	if _, err := e.Exec(q, args...); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, name, q string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	must(t, db, q, args...)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, name string, opts logverify.Options) (logverify.Result, error) {
	t.Helper()
	src, err := logverify.Open(t.Context(), name)
	if err != nil {
		t.Fatalf("opening %s: %v", name, err)
	}
	res, err := logverify.Verify(t.Context(), src, opts)
	if cerr := src.Close(); cerr != nil {
		t.Error(cerr)
	}
	return res, err
}

func serve(t *testing.T, dir string) string {
	t.Helper()
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestGoodLogs(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 255, 256, 257, 1000, 65536 + 256 + 5} {
		l := newLog(t, n)
		dir := l.folder()
		logs := map[string]string{"folder": dir, "http": serve(t, dir)}
		if n < 65536 { // so many rows are slow under the race detector
			logs["sqlite"] = l.database()
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
	for kind, name := range map[string]string{"folder": dir, "http": serve(t, dir), "sqlite": l.database()} {
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
		{"hashes gone", func(t *testing.T, db string) {
			exec(t, db, `UPDATE hash_chunks SET data = substr(data, 1, ?) WHERE chunk = 0`, leaf(8)*tlog.HashSize)
		}, 8, 8},
		{"a row of hashes gone", func(t *testing.T, db string) { exec(t, db, `DELETE FROM hash_chunks WHERE chunk = 1`) }, 33, 33},
		{"a record more", func(t *testing.T, db string) { exec(t, db, `INSERT INTO records VALUES (700, x'00')`) }, 700, 700},
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
