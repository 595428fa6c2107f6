package e2e_test

import (
	"bytes"
	"encoding/pem"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

// docs is what the snippets run against: "valetkeyd dev" in front of a real MinIO.
type docs struct {
	all   map[string]string // snippets by where
	dir   string            // the dev folder
	vkey  string
	minio servers.MinIOServer
	*daemon
}

// reader is how a snippet is read.
type reader func(t *testing.T, text string)

func (p *docs) readers() map[string]reader {
	policies := "docs/policy.md, `valetkey policy test DIR`"
	return map[string]reader{
		"README.md, valetkey, 1":                                         p.makeTargets,
		"README.md, `make help`":                                         p.makeTargets,
		"README.md, `make build`":                                        p.makeTargets,
		"README.md, `make demo`":                                         p.makeTargets,
		"README.md, `make demo-full`":                                    p.makeTargets,
		"README.md, `valetkeyd dev`":                                     p.devMode, // TestDevAsPrinted types what it prints
		"README.md, `make lint`":                                         p.makeTargets,
		"README.md, `make servers`":                                      p.makeTargets,
		"README.md, The incident, twice, 1":                              p.excerpt,
		"README.md, The incident, twice, 2":                              p.excerpt,
		"README.md, `" + execAsIs + "`":                                  p.exists, // TestWaysIn has it from a page that runs it
		"docs/demo.md, `make demo`":                                      p.makeTargets,
		"docs/demo.md, `valetkeyd dev`":                                  p.devMode,
		"docs/demo.md, `make demo-full`":                                 p.makeTargets,
		"docs/demo.md, The demo, 1":                                      p.demo,
		"docs/cli.md, The command line, 1":                               p.usingIt,
		"docs/cli.md, The command line, 2":                               p.formats,
		"docs/cli.md, `valetkey mint GRANT --format credential-process`": p.credentialProcess,
		"docs/record.md, The record, 1":                                  p.checkingTheRecord,

		"docs/config.md, `valetkeyd serve --config FILE`":                               p.exists,
		"docs/config.md, `valetkeyd config check FILE`":                                 configCheck,
		"docs/config.md, `valetkeyd keygen`":                                            p.exists,
		"docs/config.md, `valetkey reload`":                                             p.exists,
		"docs/config.md, `make generate-config`":                                        p.makeTargets,
		"docs/production.md, Identities, 1":                                             spireEntries,
		"docs/production.md, First start, 1":                                            p.firstStart,
		"docs/production.md, Backup and upgrade, 1":                                     p.backup,
		"docs/production.md, `valetkeyd config check --live FILE`":                      p.exists,
		"docs/production.md, `valetkey reload`":                                         p.exists,
		"docs/production.md, `valetkey ledger verify`":                                  p.exists,
		"docs/production.md, `valetkey mint`":                                           p.exists,
		"docs/production.md, `valetkeyd ledger accept-loss --config FILE --cause TEXT`": acceptLoss,
		"docs/production.md, `valetkeyd store check`":                                   p.exists,
		"docs/production.md, `valetkeyd store check --config FILE`":                     storeCheck,
		"docs/production.md, `valetkeyd store clear-damage --config FILE --cause TEXT`": clearDamage,

		"docs/approvals.md, Who may approve, 1":                                approvalConfig,
		"docs/approvals.md, Approving, 1":                                      p.approving,
		"docs/approvals.md, `valetkey reject GRANT --key FILE --comment TEXT`": p.rejecting,
		"docs/approvals.md, `valetkey freeze ID --cause TEXT`":                 p.freezing,
		"docs/approvals.md, What is signed, 1":                                 p.statement,
		"docs/approvals.md, What is signed, 2":                                 people,
		"docs/approvals.md, What is signed, 3":                                 p.approvalsOnRecord,

		"docs/catalog.md, The catalog, 1": checkedScope(""),
		"docs/catalog.md, What Vault scopes give, 1": checkedScope("name: doc\ndescription: The document's.\nprovider: vault\nrole: vault\nparams: {team: {type: identifier}}\n" +
			"ttl: {default: 5m, max: 15m}\n"),
		"docs/catalog.md, What Vault scopes give, 2": checkedScope("name: doc\ndescription: The document's.\nprovider: vault\nrole: vault\nparams: {role: {type: identifier}}\n" +
			"ttl: {default: 5m, max: 15m}\n"),

		"docs/catalog.md, Tiers, 1":                        p.misspelt,
		"docs/catalog.md, `make generate-actions`":         p.makeTargets,
		"docs/catalog.md, `make generate-s3calls`":         p.makeTargets,
		"docs/catalog.md, Ceilings, 1":                     picture,
		"docs/catalog.md, `valetkeyd config check FILE`":   configCheck,
		"docs/catalog.md, Before a change is merged, 1":    p.pullRequest,
		"docs/catalog.md, `valetkey catalog diff OLD NEW`": p.onExample(map[string]string{"OLD": "catalog", "NEW": "catalog"}),
		"docs/catalog.md, `valetkey catalog lint DIR`":     p.onExample(map[string]string{"DIR": "catalog"}),
		"docs/catalog.md, `valetkey catalog check DIR --ceiling s3=s3-role.json`": p.onExample(map[string]string{
			"DIR": "catalog", "s3-role.json": "catalog/ceilings/s3-role.json",
		}),

		"docs/policy.md, Policies, 1":            picture,
		"docs/policy.md, A policy, 1":            p.partOf(policies),
		"docs/policy.md, Claims, 1":              p.claims,
		"docs/policy.md, Approvals and lives, 1": p.partOf(policies),
		"docs/policy.md, policy.yaml, 1":         p.partOf(policies),
		"docs/policy.md, Tables, 1":              p.partOf(policies),
		policies:                                 p.policyTest,
	}
}

func newDocs(t *testing.T, all map[string]string) *docs {
	t.Helper()
	p := &docs{all: all, dir: filepath.Join(shortDir(t), "dev"), minio: servers.MinIO(t)}
	root := s3Client(p.minio.Endpoint, p.minio.AccessKey, p.minio.SecretKey, "")
	eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("logs")})
		return err == nil
	})
	p.daemon = start(t, program(t, "valetkeyd"),
		[]string{"AWS_ACCESS_KEY_ID=" + p.minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + p.minio.SecretKey},
		"dev", "--dir", p.dir, "--listen", "127.0.0.1:0", "--ledger", "127.0.0.1:0", "--s3-endpoint", p.minio.Endpoint)
	raw, err := os.ReadFile(filepath.Join(p.dir, "ledger.key.pub"))
	must(t, err)
	p.vkey = strings.TrimSpace(string(raw))
	return p
}

