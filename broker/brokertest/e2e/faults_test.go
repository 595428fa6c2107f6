package e2e_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	_ "modernc.org/sqlite" // to hold a lock, and to change bytes

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestDoesNotStart breaks what the broker needs, one thing at a time. It must say
// what, with exit code 1, and never serve.
func TestDoesNotStart(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(*testing.T, *local)
		says []string
	}{
		"no key": {func(t *testing.T, l *local) {
			must(t, os.Remove(l.path("ledger.key")))
		}, []string{"ledger key", "keygen"}},
		"another log's key": {func(t *testing.T, l *local) {
			must(t, errors.Join(os.Remove(l.path("ledger.key")), os.Remove(l.path("ledger.key.pub")), os.Remove(l.path("ledger.key.checkpoint"))))
			if out, code := run(t, nil, program(t, "valetkeyd"), "keygen", l.path("ledger.key"), "--origin", origin); code != 0 {
				t.Fatal(out.stderr)
			}
		}, []string{"ledger key", "not signed by"}},
		"a key that others can read": {func(t *testing.T, l *local) {
			must(t, os.Chmod(l.path("ledger.key"), 0o644))
		}, []string{"ledger key", "chmod 600"}},
		"a key that is none": {func(t *testing.T, l *local) {
			l.write(t, "ledger.key", "PRIVATE+KEY+nonsense\n")
		}, []string{"ledger key", "not a note signing key"}},
		"garbage as database": {func(t *testing.T, l *local) {
			l.write(t, "valetkey.db", strings.Repeat("not a database ", 1000))
		}, []string{"store unavailable"}},
		"a stored hash is gone": {func(t *testing.T, l *local) {
			l.exec(t, "UPDATE records SET hashes = x''")
		}, []string{"stored hash 0 is missing"}},
		"a stored hash is changed": {func(t *testing.T, l *local) {
			l.exec(t, "UPDATE records SET hashes = CAST(substr(hashes, 1, length(hashes) - 32) || zeroblob(32) AS BLOB) WHERE idx = (SELECT max(idx) FROM records)")
		}, []string{"ledger verify"}},
		"an unknown key in the configuration": {func(t *testing.T, l *local) {
			l.append(t, "valetkeyd.yaml", "surprise: true\n")
		}, []string{"valetkeyd.yaml", "surprise", "[" /* line:column */}},
		"a catalog that does not parse": {func(t *testing.T, l *local) {
			l.append(t, "catalog/s3-prefix-read.yaml", "surprise: true\n")
		}, []string{"s3-prefix-read.yaml", "surprise"}},
		"a policy that does not parse": {func(t *testing.T, l *local) {
			l.append(t, "catalog/policies/storage.cedar", "permit (\n")
		}, []string{"storage.cedar"}},
		"a role that nobody configured": {func(t *testing.T, l *local) {
			raw, err := os.ReadFile(l.path("valetkeyd.yaml"))
			must(t, err)
			l.write(t, "valetkeyd.yaml", strings.Replace(string(raw), "\n  vault:\n", "\n  other:\n", 1))
		}, []string{"vault"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLocal(t)
			// It has served: there is a log to be held against.
			if code := l.start(t).term(t); code != 0 {
				t.Fatalf("before the harm it exits %d", code)
			}
			c.harm(t, l)
			out, code := run(t, awsEnv(), program(t, "valetkeyd"), l.args()...)
			if code != 1 {
				t.Errorf("exits %d, want 1", code)
			}
			if strings.Contains(out.stderr, `"serving"`) {
				t.Error("it served")
			}
			for _, want := range c.says {
				if !strings.Contains(out.stderr, want) {
					t.Errorf("says %q, which lacks %q", out.stderr, want)
				}
			}
			if strings.Contains(out.stderr, "PRIVATE+KEY") {
				t.Error("it repeats the key")
			}
		})
	}
}

func (s *site) append(t *testing.T, name, text string) {
	t.Helper()
	raw, err := os.ReadFile(s.path(name))
	must(t, err)
	s.write(t, name, string(raw)+text)
}

// open opens the broker's database beside the broker.
func (s *site) open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", s.path("valetkey.db"))
	must(t, err)
	return db
}

func (s *site) exec(t *testing.T, statement string) {
	t.Helper()
	db := s.open(t)
	result, err := db.ExecContext(t.Context(), statement)
	must(t, err)
	n, err := result.RowsAffected()
	must(t, errors.Join(err, db.Close()))
	if n == 0 {
		t.Fatalf("%s changed nothing", statement)
	}
}

