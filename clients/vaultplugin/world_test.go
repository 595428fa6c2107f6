package vaultplugin_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/hashicorp/vault/api"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes/iam"
)

const (
	pluginName = "vault-plugin-secrets-valetkey"
	delegateID = "spiffe://example.org/vault/plugin"
	aliceID    = "spiffe://example.org/agent/alice/vault"
	brokerID   = "spiffe://example.org/valetkeyd"

	// endLimit is how long the end of a lease may take to reach the provider.
	endLimit = 15 * time.Second
)

// binaries builds the plugin as two versions, once for all tests.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vkplugin")
	if err != nil {
		return "", err
	}
	for _, version := range []string{"v0.1.0", "v0.2.0"} {
		build := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", filepath.Join(dir, version, pluginName),
			"github.com/valetkey/valetkey/cmd/"+pluginName)
		if out, err := build.CombinedOutput(); err != nil {
			return "", errors.New(string(out))
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	// These tests wait for servers' timers more than they work, so more of them run at
	// once than there are processors. A -parallel on the command line goes before.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, "setting -parallel:", err)
		os.Exit(1)
	}
	code := m.Run()
	if dir, err := binaries(); err == nil {
		_ = os.RemoveAll(dir) // a temporary folder of the machine's
	}
	os.Exit(code)
}

// pluginDir is a folder of the test's own that holds the plugin.
func pluginDir(t *testing.T) string {
	t.Helper()
	built, err := binaries()
	must(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	install(t, filepath.Join(built, "v0.1.0", pluginName), filepath.Join(dir, pluginName))
	return dir
}

func install(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.Link(from, to))
}

// world is a broker that mints at a real MinIO and a real Vault, and that Vault with
// the plugin in it.
type world struct {
	*brokertest.Harness
	vault    servers.VaultServer
	minio    servers.MinIOServer
	root     *api.Client
	s3       *s3.Client
	plugins  string
	accessor string // of userpass
	socket   string // the delegate's Workload API
}

// via puts a server between the broker and the real MinIO's STS; nil for none. people
// may approve.
func newWorld(t *testing.T, via func(minio string) string, people ...brokertest.Person) *world {
	t.Helper()
	w := &world{plugins: pluginDir(t), minio: servers.MinIO(t)}
	// A Vault that is stopped in the middle of something leaves its plugin running.
	t.Cleanup(func() {
		for _, pid := range w.pids(t) {
			kill(t, pid)
		}
	})
	w.vault = servers.Vault(t, "-dev-plugin-dir="+w.plugins)
	w.root = w.client(t, w.vault.RootToken)
	t.Cleanup(func() { tail(t) })
	sts := w.minio.Endpoint
	if via != nil {
		sts = via(sts)
	}
	w.Harness = brokertest.NewRunning(t, brokertest.Config{
		Guard:     guard.Config{RatePerMinute: 600_000, Burst: 10_000},
		Delegates: documented(t), People: people, Dialect: iam.DialectMinIO,
		Minter: func(permits *mint.Verifier, clock *brokertest.Clock) mint.Minter {
			aws, err := awssts.New(t.Context(), awssts.Config{
				Role: "s3", RoleARN: "arn:aws:iam::000000000000:role/test", Endpoint: sts, S3Endpoint: w.minio.Endpoint,
				Dialect: iam.DialectMinIO, Permits: permits, Now: clock.Now,
				Credentials: credentials.NewStaticCredentialsProvider(w.minio.AccessKey, w.minio.SecretKey, ""),
			})
			must(t, err)
			v, err := vault.New(t.Context(), vault.Config{
				Role: "vault", Address: w.vault.Addr, Permits: permits, Now: clock.Now,
				Auth: vault.Auth{Method: vault.MethodToken, Token: func(context.Context) (string, error) { return w.vault.RootToken, nil }},
			})
			must(t, err)
			return mint.ByRole{"s3": aws, "vault": v}
		},
	})
	w.socket = filepath.Join(shortDir(t), "api.sock")
	must(t, w.Authority.Serve(t.Context(), w.socket, spiffeid.RequireFromString(delegateID)))
	w.s3 = s3Client(w.minio.Endpoint, w.minio.AccessKey, w.minio.SecretKey, "")
	eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := w.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	for _, key := range []string{"reports/one", "other/one"} {
		_, err := w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("prod"), Key: aws.String(key), Body: strings.NewReader("x")})
		must(t, err)
	}
	w.users(t)
	return w
}

