package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// PostgresServer is a running PostgreSQL that asks everybody for a password.
type PostgresServer struct {
	Addr     string // 127.0.0.1:port
	User     string // a superuser
	Password string

	bin string
}

// Postgres starts a PostgreSQL that lives until t's clean-up. It is the system's,
// and refuses to run as root, so root starts it as another user.
func Postgres(t TB) PostgresServer {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Fatalf("finding PostgreSQL: install the Debian package postgresql")
	}
	s := PostgresServer{User: "root_of_test", Password: randomSecret(t), bin: filepath.Dir(found[len(found)-1])}
	// Not t.TempDir: that one's parent is closed to other users.
	dir, err := os.MkdirTemp("", "vk-pg-")
	if err != nil {
		t.Fatalf("making PostgreSQL's folder: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("removing PostgreSQL's folder: %v", err)
		}
	})
	as := another(t)
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(s.Password), 0o600); err != nil {
		t.Fatalf("writing PostgreSQL's password: %v", err)
	}
	if as != nil {
		for _, path := range []string{dir, password} {
			if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
				t.Fatalf("giving PostgreSQL its folder: %v", err)
			}
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "-D", data, "-U", s.User, "-A", "scram-sha-256", "--pwfile="+password, "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("running initdb: %v\n%s", err, out)
	}
	ports := launch(t, "postgres", dir, 1, func(ports []int) launchPlan {
		return launchPlan{
			binary: filepath.Join(s.bin, "postgres"), as: as,
			end:  syscall.SIGINT, // SIGTERM waits for its clients to leave
			args: []string{"-D", data, "-p", strconv.Itoa(ports[0]), "-h", "127.0.0.1", "-k", dir, "-F"},
			ready: func(ctx context.Context) error {
				out, err := exec.CommandContext(ctx, filepath.Join(s.bin, "pg_isready"), "-h", "127.0.0.1", "-p", strconv.Itoa(ports[0])).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			},
		}
	})
	s.Addr = loopback(ports[0])
	return s
}

// another is a user without privileges for root to run a server as, and nil for
// everybody else.
func another(t TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatalf("finding a user to run PostgreSQL as: there is neither postgres nor nobody")
	return nil
}

// Probe is a command, written below dir, that tries an account whose data is on its standard input:
// exit code 0 where PostgreSQL takes it, 1 where it says that the password is wrong.
func (s PostgresServer) Probe(t TB, dir string) string {
	t.Helper()
	host, port, _ := strings.Cut(s.Addr, ":")
	file := filepath.Join(dir, "probe-postgres")
	text := fmt.Sprintf(`#!/bin/sh
field() { printf %%s "$data" | sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }
data=$(cat)
PGPASSWORD=$(field password) PGCONNECT_TIMEOUT=5
export PGPASSWORD PGCONNECT_TIMEOUT
said=$(%s -X -w -h %s -p %s -U "$(field username)" -d postgres -c 'select 1' 2>&1) && exit 0
case $said in *"password authentication failed"*) exit 1 ;; esac
exit 2
`, filepath.Join(s.bin, "psql"), host, port)
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		t.Fatalf("writing the probe: %v", err)
	}
	return file
}

// Query logs in and runs one statement, and returns what psql prints of it.
func (s PostgresServer) Query(ctx context.Context, login, password, statement string) (string, error) {
	uri := "postgresql://" + login + "@" + s.Addr + "/postgres?connect_timeout=10"
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "psql"), "-X", "-A", "-t", "-w", "-d", uri, "-c", statement)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}
