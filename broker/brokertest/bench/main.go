// Command bench measures what valetkey costs, each number beside its reference in
// the same run, and prints one Markdown table. `make bench` runs it.
//
// It drives the real daemon over loopback with callers that ask again as soon as
// they are answered. The callers, the references' servers and the canned STS are
// this process; valetkeyd, Vault and MinIO are processes of their own, on the same
// machine. Ratios within one run mean more than times.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

// scopeName is what is asked for: a prefix of a bucket, to read, for 15 minutes.
const scopeName = "s3-prefix-read"

// bench is one run. It is a servers.TB, so that it can start the tests' servers.
type bench struct {
	ctx       context.Context //nolint:containedctx // a run is one call of main
	valetkeyd string
	valetkey  string
	plugin    string
	each      time.Duration
	ways      string
	cleanups  []func()
}

func (t *bench) Helper() {}

// Fatalf cleans up and ends the program.
func (t *bench) Fatalf(format string, args ...any) {
	t.Logf(format, args...)
	t.clean()
	os.Exit(1)
}

func (t *bench) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (t *bench) Cleanup(f func())                { t.cleanups = append(t.cleanups, f) }

func (t *bench) TempDir() string {
	dir, err := os.MkdirTemp("", "valetkey-bench-")
	t.must(err)
	t.Cleanup(func() { t.note(os.RemoveAll(dir)) })
	return dir
}

func (t *bench) must(err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// note reports an error of the tidying-up.
func (t *bench) note(err error) {
	if err != nil {
		t.Logf("tidying up: %v", err)
	}
}

func (t *bench) clean() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	t.cleanups = nil
}

// way is one line's thing to measure.
type way struct {
	name   string
	caller func(int) (op, error)
}

// compare measures every way at each number of callers, in turn, so that a drift of
// the machine touches all of them.
func (t *bench) compare(row string, callers []int, ways ...way) {
	for _, n := range callers {
		for _, w := range ways {
			if !strings.Contains(w.name, t.ways) {
				continue
			}
			r, err := load(t.ctx, n, t.each, w.caller)
			if err != nil {
				t.Fatalf("(%s) %s with %d callers: %v", row, w.name, n, err)
			}
			fmt.Printf("| %s | %s | %d | %.0f | %s | %s |\n", row, w.name, n, r.perSecond, short(r.p50), short(r.p99))
		}
	}
}

func short(d time.Duration) string {
	switch {
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d >= 100*time.Microsecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	default:
		return fmt.Sprintf("%.1f us", d.Seconds()*1e6)
	}
}

func main() {
	t := &bench{}
	flag.StringVar(&t.valetkeyd, "valetkeyd", "bin/valetkeyd", "the daemon to measure")
	flag.StringVar(&t.valetkey, "valetkey", "bin/valetkey", "the command line whose sidecar to measure")
	flag.StringVar(&t.plugin, "plugin", "bin/"+pluginName, "the Vault plugin to measure")
	bare := flag.Bool("bare", false, "be the bare handler of row (h), for this program itself")
	flag.DurationVar(&t.each, "each", 4*time.Second, "how long to measure each line")
	rows := flag.String("rows", "abcdefghiv", "which rows")
	flag.StringVar(&t.ways, "ways", "", "only the lines of rows a and b whose name holds this")
	flag.Parse()
	if *bare {
		t.must(serveBare())
		return
	}
	var stop context.CancelFunc
	t.ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t.run(*rows)
	t.clean()
}

func (t *bench) run(rows string) {
	has := func(row string) bool { return strings.Contains(rows, row) }
	fmt.Printf("%s\n\n", machine())
	fmt.Print("| row | what | callers | per second | p50 | p99 |\n|---|---|---|---|---|---|\n")
	cat, err := scopes.Load(t.catalogDir())
	t.must(err)
	auth, err := devauthority.New(devauthority.Config{TrustDomain: trustDomain})
	t.must(err)
	t.Cleanup(func() { t.note(auth.Close()) })
	if has("a") || has("b") || has("f") || has("g") || has("h") {
		t.grants(auth, cat, has)
	}
	if has("v") {
		t.inVault(auth, cat)
	}
	if has("c") {
		t.decide(auth)
	}
	if has("d") {
		t.compile(cat)
	}
	if has("e") {
		t.ledger()
	}
	if has("i") {
		t.judging()
	}
	fmt.Printf("\n%s\n", machine())
}

func (t *bench) catalogDir() string {
	dir := t.TempDir()
	t.must(os.CopyFS(dir, example.Files))
	return dir
}

