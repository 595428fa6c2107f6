package e2e_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// onDisk has its outputs on a small file system.
const onDisk = `tasks:
  - name: report
    purpose: weekly report
    environment: staging
    scopes:
      - name: web
        scope: vault-kv-read
        params: {team: web}
        outputs: {vault_sink: {file: "DISK/vault-token"}}
      - name: db
        scope: db-creds
        params: {role: reader}
        outputs: {pgpass: {file: "DISK/pgpass", database: postgres}, templates: [{text: "{{.Login.Username}}", file: user}]}
`

// TestAgentOnFullDisk fills the file system that an agent writes a Vault token and a
// database login to, before there is a file and when there is one. What is there
// stays whole, the status says why, and when there is room the agent goes on by itself.
// What it cannot take out of the user's own file at its end, the next one does.
func TestAgentOnFullDisk(t *testing.T) {
	s := newSidecar(t).withVault(t).start(t)
	k := newDisk(t, filepath.Join(s.mkdir(t, "agent"), "disk"), "64k")
	token, login := k.outside("vault-token"), k.outside("pgpass")
	// Of more pages than the token's file gives back when it goes.
	own := strings.Repeat("# a line of the user's own\n", 400) + "db.example:5432:app:me:mine\n"
	must(t, os.WriteFile(login, []byte(own), 0o600))
	const first = "tasks: [{name: first, purpose: p, environment: staging, scopes: [{scope: s3-prefix-read, params: {bucket: prod, prefix: reports/}, outputs: {container: {token_file: t}}}]}]\n"
	a := s.agent(t, first)
	told := func() {
		t.Helper()
		eventually(t, 2*time.Minute, "the status says that the disk is full", func() bool {
			for _, task := range a.status(t).Tasks {
				for _, sc := range task.Scopes {
					if !strings.Contains(sc.OutputError, "no space left on device") {
						return false
					}
				}
				if len(task.Scopes) == 2 {
					return true
				}
			}
			return false
		})
	}
	serves := func() {
		t.Helper()
		eventually(t, 60*time.Second, "both are written and taken", func() bool {
			return a.check(t) == 0 && a.scope(t, "report", "web").OutputError == "" && a.scope(t, "report", "db").OutputError == "" && s.tokenWorks(t, token) && s.loginWorks(t, a, login)
		})
		for _, f := range []string{token, login} {
			if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", f, info, err)
			}
		}
		if got := text(t, login); !strings.HasSuffix(got, own) {
			t.Errorf("the user's own line is gone from %d bytes", len(got))
		}
		k.holds(t, "pgpass", "vault-token")
	}

	k.fill(t)
	must(t, os.WriteFile(filepath.Join(a.dir, "agent.yaml"), []byte("socket: agent.sock\n"+strings.ReplaceAll(onDisk, "DISK", filepath.Dir(token))), 0o600))
	must(t, a.cmd.Process.Signal(syscall.SIGHUP))
	told()
	if _, err := os.Stat(token); !os.IsNotExist(err) {
		t.Errorf("there is a token's file: %v", err)
	}
	if got := text(t, login); got != own {
		t.Errorf("of the user's own file %d bytes of %d are left", len(got), len(own))
	}
	if a.check(t) == 0 {
		t.Error("the probe says that all is well")
	}
	k.holds(t, "filler", "pgpass")
	must(t, os.Remove(k.outside("filler")))
	serves()

	k.fill(t)
	was, logged := text(t, token), text(t, login)
	for _, scope := range []string{"web", "db"} {
		s.revoke(t, a.scope(t, "report", scope).GrantID)
	}
	told()
	if text(t, token) != was || text(t, login) != logged {
		t.Error("a file is not the one before")
	}
	k.holds(t, "filler", "pgpass", "vault-token")
	must(t, os.Remove(k.outside("filler")))
	serves()
	if text(t, token) == was || text(t, login) == logged {
		t.Error("a file is the one before still")
	}

	// A line can be taken out of a file only where there is room for the rest of it.
	k.fill(t)
	left := text(t, login)
	a.stop(t)
	k.holds(t, "filler", "pgpass")
	if text(t, login) != left {
		t.Error("the user's own file is not the one before")
	}
	must(t, os.Remove(k.outside("filler")))
	a = s.agent(t, first)
	eventually(t, 2*time.Minute, "the next agent takes the line out", func() bool { return text(t, login) == own })
	a.stop(t)
	k.holds(t, "pgpass")
	if _, err := os.Stat(a.socket() + ".journal"); !os.IsNotExist(err) {
		t.Errorf("the journal of an agent that ended well: %v", err)
	}
	if got := text(t, login); got != own {
		t.Errorf("the user's own file has %d bytes and not %d", len(got), len(own))
	}
	s.nothingLeft(t)
	eventually(t, revocationLimit, "no account is left", func() bool { return s.accounts(t) == "0" })
}

// holds wants these files on the disk, sorted, and no part of another.
func (k *disk) holds(t *testing.T, want ...string) {
	t.Helper()
	all, err := os.ReadDir(k.outside(""))
	must(t, err)
	var got []string
	for _, f := range all {
		got = append(got, f.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("on the disk are %v, want %v", got, want)
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	return string(raw)
}

func (s *sidecar) revoke(t *testing.T, grant string) {
	t.Helper()
	out, code := run(t, append(s.env, "SPIFFE_ENDPOINT_SOCKET=unix://"+s.dev+"/operator.sock"), program(t, "valetkey"), "revoke", grant, "--cause", "a test")
	if code != 0 {
		t.Fatalf("revoke exits %d: %s", code, out.stderr)
	}
}

// tokenWorks has the real vault take what is in the file.
func (s *sidecar) tokenWorks(t *testing.T, file string) bool {
	t.Helper()
	vault, err := servers.Binary("vault")
	must(t, err)
	out, code := run(t, []string{"VAULT_ADDR=" + s.vault.Addr, "VAULT_TOKEN=" + text(t, file), "HOME=" + s.mkdir(t, "empty")},
		vault, "kv", "get", "-mount=secret", "-field=password", "web/db")
	return code == 0 && strings.TrimSpace(out.stdout) == "of-web"
}

// loginWorks has the real psql take what is in the file.
func (s *sidecar) loginWorks(t *testing.T, a *agent, file string) bool {
	t.Helper()
	host, port, err := net.SplitHostPort(s.pg.Addr)
	must(t, err)
	out, code := run(t, []string{"PGPASSFILE=" + file, "PGUSER=" + a.read(t, "user"), "PGPASSWORD="},
		filepath.Join(clientsDir(t), "psql"), "-h", host, "-p", port, "-d", "postgres", "-At", "-c", "select 1")
	return code == 0 && strings.TrimSpace(out.stdout) == "1"
}
