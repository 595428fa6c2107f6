package e2e_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/hashicorp/vault/api"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// brokerPolicy is what the broker's own Vault login may do: no secret is in it.
const brokerPolicy = `
path "sys/policies/acl/vk-*"      { capabilities = ["create", "update", "delete"] }
path "auth/token/create-orphan"   { capabilities = ["create", "update", "sudo"] }
path "auth/token/revoke-accessor" { capabilities = ["create", "update"] }
path "sys/leases/revoke"          { capabilities = ["create", "update"] }
`

// revocationLimit is how long the end of a grant may take to reach the upstream.
const revocationLimit = 10 * time.Second

// world is a SPIRE, a MinIO and a Vault, and the folder of a broker.
type world struct {
	*site
	spire *servers.SPIREServer
	minio servers.MinIOServer
	vault servers.VaultServer
	s3    *s3.Client  // as root
	root  *api.Client // of Vault
	// programs are copies of the binary by caller: SPIRE tells them apart by
	// their paths, as it would on one machine with one user.
	programs map[string]string
	broker   *daemon
	// mounts declares Vault's engines in the configuration; empty for none.
	mounts string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldWithoutVault(t)
	w.startVault(t)
	return w
}

// startVault starts it with more flags, and what every world has in it.
func (w *world) startVault(t *testing.T, flags ...string) {
	t.Helper()
	w.vault = servers.Vault(t, flags...)
	w.root = vaultClient(t, w.vault)
	w.set(t, "sys/policies/acl/broker", map[string]any{"policy": brokerPolicy})
	for _, team := range []string{"web", "ads"} {
		w.set(t, "secret/data/"+team+"/db", map[string]any{"data": map[string]any{"password": team}})
	}
}

func newWorldWithoutVault(t *testing.T) *world {
	t.Helper()
	w := &world{site: newSite(t), programs: map[string]string{}, spire: servers.SPIRE(t, trustDomain), minio: servers.MinIO(t)}
	w.vault.Addr = "http://127.0.0.1:1" // where nothing is
	for caller, id := range map[string]string{
		"alice": aliceID, "operator": operatorID, "stranger": "spiffe://example.org/batch/nightly",
	} {
		w.programs[caller] = w.program(t, caller)
		w.spire.Entry(id, "unix:path:"+w.programs[caller])
	}
	w.s3 = s3Client(w.minio.Endpoint, w.minio.AccessKey, w.minio.SecretKey, "")
	// MinIO says that it is ready before its users are loaded.
	eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := w.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	must(t, put(t.Context(), w.s3, "other/one"))
	return w
}

// program copies the command to a path of its own.
func (w *world) program(t *testing.T, caller string) string {
	t.Helper()
	raw, err := os.ReadFile(program(t, "valetkey"))
	must(t, err)
	dir, err := filepath.EvalSymlinks(w.dir)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, caller), 0o700))
	path := filepath.Join(dir, caller, "valetkey")
	must(t, os.WriteFile(path, raw, 0o700))
	return path
}

func (w *world) set(t *testing.T, path string, data map[string]any) *api.Secret {
	t.Helper()
	s, err := w.root.Logical().WriteWithContext(t.Context(), path, data)
	must(t, err)
	return s
}

// admit gives the broker its identity; flags are of SPIRE's entry.
func (w *world) admit(t *testing.T, flags ...string) {
	t.Helper()
	daemon, err := filepath.EvalSymlinks(program(t, "valetkeyd"))
	must(t, err)
	w.spire.EntryWith(brokerID, flags, "unix:path:"+daemon)
}

// serve starts the broker with this way of logging in to Vault. identity is
// added to that part of the configuration, roles to the roles.
func (w *world) serve(t *testing.T, auth, identity, roles string) {
	t.Helper()
	w.config(t, `  workload_api: `+w.spire.WorkloadAPI()+"\n"+identity, `  s3:
    provider: aws
    role_arn: arn:aws:iam::000000000000:role/e2e
    region: us-east-1
    endpoint: `+w.minio.Endpoint+`
    s3_endpoint: `+w.minio.Endpoint+`
    dialect: minio
    ceiling: catalog/ceilings/s3-role.json
  vault:
    provider: vault
    ceiling: catalog/ceilings/vault-role.hcl
    address: `+w.vault.Addr+`
    ca_file: "`+w.vault.CAFile+`"
    auth: `+auth+"\n"+w.mounts+roles)
	w.start(t)
}

// start starts the broker with the configuration that is there.
func (w *world) start(t *testing.T) {
	t.Helper()
	env := []string{"AWS_ACCESS_KEY_ID=" + w.minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + w.minio.SecretKey}
	w.broker = start(t, program(t, "valetkeyd"), env, "serve", "--config", w.path("valetkeyd.yaml"))
}