// shortDir leaves room for a socket's path, which t.TempDir does not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vkp") //nolint:usetesting // t.TempDir's name is too long
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// tail shows the end of what Vault and the plugin in it have logged, when a test fails.
func tail(t *testing.T) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(filepath.Dir(t.TempDir()), "*", "vault.log"))
	if !t.Failed() || err != nil {
		return
	}
	for _, name := range logs {
		raw, err := os.ReadFile(name)
		must(t, err)
		lines := slices.DeleteFunc(strings.Split(string(raw), "\n"), func(line string) bool {
			return strings.Contains(line, "Token:") || strings.Contains(line, "Unseal Key:") || !strings.Contains(line, "[")
		})
		t.Logf("Vault said:\n%s", strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

// users lets alice and bob log in, and call the mounts under "valetkey".
func (w *world) users(t *testing.T) {
	t.Helper()
	w.write(t, w.root, "sys/auth/userpass", map[string]any{"type": "userpass"})
	auths, err := w.root.Sys().ListAuthWithContext(t.Context())
	must(t, err)
	w.accessor = auths["userpass/"].Accessor
	w.write(t, w.root, "sys/policies/acl/user", map[string]any{"policy": `
path "valetkey*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/leases/renew" { capabilities = ["update"] }
`})
	for _, user := range []string{"alice", "bob"} {
		w.write(t, w.root, "auth/userpass/users/"+user, map[string]any{"password": "p-" + user, "token_policies": "user"})
	}
}

// register puts a version of the plugin into Vault's catalog, by its checksum.
func (w *world) register(t *testing.T, version, command string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.plugins, command))
	must(t, err)
	sum := sha256.Sum256(raw)
	w.write(t, w.root, "sys/plugins/catalog/secret/"+pluginName, map[string]any{
		"sha256": hex.EncodeToString(sum[:]), "command": command, "version": version,
	})
}

// enable mounts the plugin and configures it.
func (w *world) enable(t *testing.T, mount string, changes map[string]any) {
	t.Helper()
	w.write(t, w.root, "sys/mounts/"+mount, map[string]any{"type": pluginName})
	w.write(t, w.root, mount+"/config", w.config(changes))
}

func (w *world) config(changes map[string]any) map[string]any {
	c := map[string]any{
		"address": w.Addr(), "broker_id": brokerID, "workload_api": "unix://" + w.socket, "ledger_key": w.Key.VerifierKey(),
		"agent_template": "spiffe://example.org/agent/{{identity.entity.aliases." + w.accessor + ".name}}/vault", "environment": "staging",
	}
	for name, value := range changes {
		c[name] = value
	}
	return c
}

func (w *world) client(t *testing.T, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: w.vault.Addr, MaxRetries: 0, Timeout: 60 * time.Second})
	must(t, err)
	c.SetToken(token)
	return c
}

// login is a client of a user.
func (w *world) login(t *testing.T, user string) *api.Client {
	t.Helper()
	s := w.write(t, w.client(t, ""), "auth/userpass/login/"+user, map[string]any{"password": "p-" + user})
	return w.client(t, s.Auth.ClientToken)
}

func (w *world) write(t *testing.T, c *api.Client, path string, data map[string]any) *api.Secret {
	t.Helper()
	s, err := c.Logical().WriteWithContext(t.Context(), path, data)
	must(t, err)
	return s
}

// read is "vault read path k=v...".
func read(t *testing.T, c *api.Client, path string, data ...string) (*api.Secret, error) {
	t.Helper()
	values := map[string][]string{}
	for _, kv := range data {
		k, v, _ := strings.Cut(kv, "=")
		values[k] = append(values[k], v)
	}
	return c.Logical().ReadWithDataWithContext(t.Context(), path, values)
}

var reports = []string{"bucket=prod", "prefix=reports/", "purpose=a test"}

// creds reads what is asked for in most tests.
func creds(t *testing.T, c *api.Client, more ...string) *api.Secret {
	t.Helper()
	s, err := read(t, c, "valetkey/creds/s3-prefix-read", append(more, reports...)...)
	must(t, err)
	return s
}

// session is an S3 client with what Vault gave.
func session(s *api.Secret) *s3.Client {
	text := func(name string) string {
		v, _ := s.Data[name].(string)
		return v
	}
	return s3Client(text("endpoint"), text("access_key"), text("secret_key"), text("security_token"))
}

func s3Client(endpoint, id, secret, token string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, token),
	})
}

func get(ctx context.Context, c *s3.Client, key string) error {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String(key)})
	if err == nil {
		err = out.Body.Close()
	}
	return err
}

// forbidden is any way of MinIO to say no.
func forbidden(err error) bool {
	var answer *smithyhttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusForbidden
}

// refused is an answer of Vault's with this code that says all of these.
func refused(t *testing.T, err error, code int, says ...string) {
	t.Helper()
	var answer *api.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != code {
		t.Errorf("got %v, want an answer of %d", err, code)
		return
	}
	for _, text := range says {
		if !strings.Contains(answer.Error(), text) {
			t.Errorf("it says %q, want %q in it", answer.Error(), text)
		}
	}
}

// count is how many records are of a type.
func count(records []string, kind string) (n int) {
	for _, r := range records {
		n += strings.Count(r, `"type":"`+kind+`"`)
	}
	return n
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("not after %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
