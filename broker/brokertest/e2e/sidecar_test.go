package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	helper "github.com/valetkey/valetkey/clients/helper/agent"
)

// sidecar is "valetkeyd dev" in front of real servers, and what the command line
// needs to ask it.
type sidecar struct {
	*daemon
	dir   string // the tests' own
	dev   string // the broker's
	env   []string
	minio servers.MinIOServer
	vault servers.VaultServer
	pg    servers.PostgresServer
}

// newSidecar starts MinIO with a bucket, and the broker. The tests' own keys are in
// the environment, as an operator's would be: nothing that runs may use them.
func newSidecar(t *testing.T) *sidecar {
	t.Helper()
	s := &sidecar{dir: shortDir(t), minio: servers.MinIO(t)}
	s.dev = filepath.Join(s.dir, "dev")
	root := s3Client(s.minio.Endpoint, s.minio.AccessKey, s.minio.SecretKey, "")
	eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	must(t, put(t.Context(), root, "reports/a"))
	must(t, put(t.Context(), root, "other/b"))
	return s
}

// withVault adds a Vault with two teams' secrets, and a PostgreSQL that it makes
// accounts in.
func (s *sidecar) withVault(t *testing.T) *sidecar {
	t.Helper()
	s.vault, s.pg = servers.Vault(t), servers.Postgres(t)
	w := &world{root: vaultClient(t, s.vault)}
	for _, d := range []struct {
		path string
		data map[string]any
	}{
		{"secret/data/web/db", map[string]any{"data": map[string]any{"password": "of-web"}}},
		{"secret/data/ads/db", map[string]any{"data": map[string]any{"password": "of-ads"}}},
		{"sys/mounts/database", map[string]any{"type": "database"}},
		{"database/config/pg", map[string]any{
			"plugin_name": "postgresql-database-plugin", "allowed_roles": "reader",
			"connection_url": "postgresql://{{username}}:{{password}}@" + s.pg.Addr + "/postgres?sslmode=disable",
			"username":       s.pg.User, "password": s.pg.Password,
		}},
		{"database/roles/reader", map[string]any{
			"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h",
			"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`,
		}},
	} {
		w.set(t, d.path, d.data)
	}
	must(t, os.WriteFile(filepath.Join(s.dir, "vault-token"), []byte(s.vault.RootToken), 0o600))
	return s
}

// start starts the broker, on ports of its own the first time and on those after.
func (s *sidecar) start(t *testing.T) *sidecar {
	t.Helper()
	listen, ledger := "127.0.0.1:0", "127.0.0.1:0"
	if s.daemon != nil {
		listen, ledger = s.grpc, strings.TrimPrefix(s.log, "http://")
	}
	args := []string{"dev", "--dir", s.dev, "--listen", listen, "--ledger", ledger, "--s3-endpoint", s.minio.Endpoint}
	if s.vault.Addr != "" {
		args = append(args, "--vault-addr", s.vault.Addr, "--vault-token-file", filepath.Join(s.dir, "vault-token"))
	}
	if s.pg.Addr != "" {
		args = append(args, "--vault-probe", "database/="+s.pg.Probe(t, s.dir))
	}
	s.daemon = start(t, program(t, "valetkeyd"), []string{"AWS_ACCESS_KEY_ID=" + s.minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.minio.SecretKey}, args...)
	vkey, err := os.ReadFile(filepath.Join(s.dev, "ledger.key.pub"))
	must(t, err)
	s.env = []string{
		"VALETKEY_ADDR=" + s.grpc, "VALETKEY_BROKER_ID=" + brokerID, "SPIFFE_ENDPOINT_SOCKET=unix://" + s.dev + "/agent.sock",
		"VALETKEY_LEDGER_KEY=" + strings.TrimSpace(string(vkey)),
	}
	return s
}

// mkdir is a folder of the tests' own.
func (s *sidecar) mkdir(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(s.dir, name)
	must(t, os.MkdirAll(dir, 0o700))
	return dir
}

