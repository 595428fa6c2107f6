package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	example "github.com/valetkey/valetkey/testdata/catalog"
)

const (
	trustDomain = "example.org"
	brokerID    = "spiffe://example.org/valetkeyd"
	aliceID     = "spiffe://example.org/agent/alice/s1"
	operatorID  = "spiffe://example.org/operator"
	origin      = "log.example.org/valetkey"

	startLimit = 60 * time.Second
)

// site is a folder with all that "valetkeyd serve" needs.
type site struct {
	dir string
	// vkey is what an auditor pins.
	vkey string
}

// newSite makes the key with the binary, and copies the example catalog.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: shortDir(t)}
	must(t, os.CopyFS(s.path("catalog"), example.Files))
	out, code := run(t, nil, program(t, "valetkeyd"), "keygen", s.path("ledger.key"), "--origin", origin)
	if code != 0 {
		t.Fatalf("keygen exits %d: %s", code, out.stderr)
	}
	s.vkey = strings.TrimSpace(out.stdout)
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// edit replaces the one place in a file that says old.
func (s *site) edit(t *testing.T, name, old, now string) {
	t.Helper()
	raw, err := os.ReadFile(s.path(name))
	must(t, err)
	if n := strings.Count(string(raw), old); n != 1 {
		t.Fatalf("%s has %q %d times, want once", name, old, n)
	}
	s.write(t, name, strings.Replace(string(raw), old, now, 1))
}

func (s *site) write(t *testing.T, name, text string) string {
	t.Helper()
	must(t, os.WriteFile(s.path(name), []byte(text), 0o600))
	return s.path(name)
}

// config writes the configuration. identity and roles are the YAML below those
// keys, indented by two.
func (s *site) config(t *testing.T, identity, roles string) string {
	t.Helper()
	return s.write(t, "valetkeyd.yaml", `listen: 127.0.0.1:0
catalog: `+s.path("catalog")+`
store:
  path: `+s.path("valetkey.db")+`
ledger:
  key_file: `+s.path("ledger.key")+`
  listen: 127.0.0.1:0
operators: [`+operatorID+`]
drain: 0s
guard:
  rate_per_minute: 600000
  burst: 10000
identity:
  trust_domains: [`+trustDomain+`]
  path_templates: ["/agent/{user}/{session}"]
`+identity+`roles:
`+roles)
}

// daemon is a running valetkeyd.
type daemon struct {
	cmd  *exec.Cmd
	grpc string // host:port
	jwt  string // host:port; empty without that listener
	log  string // the ledger's URL
	done chan struct{}

	mu     sync.Mutex
	stderr bytes.Buffer // locked by mu
}

// start runs valetkeyd until it says that it serves.
func start(t *testing.T, path string, env []string, args ...string) *daemon {
	t.Helper()
	d, ready := launch(t, path, env, args...)
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case <-ready:
	case <-d.done:
		t.Fatalf("valetkeyd ended before it served:\n%s", d.errors())
	case <-limit.C:
		t.Fatalf("valetkeyd does not serve after %v:\n%s", startLimit, d.errors())
	}
	return d
}

// launch runs valetkeyd. ready is closed when it says that it serves.
func launch(t *testing.T, path string, env []string, args ...string) (d *daemon, ready chan struct{}) {
	t.Helper()
	return launchAs(t, nil, path, env, args...)
}

// launchAs is launch as another user; nil for our own.
func launchAs(t *testing.T, attr *syscall.SysProcAttr, path string, env []string, args ...string) (d *daemon, ready chan struct{}) {
	t.Helper()
	d = &daemon{cmd: exec.Command(path, args...), done: make(chan struct{})}
	d.cmd.Env, d.cmd.SysProcAttr = append(os.Environ(), env...), attr
	stderr, err := d.cmd.StderrPipe()
	must(t, err)
	must(t, d.cmd.Start())
	ready = make(chan struct{})
	go func() {
		defer close(d.done)
		d.read(bufio.NewScanner(stderr), ready)
		_ = d.cmd.Wait() // read by code
	}()
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("valetkeyd said:\n%s", d.errors())
		}
	})
	return d, ready
}

func (d *daemon) read(lines *bufio.Scanner, ready chan struct{}) {
	for lines.Scan() {
		d.mu.Lock()
		d.stderr.Write(append(lines.Bytes(), '\n'))
		d.mu.Unlock()
		var said struct{ Msg, GRPC, JWT, Ledger string }
		if json.Unmarshal(lines.Bytes(), &said) == nil && said.Msg == "serving" {
			d.grpc, d.jwt, d.log = said.GRPC, said.JWT, "http://"+said.Ledger
			close(ready)
		}
	}
}

func (d *daemon) errors() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stderr.String()
}

// kill is kill -9, and waits for the process to be gone.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.done
}

// term asks it to end, and returns its exit code.
func (d *daemon) term(t *testing.T) int {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case <-d.done:
	case <-limit.C:
		t.Fatalf("valetkeyd does not end after SIGTERM:\n%s", d.errors())
	}
	return d.cmd.ProcessState.ExitCode()
}

type output struct{ stdout, stderr string }

// run runs a command to its end.
func run(t *testing.T, env []string, path string, args ...string) (output, int) {
	t.Helper()
	return runIn(t, append(os.Environ(), env...), path, args...)
}

// runIn is run with that environment and nothing else.
func runIn(t *testing.T, env []string, path string, args ...string) (output, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return output{stdout.String(), stderr.String()}, cmd.ProcessState.ExitCode()
}

// verify runs the verifier that an auditor runs, on a URL or a database file.
func verify(t *testing.T, s *site, log string) {
	t.Helper()
	out, code := run(t, nil, program(t, "valetkey"), "ledger", "verify", log, "--key", s.vkey, "-q")
	if code != 0 {
		t.Errorf("ledger verify %s exits %d: %s", log, code, out.stderr)
	}
}