// grants is rows (a), (b), (f), (g) and (h).
func (t *bench) grants(auth *devauthority.Authority, cat *scopes.Catalog, has func(string) bool) {
	vault := servers.VaultServer{}
	if t.ways == "" {
		vault = servers.Vault(t)
	}
	canned := serveUpstream(t, upstream{
		name: "no-latency STS", key: "AKIABENCH00000000000", secret: "none", dialect: string(iam.DialectAWS), policy: t.document(cat, iam.DialectAWS),
	}, noLatencySTS())
	d := startDaemon(t, auth, canned, history{})
	if has("f") {
		t.memory("idle", d, settle, vault.PID)
	}
	if has("a") {
		t.compare("a", []int{1, 16, 64},
			way{"gRPC mTLS echo", echoCaller(t, auth)},
			way{"raw SDK AssumeRole", rawCaller(canned)},
			way{"**RequestGrant, mint**", grantCaller(t, auth, d)},
			way{"Vault aws/sts, dev mode", t.vaultCaller(vault, canned, "canned")},
			way{"Vault aws/sts, Raft, TLS, audit", t.asRunCaller(canned)},
		)
		if has("f") {
			t.memory("after (a)", d, 0, vault.PID)
		}
	}
	if has("b") {
		minio := servers.MinIO(t)
		h, err := shim(minio.Endpoint)
		t.must(err)
		real := serveUpstream(t, upstream{
			name: "MinIO", key: minio.AccessKey, secret: minio.SecretKey, dialect: string(iam.DialectMinIO), policy: t.document(cat, iam.DialectMinIO),
		}, h)
		t.compare("b", []int{1, 16, 64},
			way{"raw SDK AssumeRole, MinIO", rawCaller(real)},
			way{"**RequestGrant, mint, MinIO**", grantCaller(t, auth, startDaemon(t, auth, real, history{}))},
			way{"Vault aws/sts, dev mode, MinIO", t.vaultCaller(vault, real, "minio")},
		)
	}
	if has("f") {
		live := startDaemon(t, auth, canned, history{grants: manyLive, live: true})
		t.memory(fmt.Sprintf("with %d live grants", manyLive), live, settle, 0)
	}
	if has("g") {
		t.grown(auth, canned)
	}
	if has("h") {
		t.sidecar(auth, canned)
	}
}

// The stores of rows (f) and (g).
const (
	manyLive = 100_000
	manyPast = 1_000_000
)

// grown is row (g): (a) on a new store and on one with a history.
func (t *bench) grown(auth *devauthority.Authority, u upstream) {
	t.compare("g", []int{1, 64},
		way{"**RequestGrant, mint**, new store", grantCaller(t, auth, startDaemon(t, auth, u, history{}))},
		way{fmt.Sprintf("**RequestGrant, mint**, %d past grants", manyPast), grantCaller(t, auth, startDaemon(t, auth, u, history{grants: manyPast}))},
	)
}

// document is what the daemon sends as session policy, for the others to send too.
func (t *bench) document(cat *scopes.Catalog, dialect iam.Dialect) string {
	q := query()
	q.Dialect = dialect
	req, err := cat.Resolve(q)
	t.must(err)
	bound, err := iam.Bind(*req.Permissions().AWS, iam.Limits{NotAfter: time.Now().Add(time.Hour), Dialect: dialect})
	t.must(err)
	doc, err := bound.Marshal()
	t.must(err)
	return string(doc)
}

func query() scopes.Query {
	return scopes.Query{Dialect: iam.DialectAWS, Scope: scopeName, Params: map[string][]string{"bucket": {"bench"}, "prefix": {"reports/"}}}
}

// memory is a line of row (f): resident memory of the daemon, and beside it that of a Vault, unless vault is 0.
func (t *bench) memory(when string, d daemon, wait time.Duration, vault int) {
	select {
	case <-time.After(wait):
	case <-t.ctx.Done():
	}
	ours, err := resident(d.pid)
	t.must(err)
	fmt.Printf("| f | **valetkeyd** resident, %s: %.0f MiB | | | | |\n", when, ours)
	if vault == 0 {
		return
	}
	theirs, err := resident(vault)
	t.must(err)
	fmt.Printf("| f | Vault resident, %s: %.0f MiB | | | | |\n", when, theirs)
}

// machine names what the numbers are of, and what else it was doing.
func machine() string {
	var errs []error
	read := func(path string) string {
		raw, err := os.ReadFile(path)
		errs = append(errs, err)
		return string(raw)
	}
	model := "unknown CPU"
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	about := fmt.Sprintf("%s, %s, %d cores, %s, load average %s",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), model, runtime.NumCPU(), runtime.Version(), strings.TrimSpace(read("/proc/loadavg")))
	if err := errors.Join(errs...); err != nil {
		about += fmt.Sprintf(" (%v)", err)
	}
	return about
}
