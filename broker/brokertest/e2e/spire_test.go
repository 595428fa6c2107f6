package e2e_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
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
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		site: newSite(t), programs: map[string]string{},
		spire: servers.SPIRE(t, trustDomain), minio: servers.MinIO(t), vault: servers.Vault(t),
	}
	daemon, err := filepath.EvalSymlinks(program(t, "valetkeyd"))
	must(t, err)
	w.spire.Entry(brokerID, "unix:path:"+daemon)
	for caller, id := range map[string]string{
		"alice": aliceID, "operator": operatorID, "stranger": "spiffe://example.org/batch/nightly",
	} {
		w.programs[caller] = w.program(t, caller)
		w.spire.Entry(id, "unix:path:"+w.programs[caller])
	}
	w.s3 = s3Client(w.minio.Endpoint, w.minio.AccessKey, w.minio.SecretKey, "")
	// MinIO says that it is ready before its users are loaded.
	eventually(t, 30*time.Second, "MinIO takes signed calls", func() bool {
		_, err := w.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	must(t, put(t.Context(), w.s3, "other/one"))
	w.root = vaultClient(t, w.vault.Addr, w.vault.RootToken)
	w.set(t, "sys/policies/acl/broker", map[string]any{"policy": brokerPolicy})
	for _, team := range []string{"web", "ads"} {
		w.set(t, "secret/data/"+team+"/db", map[string]any{"data": map[string]any{"password": team}})
	}
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

// serve starts the broker with this way of logging in to Vault.
func (w *world) serve(t *testing.T, auth string) {
	t.Helper()
	path := w.config(t, `  workload_api: `+w.spire.WorkloadAPI()+"\n", `  s3:
    provider: aws
    role_arn: arn:aws:iam::000000000000:role/e2e
    region: us-east-1
    endpoint: `+w.minio.Endpoint+`
    s3_endpoint: `+w.minio.Endpoint+`
    dialect: s3-compatible
    ceiling: catalog/ceilings/s3-role.json
  vault:
    provider: vault
    ceiling: catalog/ceilings/vault-role.hcl
    address: `+w.vault.Addr+`
    auth: `+auth+"\n")
	w.broker = start(t, program(t, "valetkeyd"),
		[]string{"AWS_ACCESS_KEY_ID=" + w.minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + w.minio.SecretKey},
		"serve", "--config", path)
}

// call runs the command line as a caller.
func (w *world) call(t *testing.T, caller string, args ...string) (output, int) {
	t.Helper()
	return run(t, []string{
		"VALETKEY_ADDR=" + w.broker.grpc, "VALETKEY_BROKER_ID=" + brokerID, "SPIFFE_ENDPOINT_SOCKET=" + w.spire.WorkloadAPI(),
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

// TestRealServers is the main job: an agent with a SPIFFE identity gets what its
// task needs, which MinIO and Vault themselves enforce, until it gives it back.
func TestRealServers(t *testing.T) {
	w := newWorld(t)
	tokenFile := w.write(t, "vault-token", w.brokerToken(t))
	var receipts []*valetkeyv1.Receipt

	w.serve(t, "{method: token, token_file: "+tokenFile+"}")
	task := w.ok(t, "alice", "task", "open", "-e", "production", "fix the report")
	t.Run("S3", func(t *testing.T) {
		resp := w.request(t, task, "s3-prefix-write", "bucket=prod", "prefix=reports/")
		receipts = append(receipts, resp.GetReceipt())
		w.s3Enforces(t, resp)
	})
	t.Run("Vault by token", func(t *testing.T) {
		resp := w.request(t, task, "vault-kv-read", "team=web")
		receipts = append(receipts, resp.GetReceipt())
		w.vaultEnforces(t, resp)
	})
	t.Run("refusals", func(t *testing.T) {
		for name, c := range map[string]struct {
			caller string
			args   []string
			code   int
			says   string
		}{
			"two people are needed":  {"alice", []string{"request", "s3-bucket-rebuild", "bucket=prod", "--task", task, "--mint"}, 4, "NEEDS_APPROVAL"},
			"one person is needed":   {"alice", []string{"request", "vault-kv-read", "team=payments", "--task", task, "--mint"}, 4, "NEEDS_APPROVAL"},
			"no agent":               {"stranger", []string{"task", "open", "-e", "production", "try"}, 3, "CALLER_NOT_ALLOWED"},
			"no operator":            {"alice", []string{"grants"}, 3, "CALLER_NOT_ALLOWED"},
			"a wildcard in a prefix": {"alice", []string{"request", "s3-prefix-write", "bucket=prod", "prefix=*", "--task", task, "--mint"}, 1, "INVALID_PARAMETER"},
		} {
			out, code := w.call(t, c.caller, c.args...)
			if code != c.code || !strings.Contains(out.stderr, c.says) || out.stdout != "" && c.code != 4 {
				t.Errorf("%s: exit %d, %s%s; want %d, %s", name, code, out.stdout, out.stderr, c.code, c.says)
			}
		}
	})
	t.Run("revoked by an operator", func(t *testing.T) {
		resp := w.request(t, task, "s3-prefix-write", "bucket=prod", "prefix=reports/")
		receipts = append(receipts, resp.GetReceipt())
		w.ok(t, "operator", "revoke", resp.GetGrant().GetId(), "--cause", "looks wrong")
		c := session(resp)
		eventually(t, revocationLimit, "MinIO refuses the revoked session", func() bool { return forbidden(put(t.Context(), c, "reports/late")) })
	})
	t.Run("closed with its task", func(t *testing.T) {
		other := w.ok(t, "alice", "task", "open", "-e", "staging", "another")
		resp := w.request(t, other, "s3-prefix-write", "bucket=prod", "prefix=reports/")
		receipts = append(receipts, resp.GetReceipt())
		w.ok(t, "alice", "task", "close", other)
		c := session(resp)
		eventually(t, revocationLimit, "MinIO refuses the closed task's session", func() bool { return forbidden(put(t.Context(), c, "reports/late")) })
	})
	if code := w.broker.term(t); code != 0 {
		t.Errorf("after SIGTERM it exits %d", code)
	}

	// The same broker again, with no secret of its own: it logs in with its SVID.
	w.trustSVIDs(t)
	w.serve(t, "{method: jwt, role: valetkeyd, audience: vault}")
	t.Run("Vault by JWT-SVID", func(t *testing.T) {
		resp := w.request(t, task, "vault-kv-read", "team=web")
		receipts = append(receipts, resp.GetReceipt())
		w.vaultEnforces(t, resp)
	})
	verify(t, w.site, w.broker.log)
	log, _ := readLog(t, w.site, w.broker.log)
	for _, r := range receipts {
		recorded(t, r, log)
	}
	if code := w.broker.term(t); code != 0 {
		t.Errorf("after SIGTERM it exits %d", code)
	}
	verify(t, w.site, w.path("valetkey.db"))
}

// s3Enforces holds the credential against MinIO, and releases it.
func (w *world) s3Enforces(t *testing.T, resp *valetkeyv1.RequestGrantResponse) {
	t.Helper()
	ctx, c := t.Context(), session(resp)
	must(t, put(ctx, c, "reports/one"))
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String("reports/one")})
	must(t, err)
	_, err = io.ReadAll(out.Body)
	must(t, errors.Join(err, out.Body.Close()))
	for name, try := range map[string]func() error{
		"put elsewhere": func() error { return put(ctx, c, "other/two") },
		"get elsewhere": func() error {
			_, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String("other/one")})
			return err
		},
		"delete its own": func() error {
			_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("prod"), Key: aws.String("reports/one")})
			return err
		},
		"list elsewhere": func() error {
			_, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("prod"), Prefix: aws.String("other/")})
			return err
		},
		"delete the bucket": func() error {
			_, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("prod")})
			return err
		},
		"make a bucket": func() error {
			_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("mine")})
			return err
		},
	} {
		if err := try(); !denied(err) {
			t.Errorf("%s: got %v, want AccessDenied", name, err)
		}
	}
	w.ok(t, "alice", "release", resp.GetGrant().GetId())
	eventually(t, revocationLimit, "MinIO refuses the released session", func() bool { return forbidden(put(ctx, c, "reports/late")) })
}

