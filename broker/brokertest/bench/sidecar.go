package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
	helper "github.com/valetkey/valetkey/clients/helper/agent"
	"github.com/valetkey/valetkey/clients/helper/serve"
)

// manyServed is how many credentials the agent of row (h) holds.
const manyServed = 1000

// sidecar is row (h): a fetch from a running agent, beside a bare handler of
// net/http in a process of its own; a command, bare and by valetkey exec; and the
// agent's memory.
func (t *bench) sidecar(auth *devauthority.Authority, u upstream) {
	d := startDaemon(t, auth, u, history{})
	env := t.callerEnv(auth, d)
	one := t.startAgent(env, 1)
	url, token := one.first()
	bare := t.startBare()
	t.compare("h", []int{1, 16, 64},
		way{"bare net/http handler", fetchCaller(bare, "")},
		way{"**agent, container endpoint**", fetchCaller(url, token)},
	)
	t.compare("h", []int{1},
		way{"`true`", commandCaller(nil, "true")},
		way{"**`valetkey exec -- true`**", commandCaller(env, t.valetkey, "exec", "--scope", scopeName, "bucket=bench", "prefix=reports/", "-e", "staging", "--", "true")},
	)
	t.agentMemory("1 credential", one)
	t.agentMemory(fmt.Sprintf("%d live credentials", manyServed), t.startAgent(env, manyServed))
}

// callerEnv is what a caller of the daemon has in its environment.
func (t *bench) callerEnv(auth *devauthority.Authority, d daemon) []string {
	id, err := auth.ID("agent", "bench", "sidecar")
	t.must(err)
	sock := filepath.Join(d.dir, "agent.sock")
	t.must(auth.Serve(t.ctx, sock, id))
	vkey, err := os.ReadFile(filepath.Join(d.dir, "ledger.key.pub"))
	t.must(err)
	return append(os.Environ(), "VALETKEY_ADDR="+d.addr, "SPIFFE_ENDPOINT_SOCKET=unix://"+sock, "VALETKEY_LEDGER_KEY="+strings.TrimSpace(string(vkey)))
}

// agentProcess is a running valetkey agent.
type agentProcess struct {
	t   *bench
	dir string
	pid int
}

// startAgent starts one with n tasks of one scope, and waits for all.
func (t *bench) startAgent(env []string, n int) agentProcess {
	a := agentProcess{t: t, dir: t.TempDir()}
	var conf bytes.Buffer
	conf.WriteString("socket: s\ntasks:\n")
	for i := range n {
		fmt.Fprintf(&conf, "  - name: t%[1]d\n    purpose: measure\n    environment: staging\n    scopes:\n"+
			"      - {scope: %[2]s, params: {bucket: bench, prefix: p%[1]d/}, outputs: {container: {token_file: t%[1]d.token}}}\n", i, scopeName)
	}
	file := filepath.Join(a.dir, "agent.yaml")
	t.must(os.WriteFile(file, conf.Bytes(), 0o600))
	log, err := os.Create(filepath.Join(a.dir, "log"))
	t.must(err)
	cmd := exec.Command(t.valetkey, "agent", "--config", file)
	cmd.Env, cmd.Stderr = env, log
	t.must(cmd.Start())
	t.Cleanup(func() {
		t.note(cmd.Process.Signal(syscall.SIGTERM))
		t.note(cmd.Wait())
		t.note(log.Close())
	})
	a.pid = cmd.Process.Pid
	for end := time.Now().Add(time.Minute); ; {
		if _, err := serve.Ask(t.ctx, filepath.Join(a.dir, "s"), helper.HealthPath); err == nil {
			return a
		} else if time.Now().After(end) {
			t.Fatalf("the agent does not serve: %v", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.ctx.Done():
			t.Fatalf("stopped")
		}
	}
}

// first is the address and the token of the first scope.
func (a agentProcess) first() (url, token string) {
	raw, err := serve.Ask(a.t.ctx, filepath.Join(a.dir, "s"), helper.StatusPath)
	a.t.must(err)
	st, err := helper.DecodeStatus(raw)
	a.t.must(err)
	secret, err := os.ReadFile(filepath.Join(a.dir, "t0.token"))
	a.t.must(err)
	return strings.Fields(st.Tasks[0].Scopes[0].Outputs[0])[1], string(secret)
}

func (t *bench) agentMemory(when string, a agentProcess) {
	select {
	case <-time.After(settle):
	case <-t.ctx.Done():
	}
	mib, err := resident(a.pid)
	t.must(err)
	fmt.Printf("| h | **agent** resident, %s: %.0f MiB | | | | |\n", when, mib)
}

// bareAnswer is what the agent answers, in shape.
var bareAnswer = map[string]string{
	"AccessKeyId": "ASIABENCH0000000000", "SecretAccessKey": "bench-secret-of-nothing", "Token": "bench-token-of-nothing", "Expiration": "2030-01-01T00:00:00Z",
}

// serveBare is the reference: this program with -bare, until its input ends.
func serveBare() error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(lis.Addr())
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(bareAnswer)
	})}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = srv.Close()
	}()
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (t *bench) startBare() string {
	self, err := os.Executable()
	t.must(err)
	cmd := exec.Command(self, "-bare")
	in, err := cmd.StdinPipe()
	t.must(err)
	out, err := cmd.StdoutPipe()
	t.must(err)
	t.must(cmd.Start())
	t.Cleanup(func() {
		t.note(in.Close())
		t.note(cmd.Wait())
	})
	var addr string
	_, err = fmt.Fscanln(out, &addr)
	t.must(err)
	return "http://" + addr + "/"
}

// fetchCaller asks over a connection of its own that stays.
func fetchCaller(url, token string) func(int) (op, error) {
	return func(int) (op, error) {
		client := &http.Client{Transport: &http.Transport{}}
		return func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			if token != "" {
				req.Header.Set("Authorization", token)
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s", resp.Status)
			}
			_ = resp.Body.Close()
			return err
		}, nil
	}
}

// commandCaller runs a command to its end.
func commandCaller(env []string, name string, args ...string) func(int) (op, error) {
	return func(int) (op, error) {
		return func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Env = env
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", name, err, out)
			}
			return nil
		}, nil
	}
}