// call runs the command line as a caller.
func (w *world) call(t *testing.T, caller string, args ...string) (output, int) {
	t.Helper()
	return w.callFrom(t, caller, w.spire.WorkloadAPI(), args...)
}

// callFrom is call with the SVID that another Workload API gives.
func (w *world) callFrom(t *testing.T, caller, workloadAPI string, args ...string) (output, int) {
	t.Helper()
	return run(t, []string{
		"VALETKEY_ADDR=" + w.broker.grpc, "VALETKEY_BROKER_ID=" + brokerID, "SPIFFE_ENDPOINT_SOCKET=" + workloadAPI, "VALETKEY_LEDGER_KEY=" + w.vkey,
	}, w.programs[caller], args...)
}

// ok runs the command line and wants success.
func (w *world) ok(t *testing.T, caller string, args ...string) string {
	t.Helper()
	out, code := w.call(t, caller, args...)
	if code != 0 {
		t.Fatalf("valetkey %s exits %d: %s", strings.Join(args, " "), code, out.stderr)
	}
	return strings.TrimSpace(out.stdout)
}

// request asks for a grant with its first credential.
func (w *world) request(t *testing.T, task string, args ...string) *valetkeyv1.RequestGrantResponse {
	t.Helper()
	text := w.ok(t, "alice", append(append([]string{"request"}, args...), "--task", task, "--mint", "-o", "json")...)
	var resp valetkeyv1.RequestGrantResponse
	must(t, protojson.Unmarshal([]byte(text), &resp))
	if err := proven(resp.GetReceipt(), w.vkey); err != nil {
		t.Errorf("the receipt of %s does not verify: %v", args[0], err)
	}
	return &resp
}

// brokerToken makes the broker a token that is not root's.
func (w *world) brokerToken(t *testing.T) string {
	t.Helper()
	return w.set(t, "auth/token/create-orphan", map[string]any{"policies": []string{"broker"}, "no_default_policy": true, "ttl": "1h"}).Auth.ClientToken
}

// trustSVIDs has Vault log the broker in by the trust domain's JWT keys. The test
// itself reads them from the Workload API, as a member of the domain.
func (w *world) trustSVIDs(t *testing.T) {
	t.Helper()
	w.spire.Entry("spiffe://example.org/auditor", "unix:path:"+ourselves(t))
	var bundles *jwtbundle.Set
	eventually(t, 2*time.Minute, "SPIRE gives the trust domain's JWT keys", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var err error
		bundles, err = workloadapi.FetchJWTBundles(ctx, workloadapi.WithAddr(w.spire.WorkloadAPI()))
		return err == nil
	})
	bundle, err := bundles.GetJWTBundleForTrustDomain(spiffeid.RequireTrustDomainFromString(trustDomain))
	must(t, err)
	var keys []string
	for _, key := range bundle.JWTAuthorities() {
		der, err := x509.MarshalPKIXPublicKey(key)
		must(t, err)
		keys = append(keys, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	}
	w.set(t, "sys/auth/jwt", map[string]any{"type": "jwt"})
	w.set(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": keys})
	w.set(t, "auth/jwt/role/valetkeyd", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"vault"}, "bound_subject": brokerID,
		"token_policies": []string{"broker"}, "token_no_default_policy": true, "token_ttl": "1h",
	})
}

// ourselves is the path of the test's own program.
func ourselves(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	self, err = filepath.EvalSymlinks(self)
	must(t, err)
	return self
}

// session is an S3 client with what the agent was given.
func session(resp *valetkeyv1.RequestGrantResponse) *s3.Client {
	c := resp.GetCredential().GetAws()
	return s3Client(c.GetEndpointUrl(), c.GetAccessKeyId(), c.GetSecretAccessKey(), c.GetSessionToken())
}

func s3Client(endpoint, id, secret, token string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, token),
	})
}

func put(ctx context.Context, c *s3.Client, key string) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("prod"), Key: aws.String(key), Body: strings.NewReader("x")})
	return err
}

func denied(err error) bool {
	var refused smithy.APIError
	return errors.As(err, &refused) && refused.ErrorCode() == "AccessDenied"
}

// forbidden is any way of MinIO to say that the session is no good.
func forbidden(err error) bool {
	var answer *smithyhttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusForbidden
}

// vaultClient is a client of the server with another token than root's.
func (w *world) vaultClient(t *testing.T, token string) *api.Client {
	t.Helper()
	c := vaultClient(t, w.vault)
	c.SetToken(token)
	return c
}

func vaultClient(t *testing.T, s servers.VaultServer) *api.Client {
	t.Helper()
	cfg := &api.Config{Address: s.Addr}
	if s.CAFile != "" {
		cfg = api.DefaultConfig()
		cfg.Address = s.Addr
		must(t, cfg.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile}))
	}
	c, err := api.NewClient(cfg)
	must(t, err)
	c.SetToken(s.RootToken)
	return c
}
