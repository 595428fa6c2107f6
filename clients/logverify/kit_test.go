package logverify_test

import (
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
	schema(l.t, name, 9)
	exec(l.t, name, `CREATE TABLE records(idx INTEGER PRIMARY KEY, hashes BLOB, note BLOB, sum INTEGER, data BLOB)`)
	db, err := sql.Open("sqlite", name)
	if err != nil {
		l.t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		l.t.Fatal(err)
	}
	for i, r := range l.records {
		var hashes []byte
		for _, h := range l.hashes[tlog.StoredHashCount(int64(i)):tlog.StoredHashCount(int64(i+1))] {
			hashes = append(hashes, h[:]...)
		}
		must(l.t, tx, `INSERT INTO records (idx, hashes, data) VALUES (?, ?, ?)`, i, hashes, r)
	}
	must(l.t, tx, `UPDATE records SET note = ? WHERE idx = ?`, l.checkpointAt(int64(len(l.records))), len(l.records)-1)
	if err := errors.Join(tx.Commit(), db.Close()); err != nil {
		l.t.Fatal(err)
	}
	return name
}

// chunks writes the log as the broker's tables of schema 5.
func (l *testLog) chunks() string {
	l.t.Helper()
	name := filepath.Join(l.t.TempDir(), "old.db")
	schema(l.t, name, 5)
	exec(l.t, name, `CREATE TABLE records (idx INTEGER PRIMARY KEY, data BLOB NOT NULL)`)
	exec(l.t, name, `CREATE TABLE hash_chunks (chunk INTEGER PRIMARY KEY, data BLOB NOT NULL)`)
	exec(l.t, name, `CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 0), size INTEGER NOT NULL, note BLOB NOT NULL)`)
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
	for at := range slices.Chunk(l.hashes, 64) {
		var data []byte
		for _, h := range at {
			data = append(data, h[:]...)
		}
		must(l.t, tx, `INSERT INTO hash_chunks VALUES ((SELECT count(*) FROM hash_chunks), ?)`, data)
	}
	must(l.t, tx, `INSERT INTO checkpoint VALUES (0, ?, ?)`, len(l.records), l.checkpointAt(int64(len(l.records))))
	if err := errors.Join(tx.Commit(), db.Close()); err != nil {
		l.t.Fatal(err)
	}
	return name
}

// schema says which version of the broker's tables a database has.
func schema(t *testing.T, name string, version int) {
	t.Helper()
	exec(t, name, `CREATE TABLE goose_db_version (version_id INTEGER)`)
	exec(t, name, `INSERT INTO goose_db_version VALUES (0), (?)`, version)
}

func setHash(t *testing.T, name string, at int64, h tlog.Hash) {
	t.Helper()
	level, n := tlog.SplitStoredHashIndex(at)
	exec(t, name, `UPDATE records SET hashes = CAST(substr(hashes, 1, ?) || ? || substr(hashes, ?) AS BLOB) WHERE idx = ?`,
		level*tlog.HashSize, h[:], (level+1)*tlog.HashSize+1, (n+1)<<level-1)
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