// picture is a snippet that shows something, and that nobody types.
func picture(t *testing.T, text string) {
	if strings.Contains(text, "$ ") || command.MatchString(text) {
		t.Errorf("it holds a command:\n%s", text)
	}
}

// partOf is a file that another snippet needs beside it.
func (p *docs) partOf(where string) reader {
	return func(t *testing.T, _ string) {
		if _, ok := p.all[where]; !ok {
			t.Errorf("there is no %q to be a part of", where)
		}
	}
}

// shell runs a script as a POSIX shell does, with our programs and the
// environment given, and wants it to succeed.
func (p *docs) shell(t *testing.T, env []string, script string) output {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-eu", "-c", script)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"PATH=" + binaries + ":" + os.Getenv("PATH"), "HOME=" + p.dir}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return output{stdout.String(), stderr.String()}
}

// replaced puts our own addresses and folders for those that the document has;
// each must be there.
func replaced(t *testing.T, text string, by map[string]string) string {
	t.Helper()
	for old, now := range by {
		if !strings.Contains(text, old) {
			t.Errorf("the snippet does not have %q any more", old)
		}
		text = strings.ReplaceAll(text, old, now)
	}
	return text
}

// makeTargets asks make what it would do: what the targets do has tests of its own.
func (p *docs) makeTargets(t *testing.T, text string) {
	tree, err := filepath.Abs(root)
	must(t, err)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		p.shell(t, nil, "cd '"+tree+"' && "+strings.Replace(strings.TrimSpace(line), "make ", "make -n ", 1))
	}
}

// devMode is what a reader does first: the program is there, and says what it is.
func (p *docs) devMode(t *testing.T, text string) {
	if out := p.shell(t, nil, text+" --help"); !strings.Contains(out.stdout, "Never for production") {
		t.Errorf("its help says:\n%s", out.stdout)
	}
}

// agent is the environment that docs/cli.md sets, where it is not what is tested.
func (p *docs) agent() []string {
	return []string{"VALETKEY_ADDR=" + p.grpc, "VALETKEY_BROKER_ID=" + brokerID, "SPIFFE_ENDPOINT_SOCKET=unix://" + p.dir + "/agent.sock", "VALETKEY_LEDGER_KEY=" + p.vkey}
}

