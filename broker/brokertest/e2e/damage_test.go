package e2e_test

import (
	"bytes"
	"database/sql"
	"os"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// rootPage is where a table of the site's database begins.
func (l *local) rootPage(t *testing.T, table string) int64 {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+l.path("valetkey.db")+"?mode=ro")
	must(t, err)
	defer func() { must(t, db.Close()) }()
	var page int64
	must(t, db.QueryRowContext(t.Context(), "SELECT rootpage FROM sqlite_schema WHERE name = ?", table).Scan(&page))
	return page
}

// damage changes the site's database file.
func (l *local) damage(t *testing.T, change func(raw []byte)) {
	t.Helper()
	raw, err := os.ReadFile(l.path("valetkey.db"))
	must(t, err)
	change(raw)
	l.write(t, "valetkey.db", string(raw))
}

// used is a site whose broker has given alice a credential and was stopped.
func used(t *testing.T) (l *local, grant string) {
	t.Helper()
	l = newLocal(t)
	d := l.start(t)
	c := l.dial(t, d, "alice")
	resp, err := c.Agent.RequestGrant(t.Context(), ask(openTask(t, c)))
	must(t, err)
	if code := d.term(t); code != 0 {
		t.Fatalf("it exits %d: %s", code, d.errors())
	}
	return l, resp.GetGrant().GetId()
}

// TestDamagedStoreMintsNothing zeroes the first page of each table that a minting, or its
// end, rests on, changes one byte of a record, and starts the broker on that. It mints
// nothing, says why, and what ends a credential fails aloud where it fails. A good copy
// serves again once somebody has said so, on the record.
func TestDamagedStoreMintsNothing(t *testing.T) {
	zero := func(table string) func(*testing.T, *local) {
		return func(t *testing.T, l *local) {
			page := l.rootPage(t, table)
			l.damage(t, func(raw []byte) { clear(raw[(page-1)*4096:][:4096]) })
		}
	}
	for name, damage := range map[string]func(*testing.T, *local){
		"grants": zero("grants"), "issuances": zero("issuances"), "tasks": zero("tasks"), "frozen": zero("frozen"),
		"idempotency": zero("idempotency"), "an index": zero("grants_live"), "the records": zero("records"),
		"one byte of a record": func(t *testing.T, l *local) {
			l.damage(t, func(raw []byte) {
				at := bytes.Index(raw, []byte(`"type":"task.opened"`))
				if at < 0 {
					t.Fatal("no such record")
				}
				raw[at+9] ^= 1
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, grant := used(t)
			good, err := os.ReadFile(l.path("valetkey.db"))
			must(t, err)
			damage(t, l)
			out, code := run(t, nil, program(t, "valetkeyd"), "store", "check", "--config", l.path("valetkeyd.yaml"))
			if code != 1 || !strings.Contains(out.stderr, "the database is damaged") || !strings.Contains(out.stderr, "restore the newest copy") {
				t.Errorf("store check exits %d: %s", code, out.stderr)
			}
			d, ready := launch(t, program(t, "valetkeyd"), awsEnv(), l.args()...)
			select {
			case <-ready:
				l.mintsNothing(t, d, grant)
				d.term(t)
			case <-d.done: // it cannot even be opened
				if text := d.errors(); !strings.Contains(text, "damaged") || !strings.Contains(text, "restore the newest copy") {
					t.Errorf("it ends with: %s", text)
				}
			}
			l.restored(t, string(good))
		})
	}
}

// mintsNothing asks a broker on a damaged store for a minting, and ends the grant.
func (l *local) mintsNothing(t *testing.T, d *daemon, grant string) {
	t.Helper()
	c := l.dial(t, d, "alice")
	before := l.sts.calls()
	_, err := c.Agent.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), GrantId: grant})
	if err == nil || l.sts.calls() != before {
		t.Errorf("it mints: %v", err)
	}
	if task, err := c.Agent.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), Purpose: "more", Environment: "staging"}); err == nil {
		if _, err := c.Agent.RequestGrant(t.Context(), ask(task.GetTask().GetId())); err == nil || l.sts.calls() != before {
			t.Errorf("it mints from a new request: %v", err)
		}
	}
	_, err = c.Agent.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: grant})
	if err == nil {
		eventually(t, revocationLimit, "what was released is revoked", func() bool {
			l.sts.mu.Lock()
			defer l.sts.mu.Unlock()
			return len(l.sts.revoked) > 0
		})
	}
	eventually(t, revocationLimit, "the log says so", func() bool { return strings.Contains(d.errors(), "the store is damaged: nothing is minted") })
}