// operators is an environment with an operator's own rights in it, in every way
// that the clients look for them.
func (s *sidecar) operators(t *testing.T) []string {
	t.Helper()
	home := s.mkdir(t, "home")
	must(t, os.MkdirAll(filepath.Join(home, ".aws"), 0o700))
	must(t, os.WriteFile(filepath.Join(home, ".aws", "credentials"),
		[]byte("[default]\naws_access_key_id = "+s.minio.AccessKey+"\naws_secret_access_key = "+s.minio.SecretKey+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(home, ".aws", "config"), []byte("[default]\nregion = eu-west-1\n"), 0o600))
	return []string{
		"HOME=" + home, "AWS_ACCESS_KEY_ID=" + s.minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.minio.SecretKey,
		"VAULT_TOKEN=" + s.vault.RootToken, "VAULT_ADDR=" + s.vault.Addr, "PGPASSWORD=" + s.pg.Password, "PGUSER=" + s.pg.User,
		"TMPDIR=" + s.mkdir(t, "tmp"), "NODE_PATH=" + filepath.Join(clientsDir(t), "js", "node_modules"),
	}
}

// clientsDir is where "make servers" has put the clients.
func clientsDir(t *testing.T) string {
	t.Helper()
	minio, err := servers.Binary("minio")
	must(t, err)
	dir := filepath.Join(filepath.Dir(minio), "clients")
	if _, err := os.Stat(filepath.Join(dir, "kubectl.stamp")); err != nil {
		t.Fatalf("finding the clients: %v; run make servers", err)
	}
	return dir
}

// exec runs valetkey exec in an operator's environment.
func (s *sidecar) exec(t *testing.T, flags string, command ...string) (output, int) {
	t.Helper()
	args := append(append([]string{"exec", "-e", "staging"}, strings.Fields(flags)...), "--")
	return run(t, append(s.operators(t), s.env...), program(t, "valetkey"), append(args, command...)...)
}

// nothingLeft wants no file, no open grant and no account.
func (s *sidecar) nothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(s.mkdir(t, "tmp"))
	must(t, err)
	for _, f := range left {
		t.Errorf("%s was left behind", f.Name())
	}
	eventually(t, revocationLimit, "no grant is open", func() bool {
		out, code := run(t, append(s.env, "SPIFFE_ENDPOINT_SOCKET=unix://"+s.dev+"/operator.sock"), program(t, "valetkey"), "grants", "-o", "json")
		if code != 0 {
			t.Fatalf("grants exits %d: %s", code, out.stderr)
		}
		return !strings.Contains(out.stdout, "STATE_ACTIVE") && !strings.Contains(out.stdout, "STATE_CLEARED")
	})
}

// agent is a running valetkey agent.
type agent struct {
	cmd    *exec.Cmd
	dir    string
	stderr *heard
	done   chan struct{} // closed when it has ended
}

// agent starts one on a configuration, and waits until each scope has a credential.
func (s *sidecar) agent(t *testing.T, config string) *agent {
	t.Helper()
	a := s.launchAgent(t, config)
	eventually(t, 2*time.Minute, "the agent serves", func() bool { return a.check(t) == 0 })
	return a
}

// launchAgent starts one.
func (s *sidecar) launchAgent(t *testing.T, config string) *agent {
	t.Helper()
	a := &agent{dir: s.mkdir(t, "agent"), stderr: &heard{}, done: make(chan struct{})}
	must(t, os.WriteFile(filepath.Join(a.dir, "agent.yaml"), []byte("socket: agent.sock\n"+config), 0o600))
	a.cmd = exec.Command(program(t, "valetkey"), "agent", "--config", filepath.Join(a.dir, "agent.yaml"))
	a.cmd.Env = append(append(os.Environ(), s.env...), "GORACE=atexit_sleep_ms=0")
	a.cmd.Stderr = a.stderr
	must(t, a.cmd.Start())
	go func() {
		_ = a.cmd.Wait() // read by state
		close(a.done)
	}()
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill() // it may have ended
		<-a.done
		if t.Failed() {
			t.Logf("the agent said:\n%s", a.stderr.String())
		}
	})
	return a
}

func (a *agent) socket() string { return filepath.Join(a.dir, "agent.sock") }

// check is the probe's exit code.
func (a *agent) check(t *testing.T) int {
	t.Helper()
	_, code := run(t, nil, program(t, "valetkey"), "agent", "status", "--socket", a.socket(), "--check")
	return code
}

// status is what the agent says of itself.
func (a *agent) status(t *testing.T) helper.Status {
	t.Helper()
	out, code := run(t, nil, program(t, "valetkey"), "agent", "status", "--socket", a.socket(), "-o", "json")
	if code != 0 {
		t.Fatalf("agent status exits %d: %s", code, out.stderr)
	}
	var st helper.Status
	must(t, json.Unmarshal([]byte(out.stdout), &st))
	return st
}

// output is where the status says that an output is: the word after its kind.
func (a *agent) output(t *testing.T, task, scope, kind string) string {
	t.Helper()
	for _, s := range a.scope(t, task, scope).Outputs {
		if words := strings.Fields(s); words[0] == kind {
			return words[1]
		}
	}
	t.Fatalf("task %s, scope %s has no output %s", task, scope, kind)
	return ""
}

func (a *agent) scope(t *testing.T, task, scope string) helper.ScopeStatus {
	t.Helper()
	for _, j := range a.status(t).Tasks {
		for _, s := range j.Scopes {
			if j.Name == task && s.Name == scope {
				return s
			}
		}
	}
	t.Fatalf("the status has no task %s with scope %s", task, scope)
	return helper.ScopeStatus{}
}

// read reads a file of the agent's.
func (a *agent) read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(a.dir, name))
	must(t, err)
	return string(raw)
}

// stop asks it to end, and wants it to.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	must(t, a.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-a.done:
	case <-time.After(2 * time.Minute):
		t.Fatal("the agent does not end after SIGTERM")
	}
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the agent exits %d:\n%s", code, a.stderr.String())
	}
}

// fetch asks an address as a program would.
func fetch(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { must(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(body)
}