// TestReadOnlyDatabase runs dev mode as a user without privileges, whom a file's
// mode binds: it binds not root.
func TestReadOnlyDatabase(t *testing.T) {
	dir := filepath.Join(shortDir(t), "dev")
	must(t, os.Chmod(filepath.Dir(dir), 0o777)) // the other user makes the folder
	must(t, os.Chmod(binaries, 0o755))          // and runs the program
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	args := []string{"dev", "--dir", dir, "--listen", "127.0.0.1:0", "--ledger", "127.0.0.1:0", "--s3-endpoint", "http://127.0.0.1:1"}
	d, ready := launchAs(t, attr, program(t, "valetkeyd"), awsEnv(), args...)
	select {
	case <-ready:
	case <-d.done:
		t.Fatalf("dev mode ended:\n%s", d.errors())
	}
	if code := d.term(t); code != 0 {
		t.Fatalf("dev mode exits %d:\n%s", code, d.errors())
	}
	must(t, os.Chmod(filepath.Join(dir, "valetkey.db"), 0o400))
	cmd := exec.CommandContext(t.Context(), program(t, "valetkeyd"), args...)
	cmd.SysProcAttr, cmd.Env = attr, append(os.Environ(), awsEnv()...)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !bytes.Contains(out, []byte("store unavailable")) {
		t.Errorf("with a read-only database: %v\n%s", err, out)
	}
}

// TestLockedDatabase has another process hold the database. The broker refuses by
// the right reason, mints nothing that it cannot record, and works again after.
func TestLockedDatabase(t *testing.T) {
	l := newLocal(t)
	d := l.start(t)
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	db := l.open(t)
	conn, err := db.Conn(t.Context())
	must(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = c.Agent.RequestGrant(ctx, ask(task))
	refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE)
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	must(t, errors.Join(err, conn.Close(), db.Close()))
	if n := l.sts.calls(); n != 0 {
		t.Errorf("the STS was called %d times without a record", n)
	}
	_, err = c.Agent.RequestGrant(ctx, ask(task))
	must(t, err)
	verify(t, l.site, d.log)
}

// TestFullDisk bounds the size of the files that the broker can write, which is
// how a full disk looks to SQLite.
func TestFullDisk(t *testing.T) {
	l := newLocal(t)
	if code := l.start(t).term(t); code != 0 {
		t.Fatalf("it exits %d", code)
	}
	// Blocks of 512 bytes: room for a start, not for a hundred grants.
	d := start(t, "/bin/sh", awsEnv(), append([]string{"-c", `ulimit -f 1024; exec "$@"`, "sh", program(t, "valetkeyd")}, l.args()...)...)
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	var minted []*valetkeyv1.RequestGrantResponse
	var err error
	for range 2000 {
		var resp *valetkeyv1.RequestGrantResponse
		if resp, err = c.Agent.RequestGrant(t.Context(), ask(task)); err != nil {
			break
		}
		minted = append(minted, resp)
	}
	refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE)
	if len(minted) == 0 {
		t.Error("nothing was minted before the disk was full")
	}
	d.kill()

	// With room again, all that was acknowledged is there.
	d = l.start(t)
	_, err = l.dial(t, d, "alice").Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	eventually(t, 2*time.Minute, "every end of a credential is carried upstream", func() bool { return l.endsCarried(t, d.log) })
	verify(t, l.site, d.log)
	raw, log := readLog(t, l.site, d.log)
	for _, resp := range minted {
		recorded(t, resp.GetReceipt(), raw)
	}
	l.sessions(t, log)
}

// TestTamperedRecord changes one record of a stopped broker's database: the
// verifier names it.
func TestTamperedRecord(t *testing.T) {
	l := newLocal(t)
	d := l.start(t)
	c := l.dial(t, d, "alice")
	resp, err := c.Agent.RequestGrant(t.Context(), ask(openTask(t, c)))
	must(t, err)
	if code := d.term(t); code != 0 {
		t.Fatalf("it exits %d", code)
	}
	verify(t, l.site, l.path("valetkey.db"))
	l.exec(t, `UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'alice', 'malle') AS BLOB) WHERE idx = 2`)
	out, code := run(t, nil, program(t, "valetkey"), "ledger", "verify", l.path("valetkey.db"), "--key", l.vkey, "-q")
	if code != 5 || !strings.Contains(out.stderr, "record 2") {
		t.Errorf("exits %d: %s; want 5 and record 2 (of %d)", code, out.stderr, resp.GetReceipt().GetIndex())
	}
}

