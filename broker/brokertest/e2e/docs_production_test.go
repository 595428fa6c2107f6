package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

// spireEntries registers the document's workloads at a real SPIRE.
func spireEntries(t *testing.T, text string) {
	s := servers.SPIRE(t, trustDomain)
	bin, err := servers.Binary("spire-server")
	must(t, err)
	p := &docs{dir: s.Dir}
	out := p.shell(t, nil, replaced(t, text, map[string]string{
		"spire-server entry create": bin + " entry create -socketPath " + filepath.Join(s.Dir, "server.sock"), "spiffe://example.org/node": "spiffe://example.org/test-node",
	}))
	if n := strings.Count(text, "\n"); strings.Count(out.stdout, "Entry ID") != n {
		t.Errorf("not %d entries:\n%s", n, out.stdout)
	}
}

// production is a host on which deploy/valetkeyd.yaml is installed; its folders, its SPIFFE authority and its ports are ours.
type production struct {
	*local
	folders map[string]string
}

func newProduction(t *testing.T) production {
	t.Helper()
	dir := shortDir(t)
	p := production{local: newLocal(t), folders: map[string]string{
		"/etc/valetkey": dir + "/etc", "/var/lib/valetkey": dir + "/state", "/var/lib/valetkey-ledger": dir + "/ledger",
	}}
	for _, folder := range p.folders {
		must(t, os.Mkdir(folder, 0o700))
	}
	must(t, os.CopyFS(dir+"/etc/catalog", example.Files))
	must(t, os.CopyFS(dir+"/etc/ceilings", os.DirFS(dir+"/etc/catalog/ceilings")))
	raw, err := os.ReadFile(filepath.Join(root, "deploy", "valetkeyd.yaml"))
	must(t, err)
	text := replaced(t, p.here(string(raw)), map[string]string{
		"unix:///run/spire/agent.sock": p.socket("broker"), "0.0.0.0:8700": "127.0.0.1:0", "127.0.0.1:8701": "127.0.0.1:0", "127.0.0.1:8703": "127.0.0.1:0",
	})
	must(t, os.WriteFile(dir+"/etc/valetkeyd.yaml", []byte(text), 0o600))
	return p
}

// here puts our folders for the document's.
func (p production) here(text string) string {
	return strings.NewReplacer("/var/lib/valetkey-ledger", p.folders["/var/lib/valetkey-ledger"], "/var/lib/valetkey", p.folders["/var/lib/valetkey"],
		"/etc/valetkey", p.folders["/etc/valetkey"]).Replace(text)
}

// serve does what the document does before its last line, which serves until the test ends.
func (p production) serve(t *testing.T, d *docs, text string) *daemon {
	t.Helper()
	before, last, ok := strings.Cut(p.here(text), "valetkeyd serve ")
	if !ok {
		t.Fatal("it does not serve")
	}
	if out := d.shell(t, nil, before); !strings.Contains(out.stdout, "proven under") {
		t.Errorf("it prints:\n%s", out.stdout)
	}
	return start(t, program(t, "valetkeyd"), nil, append([]string{"serve"}, strings.Fields(last)...)...)
}

func (p *docs) firstStart(t *testing.T, text string) {
	prod := newProduction(t)
	d := prod.serve(t, p, text)
	if code := d.term(t); code != 0 {
		t.Errorf("told to end, it exits %d", code)
	}
}

// backup copies a broker that was stopped, and starts one from the copy.
func (p *docs) backup(t *testing.T, text string) {
	prod := newProduction(t)
	first := p.all["docs/production.md, First start, 1"]
	if code := prod.serve(t, p, first).term(t); code != 0 {
		t.Errorf("told to end, it exits %d", code)
	}
	to := t.TempDir()
	if out := p.shell(t, nil, replaced(t, prod.here(text), map[string]string{"/backup": to})); !strings.Contains(out.stdout, "every leaf, the tree and the signed checkpoint agree") {
		t.Errorf("the copy does not verify:\n%s", out.stdout)
	}
	state := prod.folders["/var/lib/valetkey"]
	p.shell(t, nil, "rm -r "+state+" && cp -a "+to+"/valetkey "+state)
	start(t, program(t, "valetkeyd"), nil, "serve", "--config", filepath.Join(prod.folders["/etc/valetkey"], "valetkeyd.yaml"))
}
