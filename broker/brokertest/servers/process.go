package servers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// TB is the part of testing.TB that is needed here, so that a demo can use the
// servers too. Fatalf must not return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

const (
	// startLimit is long because a cold 500 MB binary on two busy cores is slow.
	startLimit = 90 * time.Second
	stopLimit  = 15 * time.Second
	pollEvery  = 50 * time.Millisecond
	// startTries covers a port that somebody else took between choosing and
	// listening.
	startTries = 3
)

// Binary is the path of a server binary.
func Binary(name string) (string, error) {
	dir := os.Getenv("VALETKEY_SERVERS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("finding server binary %q: %w", name, err)
		}
		dir = filepath.Join(cache, "valetkey", "servers")
	}
	path := filepath.Join(dir, name)
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("finding server binary %q (run `make servers`): %w", name, err)
	}
	return path, nil
}

// process is one server that we started.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	end  syscall.Signal // asks it to end; 0 is SIGTERM
	done chan struct{}  // closed once the process is reaped
	err  error          // of Wait; read it after done
}

// start runs a server with a clean environment, output to a file, in its folder.
func start(name, dir string, plan launchPlan) (*process, error) {
	binary := plan.binary
	if binary == "" {
		var err error
		if binary, err = Binary(name); err != nil {
			return nil, err
		}
	}
	p := &process{name: name, log: filepath.Join(dir, name+".log"), end: plan.end, done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p.cmd = exec.Command(binary, plan.args...)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, plan.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = dieWithParent()
	p.cmd.SysProcAttr.Credential = plan.as
	if plan.in != nil {
		in, err := p.cmd.StdinPipe()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), out.Close())
		}
		go func() { _, _ = in.Write(plan.in) }() // a server that reads nothing is not ready
	}
	started := make(chan error, 1)
	go p.run(started)
	err = <-started
	if closing := out.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// run keeps its thread until the process ends: the kernel's signal for a dead
// parent is sent when the starting *thread* ends.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
}

// awaitReady polls until ready says nil, the process ends, or startLimit is over.
func (p *process) awaitReady(ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var last error
	for {
		if last = ready(ctx); last == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, errors.Join(p.err, last), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready after %s: %w\n%s", p.name, startLimit, last, p.tail())
		}
	}
}

// stop asks, waits, then kills. It is safe to repeat.
func (p *process) stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	end := p.end
	if end == 0 {
		end = syscall.SIGTERM
	}
	if err := p.cmd.Process.Signal(end); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// tail is the end of the log, for an error.
func (p *process) tail() string {
	const most = 4 << 10
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-most):])
}

// launch starts a server on ports of its own and gives it to the clean-up. build
// gets as many free ports as asked for; ready asks the server itself.
func launch(t TB, name, dir string, ports int, build func(ports []int) launchPlan) []int {
	t.Helper()
	_, chosen := launchProcess(t, name, dir, ports, build)
	return chosen
}

// launchProcess is launch for who stops the server before the clean-up does.
func launchProcess(t TB, name, dir string, ports int, build func(ports []int) launchPlan) (*process, []int) {
	t.Helper()
	var last error
	for range startTries {
		free, err := freePorts(ports)
		if err != nil {
			t.Fatalf("choosing ports for %s: %v", name, err)
		}
		plan := build(free)
		p, err := start(name, dir, plan)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if last = p.awaitReady(plan.ready); last == nil {
			t.Cleanup(func() {
				if err := p.stop(); err != nil {
					t.Logf("%v", err)
				}
			})
			return p, free
		}
		if err := p.stop(); err != nil {
			t.Logf("%v", err)
		}
		if plan.once {
			break
		}
	}
	t.Fatalf("starting %s: %v", name, last)
	return nil, nil
}

type launchPlan struct {
	// binary is the path; empty for the one of the server's name that was built.
	binary string
	// as is the user to run it as; nil for our own.
	as *syscall.Credential
	// end is what asks the server to end; 0 is SIGTERM.
	end  syscall.Signal
	env  []string
	args []string
	// in is what the server reads first; its standard input then stays open for as long as it lives.
	in    []byte
	ready func(context.Context) error
	// once forbids a second try, where the first used something up.
	once bool
}

// freePorts holds all of them open until all are chosen, so that they differ.
func freePorts(n int) (ports []int, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, listener.Close()) }() //nolint:gocritic // n is 1 to 3
		addr, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("unexpected address %q", listener.Addr())
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// randomSecret is 40 hex digits, which every server takes as a password.
func randomSecret(t TB) string {
	t.Helper()
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		t.Fatalf("making a test secret: %v", err)
	}
	return hex.EncodeToString(b)
}
