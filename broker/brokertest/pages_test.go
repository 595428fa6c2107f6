package brokertest_test

import (
	"cmp"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
)

// maxPages is how many pages a grant with its first credential may write, in both of its
// commits, at one caller: each is checksummed, written and synced while everybody waits.
const maxPages = 18

// TestPagesOfAGrant counts the pages that grants write to the write-ahead log, by what is on
// them.
func TestPagesOfAGrant(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1_000_000, Burst: 1000}})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	n := 0
	grants := func(more int) {
		for range more {
			n++
			if _, err := c.RequestGrant(t.Context(), ask(task, fmt.Sprintf("grant-key-%d", n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	const measured = 100
	path := filepath.Join(h.Dir, "valetkey.db")
	grants(100)
	before := len(frames(t, path))
	grants(measured)
	written := frames(t, path)[before:]
	owners := pageOwners(t, path)
	by := map[string]int{}
	for _, page := range written {
		by[owners[page]]++
	}
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(by[b]-by[a], strings.Compare(a, b)) })
	for _, name := range names {
		t.Logf("%6.2f %s", float64(by[name])/measured, name)
	}
	if each := float64(len(written)) / measured; each > maxPages {
		t.Errorf("a grant writes %.1f pages, more than %d", each, maxPages)
	} else {
		t.Logf("%6.2f in all", each)
	}
}

// frames are the pages in the write-ahead log, in the order in which they were written.
func frames(t *testing.T, path string) (pages []uint32) {
	t.Helper()
	const header, frameHeader, page = 32, 24, 4096
	raw, err := os.ReadFile(path + "-wal")
	if err != nil || len(raw) < header {
		t.Fatalf("reading the write-ahead log: %d bytes, %v", len(raw), err)
	}
	for at := header; at+frameHeader+page <= len(raw); at += frameHeader + page {
		pages = append(pages, binary.BigEndian.Uint32(raw[at:]))
	}
	return pages
}

// pageOwners says of which table or index each page is; "the file" of the first one.
func pageOwners(t *testing.T, path string) map[uint32]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	out := map[uint32]string{}
	rows, err := db.QueryContext(t.Context(), "SELECT name, pagetype, pageno FROM dbstat")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name, kind string
		var page uint32
		if err := rows.Scan(&name, &kind, &page); err != nil {
			t.Fatal(err)
		}
		if kind == "internal" {
			name += ", inner pages"
		}
		out[page] = name
	}
	if err := errors.Join(rows.Err(), rows.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	out[1] = "the file's first page"
	return out
}