func (p *docs) usingIt(t *testing.T, text string) {
	text = replaced(t, text, map[string]string{
		"127.0.0.1:8700": p.grpc, "unix:///run/spire/agent.sock": "unix://" + p.dir + "/agent.sock",
	})
	// It is stopped before its last line, to try what it was given.
	before, last, ok := strings.Cut(text, "valetkey task close")
	if !ok {
		t.Fatal("the snippet does not close its task")
	}
	out := p.shell(t, []string{"VKEY=" + p.vkey}, before+`
printf 'TASK=%s\n' "$TASK" > task; printf '%s\n%s\n%s\n%s\n' "$AWS_ENDPOINT_URL_S3" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_SESSION_TOKEN" > given`)
	for _, want := range []string{"s3-prefix-read", "s3:GetObject"} {
		if !strings.Contains(out.stdout, want) {
			t.Errorf("it prints no %q:\n%s", want, out.stdout)
		}
	}
	given := strings.Fields(p.read(t, "given"))
	if len(given) != 4 {
		t.Fatalf("it left %d of the four variables that an AWS SDK reads", len(given))
	}
	c := s3Client(given[0], given[1], given[2], given[3])
	list := func() error {
		_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("logs"), Prefix: aws.String("2026/")})
		return err
	}
	must(t, list())
	p.shell(t, append(p.agent(), strings.TrimSpace(p.read(t, "task"))), "valetkey task close"+last)
	eventually(t, revocationLimit, "MinIO refuses what the closed task was given", func() bool { return forbidden(list()) })
	p.commandTable(t)
}

func (p *docs) read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.dir, name))
	must(t, err)
	return string(raw)
}

var (
	cell = regexp.MustCompile("(?m)^\\| (`.*?) \\| ")
	span = regexp.MustCompile("`([^`]+)`")
	flag = regexp.MustCompile(`--[a-z-]+`)
)

// commandTable asks for the help of each command that the page lists, and for
// each flag in it.
func (p *docs) commandTable(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "docs/cli.md"))
	must(t, err)
	n := 0
	for _, row := range cell.FindAllStringSubmatch(string(raw), -1) {
		for _, m := range span.FindAllStringSubmatch(row[1], -1) {
			n++
			p.exists(t, "valetkey "+m[1])
		}
	}
	if n < 10 {
		t.Errorf("docs/cli.md lists %d commands: the table was not found", n)
	}
}

// exists asks for the help of a command, and for each flag of it.
func (p *docs) exists(t *testing.T, text string) {
	t.Helper()
	text, _, _ = strings.Cut(text, " -- ")
	words := regexp.MustCompile(`^[a-z]+( [a-z]+)*`).FindString(text)
	help := p.shell(t, nil, words+" --help").stdout
	if !strings.Contains(help, words) {
		t.Errorf("%s: its help is of something else:\n%s", words, help)
	}
	for _, f := range flag.FindAllString(text, -1) {
		if !strings.Contains(help, f) {
			t.Errorf("%s has no %s", words, f)
		}
	}
}

func (p *docs) credentialProcess(t *testing.T, text string) {
	grant := `valetkey request s3-prefix-read bucket=logs prefix=2026/ --task "$(valetkey task open -e staging doc)" -o json`
	id := regexp.MustCompile(`grant_[a-z0-9]+`).FindString(p.shell(t, p.agent(), grant).stdout)
	out := p.shell(t, p.agent(), replaced(t, text, map[string]string{"GRANT": id}))
	for _, want := range []string{`"Version": 1`, `"AccessKeyId"`, `"SecretAccessKey"`, `"SessionToken"`, `"Expiration"`} {
		if !strings.Contains(out.stdout, want) {
			t.Errorf("its answer has no %s", want)
		}
	}
}

