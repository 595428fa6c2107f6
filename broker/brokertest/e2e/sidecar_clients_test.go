package e2e_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// boto reads an object as programs of boto3 do, with an endpoint for the botocore
// of Debian 12, which reads none from the environment.
const boto = `
import boto3, os, sys
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
print(s3.get_object(Bucket="prod", Key=sys.argv[1])["Body"].read().decode())`

// node reads one with the AWS SDK for JavaScript.
const node = `
const { S3Client, GetObjectCommand } = require("@aws-sdk/client-s3");
new S3Client({ forcePathStyle: true }).send(new GetObjectCommand({ Bucket: "prod", Key: process.argv[1] }))
  .then((r) => r.Body.transformToString()).then(console.log)
  .catch((e) => { console.error(e.name, e.message); process.exit(1); });`

// s3Clients are what nobody here wrote, each reading the object that "$1" names.
func s3Clients(t *testing.T) map[string][]string {
	t.Helper()
	dir := clientsDir(t)
	shell := func(script string) []string { return []string{"/bin/sh", "-ec", script, "sh"} }
	return map[string][]string{
		"awscli": shell(dir + `/aws --endpoint-url "$AWS_ENDPOINT_URL_S3" s3 cp "s3://prod/$1" -`),
		"boto3":  {filepath.Join(dir, "python3"), "-c", boto},
		// Its HTTP client takes no AWS_CA_BUNDLE.
		"rclone": shell(`unset AWS_CA_BUNDLE; ` + dir + `/rclone --config /dev/null --retries 1 --low-level-retries 1 --s3-provider Minio --s3-env-auth \
			--s3-endpoint "$AWS_ENDPOINT_URL_S3" cat ":s3:prod/$1"`),
		"aws-sdk-js": {filepath.Join(dir, "node"), "-e", node},
		"s5cmd":      shell(`S3_ENDPOINT_URL="$AWS_ENDPOINT_URL_S3" ` + dir + `/s5cmd cat "s3://prod/$1"`),
	}
}

const readScope = "--scope s3-prefix-read bucket=prod prefix=reports/"

// TestExec runs clients that know nothing of valetkey in the environment of an
// operator who may do everything: each reads what its task may, and is refused what
// the operator could have read.
func TestExec(t *testing.T) {
	s := newSidecar(t).withVault(t).start(t)
	for name, command := range s3Clients(t) {
		t.Run(name, func(t *testing.T) {
			out, code := s.exec(t, readScope, append(command, "reports/a")...)
			if code != 0 || strings.TrimSpace(out.stdout) != "x" {
				t.Errorf("what it may read: exits %d: %s%s", code, out.stdout, out.stderr)
			}
			out, code = s.exec(t, readScope, append(command, "other/b")...)
			if code == 0 || out.stdout == "x" || !refusedIn(out.stdout+out.stderr) {
				t.Errorf("what it may not read: exits %d: %s%s", code, out.stdout, out.stderr)
			}
		})
	}
	vault, err := servers.Binary("vault")
	must(t, err)
	host, port, err := net.SplitHostPort(s.pg.Addr)
	must(t, err)
	psql := []string{filepath.Join(clientsDir(t), "psql"), "-h", host, "-p", port, "-d", "postgres", "-At", "-c"}
	for _, c := range []struct {
		name, flags   string
		may, mayNot   []string
		says, refused string
	}{
		{
			"vault", "--scope vault-kv-read team=web",
			[]string{vault, "kv", "get", "-mount=secret", "-field=password", "web/db"},
			[]string{vault, "kv", "get", "-mount=secret", "-field=password", "ads/db"}, "of-web", "permission denied",
		},
		{
			"psql", "--scope db-creds role=reader",
			append(psql, "select current_user like 'v-%'"), append(psql, "create role another"), "t", "permission denied",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, code := s.exec(t, c.flags, c.may...); code != 0 || strings.TrimSpace(out.stdout) != c.says {
				t.Errorf("what it may: exits %d: %s%s", code, out.stdout, out.stderr)
			}
			if out, code := s.exec(t, c.flags, c.mayNot...); code == 0 || !strings.Contains(out.stderr, c.refused) {
				t.Errorf("what it may not: exits %d: %s%s", code, out.stdout, out.stderr)
			}
		})
	}
	t.Run("three at once", func(t *testing.T) {
		script := `test "$VAULT_TOKEN" != root; ` + clientsDir(t) + `/aws --endpoint-url "$AWS_ENDPOINT_URL_S3" --profile writer s3 cp - s3://prod/logs/new < /dev/null
			` + vault + ` kv get -mount=secret -field=password web/db`
		out, code := s.exec(t, readScope+" --scope writer=s3-prefix-write bucket=prod prefix=logs/ --scope vault-kv-read team=web", "/bin/sh", "-ec", script)
		if code != 0 || !strings.HasSuffix(strings.TrimSpace(out.stdout), "of-web") {
			t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
		}
	})
	s.nothingLeft(t)
	eventually(t, revocationLimit, "no account is left", func() bool { return s.accounts(t) == "0" })
}

// refusedIn finds the server's refusal, whatever a client makes of it.
func refusedIn(text string) bool {
	for _, s := range []string{"AccessDenied", "Access Denied", "403", "Forbidden"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// accounts is how many the database engine has made and not taken back.
func (s *sidecar) accounts(t *testing.T) string {
	t.Helper()
	out, err := s.pg.Query(t.Context(), s.pg.User, s.pg.Password, "select count(*) from pg_roles where rolname like 'v-%'")
	must(t, err)
	return strings.TrimSpace(out)
}
