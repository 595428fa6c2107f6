package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/ledger"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

const trustDomain = "example.org"

// daemon is a running valetkeyd, as an operator would run it: SVIDs from a Workload
// API, SQLite on disk, a log in a file.
type daemon struct {
	addr, dir string
	pid       int
}

const configText = `listen: 127.0.0.1:0
catalog: %[1]s/catalog
store: {path: %[1]s/valetkey.db}
ledger: {key_file: %[1]s/ledger.key}
identity:
  workload_api: unix://%[2]s
  trust_domains: [example.org]
  path_templates: ["/agent/{user}/{session}"]
delegates: [{id: spiffe://example.org/vault/plugin, agents: ["/agent/{user}/vault"]}]
guard: {rate_per_minute: 6000000, burst: 1000000}
drain: 0s
roles:
  s3: {provider: aws, role_arn: "%[3]s", region: %[4]s, endpoint: "%[5]s", s3_endpoint: "%[5]s", dialect: %[6]s, ceiling: %[1]s/catalog/ceilings/s3-role.json}
  vault: {provider: vault, address: "http://127.0.0.1:1", auth: {method: token, token_file: %[1]s/none}, ceiling: %[1]s/catalog/ceilings/vault-role.hcl}
`

func startDaemon(t *bench, auth *devauthority.Authority, u upstream, h history) daemon {
	d := daemon{dir: t.TempDir()}
	t.must(os.CopyFS(filepath.Join(d.dir, "catalog"), example.Files))
	t.must(ledger.GenerateKey(filepath.Join(d.dir, "ledger.key"), "bench.example.org/log"))
	t.fill(d.dir, h)
	self, err := auth.ID("valetkeyd")
	t.must(err)
	sock := filepath.Join(d.dir, "workload.sock")
	t.must(auth.Serve(t.ctx, sock, self))
	conf := filepath.Join(d.dir, "valetkeyd.yaml")
	t.must(os.WriteFile(conf, fmt.Appendf(nil, configText, d.dir, sock, roleARN, region, u.endpoint, u.dialect), 0o600))
	log, err := os.Create(filepath.Join(d.dir, "log"))
	t.must(err)
	cmd := exec.Command(t.valetkeyd, "serve", "--config", conf)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+u.key, "AWS_SECRET_ACCESS_KEY="+u.secret)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	t.must(err)
	t.must(cmd.Start())
	t.Cleanup(func() {
		t.note(cmd.Process.Signal(syscall.SIGTERM))
		t.note(errors.Join(cmd.Wait(), log.Close()))
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tail, _ := os.ReadFile(log.Name())
		t.Fatalf("starting %s: %v\n%s", t.valetkeyd, err, tail)
	}
	rest, ok := strings.CutPrefix(line, "valetkeyd serves on ")
	d.addr, _, _ = strings.Cut(rest, ";")
	if !ok {
		t.Fatalf("valetkeyd said %q", line)
	}
	d.pid = cmd.Process.Pid
	return d
}

// dial connects with mTLS as an agent of its own.
func dial(t *bench, auth *devauthority.Authority, addr string, i int) (*grpc.ClientConn, error) {
	id, err := auth.ID("agent", "bench", fmt.Sprintf("s%d", i))
	if err != nil {
		return nil, err
	}
	conf := tlsconfig.MTLSClientConfig(auth.Source(id), auth.X509Bundle(), tlsconfig.AuthorizeMemberOf(auth.TrustDomain()))
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err == nil {
		t.Cleanup(func() { t.note(conn.Close()) })
	}
	return conn, err
}

// grantCaller is an agent in its open task that asks for a grant with its first
// credential, again and again.
func grantCaller(t *bench, auth *devauthority.Authority, d daemon) func(int) (op, error) {
	return func(i int) (op, error) {
		conn, err := dial(t, auth, d.addr, i)
		if err != nil {
			return nil, err
		}
		client := valetkeyv1.NewAgentServiceClient(conn)
		task, err := client.OpenTask(t.ctx, &valetkeyv1.OpenTaskRequest{IdempotencyKey: rand.Text(), Purpose: "measure", Environment: "staging"})
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			out, err := client.RequestGrant(ctx, &valetkeyv1.RequestGrantRequest{
				IdempotencyKey: rand.Text(), TaskId: task.GetTask().GetId(), Scope: scopeName, Mint: true, Justification: "measure",
				Parameters: map[string]*valetkeyv1.Value{"bucket": {Values: []string{"bench"}}, "prefix": {Values: []string{"reports/"}}},
			})
			if err == nil && (out.GetCredential().GetAws() == nil || out.GetReceipt() == nil) {
				err = errors.New("valetkeyd gave no credential with a receipt")
			}
			return err
		}, nil
	}
}

// echoCaller is the floor under any gRPC call: the same mTLS, an empty handler.
func echoCaller(t *bench, auth *devauthority.Authority) func(int) (op, error) {
	self, err := auth.ID("echo")
	t.must(err)
	conf := identity.ServerTLS(auth.Source(self), []string{trustDomain})
	conf.NextProtos = []string{"h2"}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	healthpb.RegisterHealthServer(s, echo{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	t.must(err)
	go func() { t.note(s.Serve(l)) }()
	t.Cleanup(s.Stop)
	return func(i int) (op, error) {
		conn, err := dial(t, auth, l.Addr().String(), i)
		if err != nil {
			return nil, err
		}
		client := healthpb.NewHealthClient(conn)
		return func(ctx context.Context) error {
			_, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "echo"})
			return err
		}, nil
	}
}

type echo struct {
	healthpb.UnimplementedHealthServer
}

func (echo) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// resident is a process's memory in MiB, as the kernel counts it.
func resident(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib float64
			_, err := fmt.Sscanf(rest, "%f kB", &kib)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// settle waits until a start's garbage is gone, as far as it goes by itself.
const settle = 2 * time.Second