// TestReload breaks the catalog under a running broker: the old one serves on.
func TestReload(t *testing.T) {
	l := newLocal(t)
	d := l.start(t)
	agent, operator := l.dial(t, d, "alice"), l.dial(t, d, "operator")
	task := openTask(t, agent)
	before, err := agent.Agent.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
	must(t, err)
	raw, err := os.ReadFile(l.path("catalog/s3-prefix-read.yaml"))
	must(t, err)
	good := string(raw)
	for name, text := range map[string]string{
		"an unknown key":    good + "surprise: true\n",
		"no YAML":           "{{{",
		"an unknown role":   strings.Replace(good, "role: s3", "role: s4", 1),
		"no permission":     good[:strings.Index(good, "statements:")] + "statements: []\n",
		"over its role":     strings.Replace(good, "actions: [s3:GetObject]", "actions: [s3:GetObject, s3:GetObjectAcl]", 1),
		"not the providers": strings.Replace(good, "provider: aws", "provider: gcp", 1),
	} {
		l.write(t, "catalog/s3-prefix-read.yaml", text)
		_, err := operator.Operator.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
		if refusal, ok := valetkey.RefusalOf(err); !ok || refusal.Reason != valetkeyv1.ErrorReason_ERROR_REASON_INVALID_CATALOG {
			t.Errorf("%s: got %v, want INVALID_CATALOG", name, err)
		}
		after, err := agent.Agent.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
		must(t, err)
		if after.GetCatalogVersion() != before.GetCatalogVersion() {
			t.Errorf("%s: the catalog changed", name)
		}
		_, err = agent.Agent.RequestGrant(t.Context(), ask(task))
		must(t, err)
	}
	l.write(t, "catalog/s3-prefix-read.yaml", strings.Replace(good, "default: 15m", "default: 10m", 1))
	resp, err := operator.Operator.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
	must(t, err)
	if resp.GetCatalogVersion() == before.GetCatalogVersion() {
		t.Error("a good catalog was not taken")
	}
	stale := ask(task)
	for _, s := range before.GetScopes() {
		if s.GetName() == stale.GetScope() {
			stale.ScopeVersion = s.GetVersion()
		}
	}
	_, err = agent.Agent.RequestGrant(t.Context(), stale)
	refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_STALE_SCOPE_VERSION)
	_, err = agent.Operator.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
	refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED)
	verify(t, l.site, d.log)
}

// TestDrain ends the broker in the middle of a minting, with somebody watching.
func TestDrain(t *testing.T) {
	l := newLocal(t)
	d := l.start(t)
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	first, err := c.Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	watch, err := c.Agent.WatchGrant(t.Context(), &valetkeyv1.WatchGrantRequest{GrantId: first.GetGrant().GetId()})
	must(t, err)
	_, err = watch.Recv()
	must(t, err)

	hold := make(chan struct{})
	reached := l.sts.holdNext(hold)
	type answer struct {
		resp *valetkeyv1.RequestGrantResponse
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := c.Agent.RequestGrant(t.Context(), ask(task))
		answered <- answer{resp, err}
	}()
	<-reached
	must(t, d.cmd.Process.Signal(syscall.SIGTERM))
	eventually(t, startLimit, "it says that it drains", func() bool { return strings.Contains(d.errors(), "draining") })
	close(hold)
	began := time.Now()
	got := <-answered
	must(t, got.err)
	if err := proven(got.resp.GetReceipt(), l.vkey); err != nil {
		t.Error(err)
	}
	if code := d.term(t); code != 0 {
		t.Errorf("after SIGTERM it exits %d", code)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("draining took %v: a watcher must not hold it up", took)
	}
	if _, err := watch.Recv(); !gone(err) || status.Convert(err).Message() != "the broker is stopping" {
		t.Errorf("the watcher got %v, want to be told that the broker is stopping", err)
	}
	raw, _ := readLog(t, l.site, l.path("valetkey.db"))
	recorded(t, got.resp.GetReceipt(), raw)
}

func refused(t *testing.T, err error, want valetkeyv1.ErrorReason) {
	t.Helper()
	if refusal, ok := valetkey.RefusalOf(err); !ok || refusal.Reason != want {
		t.Errorf("got %v, want %v", err, want)
	}
}
