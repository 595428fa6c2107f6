package e2e_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// twoTasks is a configuration with every output.
const twoTasks = `tasks:
  - name: report
    purpose: weekly report
    environment: staging
    scopes:
      - scope: s3-prefix-read
        params: {bucket: prod, prefix: reports/}
        outputs:
          container: {token_file: read.token, env_file: read.env}
          process: {socket: read.sock, profile: valetkey-read, config_file: aws-config}
          imds: {listen: "127.0.0.1:0"}
          templates: [{text: "{{.AWS.AccessKeyID}} {{.AWS.SecretAccessKey}}", file: read.txt}]
      - name: web
        scope: vault-kv-read
        params: {team: web}
        outputs:
          vault_proxy: {listen: "127.0.0.1:0"}
          vault_sink: {file: vault-token}
      - name: db
        scope: db-creds
        params: {role: reader}
        outputs:
          pgpass: {file: pgpass, database: postgres}
          templates: [{text: "{{.Login.Username}}", file: user}]
  - name: other
    purpose: another thing
    environment: staging
    scopes:
      - scope: s3-prefix-read
        params: {bucket: prod, prefix: other/}
        outputs:
          container: {token_file: other.token}
`

// way is how a client finds a credential of the agent's.
type way struct {
	name, client string
	env          []string
}