// vaultEnforces holds the token against Vault, and releases it.
func (w *world) vaultEnforces(t *testing.T, resp *valetkeyv1.RequestGrantResponse) {
	t.Helper()
	ctx, v := t.Context(), resp.GetCredential().GetVault()
	c := vaultClient(t, v.GetAddress(), v.GetToken())
	secret, err := c.Logical().ReadWithContext(ctx, "secret/data/web/db")
	must(t, err)
	if data, ok := secret.Data["data"].(map[string]any); !ok || data["password"] != "web" {
		t.Errorf("read %v", secret.Data)
	}
	for name, try := range map[string]func() error{
		"read another team's": func() error {
			_, err := c.Logical().ReadWithContext(ctx, "secret/data/ads/db")
			return err
		},
		"write its own": func() error {
			_, err := c.Logical().WriteWithContext(ctx, "secret/data/web/db", map[string]any{"data": map[string]any{"a": "b"}})
			return err
		},
		"make a token": func() error {
			_, err := c.Auth().Token().CreateWithContext(ctx, &api.TokenCreateRequest{})
			return err
		},
	} {
		var refused *api.ResponseError
		if err := try(); !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden {
			t.Errorf("%s: got %v, want 403", name, err)
		}
	}
	w.ok(t, "alice", "release", resp.GetGrant().GetId())
	eventually(t, revocationLimit, "Vault refuses the released token", func() bool {
		_, err := c.Logical().ReadWithContext(ctx, "secret/data/web/db")
		var refused *api.ResponseError
		return errors.As(err, &refused) && refused.StatusCode == http.StatusForbidden
	})
	if _, err := w.root.Auth().Token().LookupAccessorWithContext(ctx, v.GetAccessor()); err == nil {
		t.Error("Vault still knows the released token's accessor")
	}
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
	self, err := os.Executable()
	must(t, err)
	self, err = filepath.EvalSymlinks(self)
	must(t, err)
	w.spire.Entry("spiffe://example.org/auditor", "unix:path:"+self)
	var bundles *jwtbundle.Set
	eventually(t, 30*time.Second, "SPIRE gives the trust domain's JWT keys", func() bool {
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

func vaultClient(t *testing.T, address, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: address})
	must(t, err)
	c.SetToken(token)
	return c
}