// restored puts a good copy in the place of the damaged one.
func (l *local) restored(t *testing.T, good string) {
	t.Helper()
	for _, name := range []string{"valetkey.db-wal", "valetkey.db-shm"} {
		if err := os.Remove(l.path(name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	l.write(t, "valetkey.db", good)
	command := func(args ...string) string {
		t.Helper()
		out, code := run(t, nil, program(t, "valetkeyd"), append(args, "--config", l.path("valetkeyd.yaml"))...)
		if code != 0 && !strings.Contains(out.stderr, "there is no loss to accept") {
			t.Errorf("%s exits %d: %s", args, code, out.stderr)
		}
		return out.stdout
	}
	command("ledger", "accept-loss", "--cause", "a copy was restored") // the damaged one may have gone on
	if text := command("store", "clear-damage", "--cause", "a copy was restored"); !strings.Contains(text, "on the record") {
		t.Errorf("it says %q", text)
	}
	d := l.start(t)
	c := l.dial(t, d, "alice")
	if _, err := c.Agent.RequestGrant(t.Context(), ask(openTask(t, c))); err != nil {
		t.Errorf("it does not mint again: %v", err)
	}
	_, log := readLog(t, l.site, d.log)
	if count(log, func(e entry) bool { return e.Type == "store.damage_cleared" }) != 1 {
		t.Error("nobody's clearing is on the record")
	}
	d.term(t)
}

// busy starts a broker and has it give alice twenty credentials.
func (l *local) busy(t *testing.T) *daemon {
	t.Helper()
	d := l.start(t)
	c := l.dial(t, d, "alice")
	for range 20 {
		_, err := c.Agent.RequestGrant(t.Context(), ask(openTask(t, c)))
		must(t, err)
	}
	return d
}

// TestTornFilesAreRefused starts on files that do not belong together. The refusal says
// what to restore.
func TestTornFilesAreRefused(t *testing.T) {
	for name, tear := range map[string]func(t *testing.T, l *local, old []byte){
		"no database": func(t *testing.T, l *local, _ []byte) {
			l.damage(t, func(raw []byte) { copy(raw, "this is no database") })
			must(t, os.Remove(l.path("valetkey.db-wal"))) // it has that page too
		},
		"an old file under a newer log": func(t *testing.T, l *local, old []byte) { l.write(t, "valetkey.db", string(old)) },
		"half a file":                   func(t *testing.T, l *local, _ []byte) { must(t, os.Truncate(l.path("valetkey.db"), 8*4096)) },
		"a torn log": func(t *testing.T, l *local, _ []byte) {
			raw, err := os.ReadFile(l.path("valetkey.db-wal"))
			must(t, err)
			clear(raw[len(raw)/2:])
			l.write(t, "valetkey.db-wal", string(raw))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := used(t)
			old, err := os.ReadFile(l.path("valetkey.db"))
			must(t, err)
			l.busy(t).term(t) // what is newer than the old copy is in the file
			d := l.busy(t)
			eventually(t, revocationLimit, "the newest checkpoint is beside the key", func() bool {
				kept, err := os.ReadFile(l.path("ledger.key.checkpoint"))
				must(t, err)
				_, newest := fetch(t, d.log+"/checkpoint")
				return string(kept) == newest
			})
			d.kill()
			tear(t, l, old)
			d, ready := launch(t, program(t, "valetkeyd"), awsEnv(), l.args()...)
			select {
			case <-ready:
				c := l.dial(t, d, "alice")
				if _, err := c.Agent.RequestGrant(t.Context(), ask(openTask(t, c))); err == nil {
					t.Error("it mints")
				}
				eventually(t, revocationLimit, "the log says so", func() bool { return strings.Contains(d.errors(), "the store is damaged") })
				d.term(t)
			case <-d.done:
				if text := strings.ToLower(d.errors()); !strings.Contains(text, "restore the newest") {
					t.Errorf("it does not say what to restore: %s", text)
				}
			}
		})
	}
}
