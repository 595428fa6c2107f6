package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stranger is a user of this machine who is not this one.
const stranger = 65534

// hello is what a client of MCP says first, by curl.
func hello(token string, more ...string) []string {
	return append([]string{
		"-sS", "-m", "10", "-w", "\n%{http_code}", "-H", "Authorization: Bearer " + token, "-H", "Content-Type: application/json",
		"-H", "Accept: application/json, text/event-stream",
		"-d", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`,
	}, more...)
}

// mcpServer runs "valetkey mcp --http" until it says that it serves.
func (l *local) mcpServer(t *testing.T, d *daemon, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(program(t, "valetkey"), append([]string{"mcp", "--dir", l.path("shelf")}, args...)...)
	cmd.Env = append(os.Environ(), "VALETKEY_ADDR="+d.grpc, "VALETKEY_BROKER_ID="+brokerID, "VALETKEY_LEDGER_KEY="+l.vkey, "SPIFFE_ENDPOINT_SOCKET="+l.socket("alice"))
	var out heard
	cmd.Stderr = &out
	must(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // interrupted
	}()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt) // it may have ended
			<-done
		}
	}
	t.Cleanup(stop)
	eventually(t, startLimit, "valetkey mcp serves", func() bool { return strings.Contains(out.String(), "serving MCP") })
	return stop
}

// TestAnotherUserIsNoClientOfMCP has somebody who knows the token ask, and somebody who
// waited for it at the port while no server ran.
func TestAnotherUserIsNoClientOfMCP(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("asking as another user takes root")
	}
	l := newLocal(t)
	must(t, os.Chmod(l.dir, 0o755)) // so that the other user comes as far as the socket
	d := l.start(t)
	at, file := freeAddress(t), l.path("token")

	// Another user's process waits at the port: nothing is told to anybody.
	squatter := exec.Command("/usr/bin/python3", "-c", "import socket,sys,time\ns=socket.socket()\ns.bind(('127.0.0.1',int(sys.argv[1])))\ns.listen()\nprint('up',flush=True)\ntime.sleep(600)", at[strings.LastIndex(at, ":")+1:])
	squatter.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}, Pdeathsig: syscall.SIGKILL}
	squatter.Dir = "/"
	up, err := squatter.StdoutPipe()
	must(t, err)
	must(t, squatter.Start())
	_, err = up.Read(make([]byte, 2))
	must(t, err)
	must(t, os.WriteFile(file, []byte("of before"), 0o600))
	env := []string{"VALETKEY_ADDR=" + d.grpc, "VALETKEY_BROKER_ID=" + brokerID, "VALETKEY_LEDGER_KEY=" + l.vkey, "SPIFFE_ENDPOINT_SOCKET=" + l.socket("alice")}
	out, code := run(t, env, program(t, "valetkey"), "mcp", "--http", at, "--token-file", file)
	if code != 1 || !strings.Contains(out.stderr, "user 65534 listens there") {
		t.Errorf("on a port that another user holds it exits %d: %s", code, out.stderr)
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "of before" {
		t.Errorf("a token was written: %v", err)
	}
	must(t, squatter.Process.Kill())
	_ = squatter.Wait() // killed

	stop := l.mcpServer(t, d, "--http", at, "--token-file", file)
	first, err := os.ReadFile(file)
	must(t, err)
	url := "http://" + at + "/mcp"
	if out, code := run(t, nil, "curl", hello(strings.TrimSpace(string(first)), url)...); code != 0 || !strings.HasSuffix(out.stdout, "200") {
		t.Fatalf("its own user: %d, %s %s", code, out.stdout, out.stderr)
	}
	if out, _ := runAs(t, stranger, "curl", hello(strings.TrimSpace(string(first)), url)...); !strings.HasSuffix(out.stdout, "403") || !strings.Contains(out.stdout, "user 65534 asks, and may not") {
		t.Errorf("another user with the token: %s %s", out.stdout, out.stderr)
	}
	stop()
	l.mcpServer(t, d, "--http", at, "--token-file", file)
	if out, _ := run(t, nil, "curl", hello(strings.TrimSpace(string(first)), url)...); !strings.HasSuffix(out.stdout, "401") {
		t.Errorf("the token of before: %s %s", out.stdout, out.stderr)
	}

	l2 := newLocal(t)
	must(t, os.Chmod(l2.dir, 0o755))
	sock := l2.path("mcp.sock")
	l2.mcpServer(t, l2.start(t), "--http", "unix://"+sock)
	if out, code := run(t, nil, "curl", hello("", "--unix-socket", sock, "http://localhost/mcp")...); code != 0 || !strings.HasSuffix(out.stdout, "200") {
		t.Errorf("its own user by the socket: %d, %s %s", code, out.stdout, out.stderr)
	}
	if out, code := runAs(t, stranger, "curl", hello("", "--unix-socket", sock, "http://localhost/mcp")...); code == 0 {
		t.Errorf("another user by the socket: %s", out.stdout)
	}
	// Whoever could open it all the same is known by the kernel.
	must(t, os.Chmod(sock, 0o666))
	if out, _ := runAs(t, stranger, "curl", hello("", "--unix-socket", sock, "http://localhost/mcp")...); !strings.HasSuffix(out.stdout, "403") {
		t.Errorf("another user by an open socket: %s %s", out.stdout, out.stderr)
	}
	if conn, err := net.DialTimeout("unix", sock, time.Second); err != nil {
		t.Errorf("the socket is gone: %v", err)
	} else {
		_ = conn.Close()
	}
}
