package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Postgres starts a PostgreSQL that lives until t's clean-up, and returns its
// host:port. It trusts the user "postgres" without a password, and asks all others
// for theirs. The newest that Debian has installed is taken; it refuses to run as
// root, so root starts it as another user.
func Postgres(t TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Fatalf("PostgreSQL is missing: install the Debian package postgresql")
	}
	bin := filepath.Dir(slices.Max(found))
	dir, err := os.MkdirTemp("", "vkpg") // not TempDir: that one's parent is closed to other users
	if err != nil {
		t.Fatalf("making a folder for PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("%v", err)
		}
	})
	attr, err := unprivileged(dir)
	if err != nil {
		t.Fatalf("choosing a user for PostgreSQL: %v", err)
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("making a PostgreSQL cluster: %v\n%s", err, out)
	}
	const rules = "host all postgres 127.0.0.1/32 trust\nlocal all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(rules), 0o644); err != nil {
		t.Fatalf("writing PostgreSQL's rules: %v", err)
	}
	var last error
	for range startTries {
		port, p, err := startPostgres(attr, bin, dir)
		if err == nil {
			t.Cleanup(func() {
				if err := p.stop(); err != nil {
					t.Logf("%v", err)
				}
			})
			return loopback(port)
		}
		last = err
	}
	t.Fatalf("starting PostgreSQL: %v", last)
	return ""
}

func startPostgres(attr *syscall.SysProcAttr, bin, dir string) (int, *process, error) {
	ports, err := freePorts(1)
	if err != nil {
		return 0, nil, err
	}
	port := strconv.Itoa(ports[0])
	p, err := startAs(attr, "postgres", filepath.Join(bin, "postgres"), dir, nil,
		"-D", filepath.Join(dir, "data"), "-p", port, "-h", "127.0.0.1", "-k", dir, "-F")
	if err != nil {
		return 0, nil, err
	}
	err = p.awaitReady(func(ctx context.Context) error {
		return exec.CommandContext(ctx, filepath.Join(bin, "pg_isready"), "-h", "127.0.0.1", "-p", port).Run()
	})
	if err != nil {
		return 0, nil, errors.Join(err, p.stop())
	}
	return ports[0], p, nil
}

// unprivileged are a process's attributes as a user who is not root and owns dir.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attr := dieWithParent()
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	if os.Getuid() != 0 {
		return attr, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return attr, os.Chown(dir, int(uid), int(gid))
	}
	return nil, fmt.Errorf("there is no user postgres or nobody")
}
