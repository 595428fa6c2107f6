package minttest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary finds a server that `make servers` built.
func binary(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("VALETKEY_SERVERS")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(home, ".cache", "valetkey", "servers")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing, run `make servers`: %v", name, err)
	}
	return path
}

// FreeAddr returns a loopback address that nothing listens on.
func FreeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// output collects what a server prints, to show when a test fails.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// run starts cmd and kills it when the test ends.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			out.mu.Lock()
			defer out.mu.Unlock()
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), out.buf.String())
		}
	})
}

func healthy(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Timeout: time.Second}
	Eventually(t, 30*time.Second, url+" is healthy", func() bool {
		resp, err := client.Get(url) //nolint:noctx // bounded by the client
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// The root user of StartMinIO.
const (
	MinIOUser     = "valetkeyroot"
	MinIOPassword = "valetkeyroot-password"
)

// StartMinIO returns the URL of a fresh MinIO.
func StartMinIO(t *testing.T) string {
	t.Helper()
	addr := FreeAddr(t)
	cmd := exec.Command(binary(t, "minio"), "server", "--quiet", "--address", addr, t.TempDir()) //nolint:gosec // a test server
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+MinIOUser, "MINIO_ROOT_PASSWORD="+MinIOPassword, "MINIO_UPDATE=off", "MINIO_BROWSER=off")
	run(t, cmd)
	healthy(t, "http://"+addr+"/minio/health/ready")
	return "http://" + addr
}

// VaultRoot is StartVault's root token.
const VaultRoot = "valetkey-root-token"

// StartVault returns the URL of a fresh Vault in dev mode.
func StartVault(t *testing.T) string {
	t.Helper()
	addr := FreeAddr(t)
	cmd := exec.Command(binary(t, "vault"), "server", "-dev", "-dev-root-token-id="+VaultRoot, "-dev-listen-address="+addr, "-dev-no-store-token") //nolint:gosec // a test server
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	run(t, cmd)
	healthy(t, "http://"+addr+"/v1/sys/health")
	return "http://" + addr
}

// StartPostgres returns the address of a fresh PostgreSQL that trusts the user "postgres". It
// refuses to run as root, so root starts it as another user.
func StartPostgres(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is missing: install the Debian package postgresql")
	}
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "vkpg") // not TempDir: that one's parent is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		uid, gid := other(t)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)} //nolint:gosec // ids of the system
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync") //nolint:gosec // a test server
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	addr := FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", dir, "-F") //nolint:gosec // a test server
	server.SysProcAttr, server.Dir = attr, dir
	run(t, server)
	Eventually(t, 30*time.Second, "PostgreSQL answers", func() bool {
		return exec.Command(filepath.Join(bin, "pg_isready"), "-h", "127.0.0.1", "-p", port).Run() == nil //nolint:gosec // a test server
	})
	return addr
}

func other(t *testing.T) (uid, gid int) {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.Atoi(u.Uid)
			gid, err2 := strconv.Atoi(u.Gid)
			if err1 == nil && err2 == nil {
				return uid, gid
			}
		}
	}
	t.Fatal(fmt.Errorf("no user to run PostgreSQL as"))
	return 0, 0
}