// formats has each shell read what the document says, and go on only with a credential.
// There is no PowerShell here.
func (p *docs) formats(t *testing.T, text string) {
	grant := `valetkey request s3-prefix-read bucket=logs prefix=2026/ --task "$(valetkey task open -e staging doc)" -o json`
	id := regexp.MustCompile(`grant_[a-z0-9]+`).FindString(p.shell(t, p.agent(), grant).stdout)
	shells := 0
	for line := range strings.Lines(text) {
		shell, script, _ := strings.Cut(strings.TrimSpace(line), " ")
		also := map[string]string{"sh": " && ", "fish": "; and ", "tcsh": " && "}[shell]
		if also == "" {
			continue
		}
		shells++
		for id, want := range map[string]bool{id: true, "grant_" + strings.Repeat("a", 26): false} {
			cmd := exec.CommandContext(t.Context(), shell, "-c", strings.ReplaceAll(strings.TrimSpace(script), "GRANT", id)+also+"printenv AWS_SESSION_TOKEN")
			cmd.Env = append(p.agent(), "PATH="+binaries+":"+os.Getenv("PATH"), "HOME="+t.TempDir(), "AWS_SESSION_TOKEN=mine")
			out, err := cmd.Output()
			if got := strings.TrimSpace(string(out)); (got != "" && got != "mine") != want || (err == nil) != want {
				t.Errorf("%s, with a credential %v: %v: %q", shell, want, err, got)
			}
		}
	}
	if shells != 3 {
		t.Errorf("%d shells were tried", shells)
	}
}

// front ends TLS in front of the log, which the broker serves as plain HTTP. It is
// the operator's part; ca is a file with its certificate.
func (p *docs) front(t *testing.T) (addr, ca string) {
	t.Helper()
	to, err := url.Parse(p.log)
	must(t, err)
	srv := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(to))
	t.Cleanup(srv.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	return srv.Listener.Addr().String(), ca
}

func (p *docs) checkingTheRecord(t *testing.T, text string) {
	front, ca := p.front(t)
	text = replaced(t, text, map[string]string{
		"broker.example:8701": front, "/var/lib/valetkey/state.db": p.dir + "/valetkey.db",
	})
	for range 2 { // the second time from the checkpoint of the first
		out := p.shell(t, []string{"VKEY=" + p.vkey, "SSL_CERT_FILE=" + ca}, text)
		if strings.Count(out.stdout, "every leaf, the tree and the signed checkpoint agree") != 2 {
			t.Errorf("not both verify:\n%s", out.stdout)
		}
	}
}

// checkedScope is a scope, or with a head what is to stand below it, that the
// catalog takes.
func checkedScope(head string) reader {
	return func(t *testing.T, text string) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "doc.yaml"), []byte(head+text), 0o600))
		if out, code := run(t, nil, program(t, "valetkey"), "catalog", "check", dir); code != 0 {
			t.Errorf("exits %d: %s", code, out.stderr)
		}
	}
}

// onExample runs a command on the dev folder's catalog; findings of a lint are no failure.
func (p *docs) onExample(by map[string]string) reader {
	return func(t *testing.T, text string) {
		script := replaced(t, strings.TrimSpace(text), by)
		if strings.Contains(script, " lint ") {
			script += " || [ $? -eq 3 ]"
		}
		p.shell(t, nil, script)
	}
}

// misspelt has the example's scope say what the document does, and wants its answer.
func (p *docs) misspelt(t *testing.T, text string) {
	dir := t.TempDir()
	must(t, os.CopyFS(dir, example.Files))
	file := filepath.Join(dir, "s3-prefix-read.yaml")
	raw, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte(strings.Replace(string(raw), "s3:GetObject", "s3:GetObjct", 1)), 0o600))
	out, code := run(t, nil, program(t, "valetkey"), "catalog", "check", dir)
	if code == 0 || !strings.Contains(out.stderr, strings.TrimSpace(text)) {
		t.Errorf("exits %d: %s", code, out.stderr)
	}
}

// pullRequest is a checkout of the catalog whose main branch is the same.
func (p *docs) pullRequest(t *testing.T, text string) {
	dir := t.TempDir()
	must(t, os.CopyFS(filepath.Join(dir, "catalog"), example.Files))
	p.shell(t, nil, "cd '"+dir+"'\ngit init -q . && git add -A && git -c user.name=t -c user.email=t@example.org commit -qm x\n"+
		"git update-ref refs/remotes/origin/main HEAD\n"+text)
	if raw, err := os.ReadFile(filepath.Join(dir, "comment.md")); err != nil || len(raw) == 0 {
		t.Errorf("there is no comment: %v", err)
	}
}

func configCheck(t *testing.T, text string) {
	l := newLocal(t)
	words := strings.Fields(replaced(t, text, map[string]string{"FILE": l.path("valetkeyd.yaml")}))
	if out, code := run(t, nil, program(t, words[0]), words[1:]...); code != 0 {
		t.Errorf("exits %d: %s", code, out.stderr)
	}
}

