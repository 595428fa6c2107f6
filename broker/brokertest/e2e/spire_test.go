package e2e_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/vault/api"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestRealServers is the main job: an agent with a SPIFFE identity gets what its
// task needs, which MinIO and Vault themselves enforce, until it gives it back.
func TestRealServers(t *testing.T) {
	w := newWorld(t)
	w.admit(t)
	tokenFile := w.write(t, "vault-token", w.brokerToken(t))
	var receipts []*valetkeyv1.Receipt

	w.serve(t, "{method: token, token_file: "+tokenFile+"}", "", "")
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
	w.serve(t, "{method: jwt, role: valetkeyd, audience: vault}", "", "")
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
	if v.GetAddress() != w.vault.Addr {
		t.Errorf("the agent is told Vault is at %s", v.GetAddress())
	}
	c := w.vaultClient(t, v.GetToken())
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