// TestAgent has the same clients find their credential where an agent keeps it, by
// every way that they have.
func TestAgent(t *testing.T) {
	s := newSidecar(t).withVault(t).start(t)
	own := "[profile mine]\nregion = eu-west-1"
	must(t, os.WriteFile(filepath.Join(s.mkdir(t, "agent"), "aws-config"), []byte(own), 0o600))
	a := s.agent(t, twoTasks)
	endpoint := "AWS_ENDPOINT_URL_S3=" + s.minio.Endpoint
	container := []string{endpoint, "AWS_REGION=us-east-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + a.output(t, "report", "s3-prefix-read", "container")}
	byFile := append(container, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+filepath.Join(a.dir, "read.token"))
	byToken := append(container, "AWS_CONTAINER_AUTHORIZATION_TOKEN="+a.read(t, "read.token"))
	profile := []string{endpoint, "AWS_CONFIG_FILE=" + filepath.Join(a.dir, "aws-config"), "AWS_PROFILE=valetkey-read", "AWS_SDK_LOAD_CONFIG=1"}
	imds := []string{endpoint, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + a.output(t, "report", "s3-prefix-read", "imds") + "/"}
	clients := s3Clients(t)
	for _, w := range []way{
		{"container, token", "awscli", byToken}, {"container, token", "s5cmd", byToken}, {"container, token", "rclone", byToken},
		{"container, token file", "aws-sdk-js", byFile},
		{"profile", "awscli", profile}, {"profile", "boto3", profile}, {"profile", "aws-sdk-js", profile}, {"profile", "s5cmd", profile},
		{"IMDSv2", "awscli", imds}, {"IMDSv2", "boto3", imds}, {"IMDSv2", "aws-sdk-js", imds},
	} {
		t.Run(w.name+"/"+w.client, func(t *testing.T) {
			env := append(w.env, "HOME="+s.mkdir(t, "empty"), "NODE_PATH="+filepath.Join(clientsDir(t), "js", "node_modules"))
			command := clients[w.client]
			if out, code := run(t, env, command[0], append(command[1:], "reports/a")...); code != 0 || strings.TrimSpace(out.stdout) != "x" {
				t.Errorf("what it may read: exits %d: %s%s", code, out.stdout, out.stderr)
			}
			if out, code := run(t, env, command[0], append(command[1:], "other/b")...); code == 0 || !refusedIn(out.stdout+out.stderr) {
				t.Errorf("what it may not read: exits %d: %s%s", code, out.stdout, out.stderr)
			}
		})
	}
	t.Run("vault", func(t *testing.T) { s.vaultByAgent(t, a) })
	t.Run("psql", func(t *testing.T) { s.psqlByAgent(t, a) })
	t.Run("who may not", func(t *testing.T) { s.strangers(t, a) })
	t.Run("the status holds no secret", func(t *testing.T) {
		secret := strings.Fields(a.read(t, "read.txt"))[1]
		out, _ := run(t, nil, program(t, "valetkey"), "agent", "status", "--socket", a.socket(), "-o", "json")
		for _, text := range []string{out.stdout, a.stderr.String()} {
			if strings.Contains(text, secret) || strings.Contains(text, a.read(t, "vault-token")) || strings.Contains(text, a.read(t, "read.token")) {
				t.Error("it does")
			}
		}
	})
	if n := minted(t, s); n != 4 {
		t.Errorf("%d credentials were minted for four scopes", n)
	}
	a.stop(t)
	left, err := os.ReadDir(a.dir)
	must(t, err)
	for _, f := range left {
		if n := f.Name(); n != "agent.yaml" && n != "aws-config" {
			t.Errorf("%s was left behind", n)
		}
	}
	if got := a.read(t, "aws-config"); strings.TrimSpace(got) != own {
		t.Errorf("the user's own file is now:\n%s", got)
	}
	s.nothingLeft(t)
	eventually(t, revocationLimit, "no account is left", func() bool { return s.accounts(t) == "0" })
}

// minted is how many credentials the record has.
func minted(t *testing.T, s *sidecar) int {
	t.Helper()
	vkey, err := os.ReadFile(filepath.Join(s.dev, "ledger.key.pub"))
	must(t, err)
	_, log := readLog(t, &site{dir: s.dev, vkey: strings.TrimSpace(string(vkey))}, s.log)
	return count(log, func(e entry) bool { return e.Type == "issuance.issued" })
}

func (s *sidecar) vaultByAgent(t *testing.T, a *agent) {
	vault, err := servers.Binary("vault")
	must(t, err)
	home := "HOME=" + s.mkdir(t, "empty")
	for name, env := range map[string][]string{
		"VAULT_ADDR alone": {"VAULT_ADDR=" + a.output(t, "report", "web", "vault"), home, "VAULT_TOKEN="},
		"the token file":   {"VAULT_ADDR=" + s.vault.Addr, "VAULT_TOKEN=" + a.read(t, "vault-token"), home},
	} {
		get := []string{"kv", "get", "-mount=secret", "-field=password"}
		if out, code := run(t, env, vault, append(get, "web/db")...); code != 0 || strings.TrimSpace(out.stdout) != "of-web" {
			t.Errorf("%s: exits %d: %s%s", name, code, out.stdout, out.stderr)
		}
		if out, code := run(t, env, vault, append(get, "ads/db")...); code == 0 || !strings.Contains(out.stderr, "permission denied") {
			t.Errorf("%s: another team's: exits %d: %s%s", name, code, out.stdout, out.stderr)
		}
	}
}

func (s *sidecar) psqlByAgent(t *testing.T, a *agent) {
	host, port, err := net.SplitHostPort(s.pg.Addr)
	must(t, err)
	env := []string{"PGPASSFILE=" + filepath.Join(a.dir, "pgpass"), "PGUSER=" + a.read(t, "user"), "PGPASSWORD="}
	psql := []string{"-h", host, "-p", port, "-d", "postgres", "-At", "-c"}
	if out, code := run(t, env, filepath.Join(clientsDir(t), "psql"), append(psql, "select 1")...); code != 0 || strings.TrimSpace(out.stdout) != "1" {
		t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
	}
	if out, code := run(t, env, filepath.Join(clientsDir(t), "psql"), append(psql, "create role another")...); code == 0 {
		t.Errorf("it may make roles: %s", out.stdout)
	}
}

// strangers are those who ask and get nothing.
func (s *sidecar) strangers(t *testing.T, a *agent) {
	url := a.output(t, "report", "s3-prefix-read", "container")
	other := a.output(t, "other", "s3-prefix-read", "container")
	imds := a.output(t, "report", "s3-prefix-read", "imds")
	vault := a.output(t, "report", "web", "vault") + "/v1/secret/data/web/db"
	token := a.read(t, "read.token")
	if code, body := fetch(t, url, "Authorization", token); code != http.StatusOK || !strings.Contains(body, "SecretAccessKey") {
		t.Fatalf("who may gets %d", code)
	}
	for _, c := range []struct {
		what, url string
		header    []string
		code      int
	}{
		{"no token", url, nil, 401},
		{"a guessed token", url, []string{"Authorization", "AAAAAAAAAAAAAAAAAAAAAAAAAA"}, 401},
		{"another task's token", other, []string{"Authorization", token}, 401},
		{"a wrong path", url + "x", []string{"Authorization", token}, 401},
		{"a page of another name", url, []string{"Authorization", token, "Host", "evil.example:80"}, 403},
		{"a script of a page", url, []string{"Authorization", token, "Origin", "http://evil.example"}, 403},
		{"a browser", url, []string{"Authorization", token, "Sec-Fetch-Site", "cross-site"}, 403},
		{"a proxy", imds + "/latest/meta-data/iam/security-credentials/", []string{"X-Forwarded-For", "10.0.0.1"}, 403},
		{"IMDSv1", imds + "/latest/meta-data/iam/security-credentials/", nil, 401},
		{"a page at Vault", vault, []string{"Host", "evil.example"}, 403},
		{"a fetch of Vault", vault, nil, 412},
		{"an upgrade of Vault", vault, []string{"X-Vault-Request", "true", "Upgrade", "websocket"}, 400},
	} {
		if code, body := fetch(t, c.url, c.header...); code != c.code || strings.Contains(body, "SecretAccessKey") {
			t.Errorf("%s: %d, want %d: %s", c.what, code, c.code, body)
		}
	}
	if os.Getuid() != 0 {
		t.Log("not root: other users are not tried here")
		return
	}
	curl, err := filepath.EvalSymlinks(filepath.Join(clientsDir(t), "curl"))
	must(t, err)
	must(t, os.Chmod(s.dir, 0o711)) // so that only the sockets are what refuses
	must(t, os.Chmod(a.dir, 0o711))
	for what, args := range map[string][]string{
		"the container endpoint": {"-H", "Authorization: " + token, url},
		"IMDS":                   {"-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", imds + "/latest/api/token"},
		"Vault":                  {vault},
		"the profile's socket":   {"--unix-socket", filepath.Join(a.dir, "read.sock"), "http://localhost/"},
		"the agent's own socket": {"--unix-socket", a.socket(), "http://localhost/v1/status"},
		"the token file":         {"file://" + filepath.Join(a.dir, "vault-token")},
	} {
		out, code := runAs(t, 65534, curl, append([]string{"-sS", "-w", "%{http_code}"}, args...)...)
		if code == 0 && !strings.HasSuffix(out.stdout, "403") {
			t.Errorf("another user at %s gets: %s%s", what, out.stdout, out.stderr)
		}
	}
}