// acceptLoss is for a ledger whose checkpoint file went.
func acceptLoss(t *testing.T, text string) {
	l := newLocal(t)
	must(t, os.Remove(l.path("ledger.key.checkpoint")))
	words := strings.Fields(replaced(t, text, map[string]string{"FILE": l.path("valetkeyd.yaml"), "TEXT": "it-went"}))
	if out, code := run(t, nil, program(t, words[0]), words[1:]...); code != 0 || !strings.Contains(out.stdout, "it-went") {
		t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
	}
}

// storeCheck looks at what a broker has left.
func storeCheck(t *testing.T, text string) {
	l := newLocal(t)
	if code := l.start(t).term(t); code != 0 {
		t.Fatalf("valetkeyd exits %d", code)
	}
	words := strings.Fields(replaced(t, text, map[string]string{"FILE": l.path("valetkeyd.yaml")}))
	if out, code := run(t, nil, program(t, words[0]), words[1:]...); code != 0 || !strings.Contains(out.stdout, "ok") {
		t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
	}
}

// clearDamage is for a database that was found damaged, and restored.
func clearDamage(t *testing.T, text string) {
	l := newLocal(t)
	l.write(t, "valetkey.db.damaged", "a page was lost\n")
	words := strings.Fields(replaced(t, text, map[string]string{"FILE": l.path("valetkeyd.yaml"), "TEXT": "restored"}))
	if out, code := run(t, nil, program(t, words[0]), words[1:]...); code != 0 || !strings.Contains(out.stdout, "a page was lost") {
		t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
	}
}

// policyFolder is the example's scopes with these policies and tables.
func policyFolder(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "catalog")
	must(t, os.CopyFS(dir, example.Files))
	for _, sub := range []string{"policies", "tests"} {
		must(t, os.RemoveAll(filepath.Join(dir, sub)))
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	for name, content := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}

// claims holds the document's policy on a claim to what the document says of it.
func (p *docs) claims(t *testing.T, text string) {
	request := `{agent: "spiffe://example.org/agent/ana/s1", scope: s3-prefix-read, params: {bucket: b-1, prefix: a/}, environment: `
	dir := policyFolder(t, map[string]string{
		"policies/claims.cedar": text,
		"policies/rest.cedar":   "@id(\"rest\")\n@reason(\"the rest\")\npermit (principal, action, resource);\n",
		"policies/policy.yaml":  p.all["docs/policy.md, policy.yaml, 1"],
		"tests/ours.yaml": "tests:\n  - {name: the honest, request: " + request + "production}, expect: {outcome: needs_approval, needs: {sre: 1}}}\n" +
			"  - {name: the liar, request: " + request + "dev}, expect: {outcome: allow}}\n",
	})
	if out := p.shell(t, nil, "valetkey policy test '"+dir+"'"); !strings.Contains(out.stdout, "2 cases in 1 files, 0 fail") {
		t.Errorf("it says:\n%s", out.stdout)
	}
}

// policyTest lays out the folder that docs/policy.md describes, from its own
// snippets: the scopes are the example's, and all but what the snippets say is permitted.
func (p *docs) policyTest(t *testing.T, text string) {
	dir := policyFolder(t, map[string]string{
		"policies/first.cedar":  p.all["docs/policy.md, A policy, 1"],
		"policies/second.cedar": p.all["docs/policy.md, Approvals and lives, 1"],
		"policies/rest.cedar":   "@id(\"rest\")\n@reason(\"the rest\")\npermit (principal, action, resource);\n",
		"policies/policy.yaml":  p.all["docs/policy.md, policy.yaml, 1"],
		"tests/doc.yaml":        p.all["docs/policy.md, Tables, 1"],
		"tests/ours.yaml": `tests:
  - name: the first policy of the document cuts
    request: {agent: "spiffe://example.org/agent/ana/s1", scope: s3-prefix-write, params: {bucket: b-1, prefix: a/}, environment: production, ttl: 1h}
    expect: {outcome: allow, policies: [rest, storage.write-short], ttl: 30m}
`,
	})
	out := p.shell(t, nil, replaced(t, text, map[string]string{"DIR": dir}))
	if !strings.Contains(out.stdout, "2 cases in 2 files, 0 fail") {
		t.Errorf("it says:\n%s", out.stdout)
	}
}
