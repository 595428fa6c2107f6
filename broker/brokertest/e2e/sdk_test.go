package e2e_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/clients/valetkey"
	vkaws "github.com/valetkey/valetkey/clients/valetkey/aws"
)

// TestSDK is a Go program on the SDK: real daemon, real MinIO, the AWS SDK's own
// S3 client, and a daemon that is killed and comes back under it.
func TestSDK(t *testing.T) {
	minio := servers.MinIO(t)
	root := s3Client(minio.Endpoint, minio.AccessKey, minio.SecretKey, "")
	eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	must(t, put(t.Context(), root, "other/one"))
	l := &local{site: newSite(t)}
	// SVIDs that are followed while the test runs.
	authority, err := devauthority.New(devauthority.Config{TrustDomain: trustDomain, SocketDir: l.dir, SVIDTTL: 4 * time.Second})
	must(t, err)
	t.Cleanup(func() { must(t, authority.Close()) })
	for name, id := range callers {
		must(t, authority.Serve(t.Context(), name+".sock", spiffeid.RequireFromString(id)))
	}
	config := l.config(t, "  workload_api: "+l.socket("broker")+"\n", rolesAt(minio.Endpoint))
	env := []string{"AWS_ACCESS_KEY_ID=" + minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + minio.SecretKey}
	d := start(t, program(t, "valetkeyd"), env, "serve", "--config", config)

	checkpoint := filepath.Join(l.dir, "checkpoint")
	client, err := valetkey.New(t.Context(), valetkey.WithAddr(d.grpc), valetkey.WithBrokerID(spiffeid.RequireFromString(brokerID)),
		valetkey.WithWorkloadAPI(l.socket("alice")), valetkey.WithLedgerKey(l.vkey), valetkey.WithCheckpointFile(checkpoint))
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	task, err := client.OpenTask(t.Context(), valetkey.TaskSpec{Purpose: "end to end", Environment: "staging"})
	must(t, err)
	provider := vkaws.NewProvider(task.Source("s3-prefix-write", valetkey.Params{"bucket": {"prod"}, "prefix": {"reports/"}}))
	c := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(minio.Endpoint), UsePathStyle: true, Credentials: provider})

	must(t, put(t.Context(), c, "reports/one"))
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String("reports/one")})
	must(t, err)
	_, err = io.ReadAll(out.Body)
	must(t, errors.Join(err, out.Body.Close()))
	for name, key := range map[string]string{"beside its prefix": "other/two", "above its prefix": "reports"} {
		if err := put(t.Context(), c, key); !denied(err) {
			t.Errorf("%s: got %v, want AccessDenied", name, err)
		}
	}
	// A program that works on never meets a credential that is over.
	short := vkaws.NewProvider(task.Source("s3-prefix-write", valetkey.Params{"bucket": {"prod"}, "prefix": {"logs/"}}, valetkey.WithTTL(10*time.Second)))
	busy := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(minio.Endpoint), UsePathStyle: true, RetryMaxAttempts: 1, Credentials: short,
	})
	used, puts := map[string]bool{}, 0
	eventually(t, 60*time.Second, "three credentials were used", func() bool {
		must(t, put(t.Context(), busy, "logs/one"))
		puts++
		used[short.Status().CredentialID] = true
		return len(used) == 3
	})
	t.Logf("%d puts with %d credentials", puts, len(used))

	before := provider.Status().CredentialID
	d.kill()
	must(t, put(t.Context(), c, "reports/without-a-broker"))
	raw, err := os.ReadFile(config)
	must(t, err)
	l.write(t, "valetkeyd.yaml", strings.Replace(string(raw), "listen: 127.0.0.1:0", "listen: "+d.grpc, 1))
	d = start(t, program(t, "valetkeyd"), env, "serve", "--config", config)
	if after := provider.Status().CredentialID; after != before {
		t.Error("another credential without a broker")
	}
	provider.Forget()
	must(t, put(t.Context(), c, "reports/with-the-next-broker"))
	last, err := provider.Credential(t.Context())
	must(t, err)
	if last.ID() == before || !last.Receipt().Verified {
		t.Errorf("%s after %s, verified: %v", last.ID(), before, last.Receipt().Verified)
	}

	must(t, client.Close())
	secret := last.Reveal().AWS
	eventually(t, revocationLimit, "MinIO refuses the closed task's session", func() bool {
		return forbidden(put(t.Context(), s3Client(minio.Endpoint, secret.AccessKeyID, secret.SecretAccessKey, secret.SessionToken), "reports/late"))
	})
	said, code := run(t, nil, program(t, "valetkey"), "ledger", "verify", d.log, "--key", l.vkey, "--checkpoint", checkpoint, "-q")
	if code != 0 {
		t.Errorf("ledger verify from the SDK's checkpoint exits %d: %s", code, said.stderr)
	}
}
