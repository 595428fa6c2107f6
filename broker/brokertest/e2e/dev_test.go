package e2e_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// devRun is "valetkeyd dev" with nothing given, as a newcomer starts it.
type devRun struct {
	cmd  *exec.Cmd
	out  string // what it printed
	env  []string
	s3   string        // host:port
	done chan struct{} // closed once it is reaped
}

var (
	s3Address = regexp.MustCompile(`S3 at http://(\S+):`)
	toType    = regexp.MustCompile(`(?m)^  (.* -- aws .*)$`)
)

// startDev gives it no key, and waits for its banner.
func startDev(t *testing.T, dir string) *devRun {
	t.Helper()
	bin := filepath.Join(filepath.Dir(dir), "bin")
	must(t, os.MkdirAll(bin, 0o700))
	aws, err := servers.Binary("clients/aws")
	must(t, err)
	if err := os.Symlink(aws, filepath.Join(bin, "aws")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	d := &devRun{
		cmd:  exec.Command(program(t, "valetkeyd"), "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--ledger", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"),
		env:  []string{"PATH=" + bin + ":" + binaries + ":" + os.Getenv("PATH"), "HOME=" + filepath.Dir(dir), "AWS_EC2_METADATA_DISABLED=true"},
		done: make(chan struct{}),
	}
	d.cmd.Env = d.env
	banner := filepath.Join(filepath.Dir(dir), "banner")
	file, err := os.Create(banner)
	must(t, err)
	var log bytes.Buffer
	d.cmd.Stdout, d.cmd.Stderr = file, &log
	must(t, d.cmd.Start())
	must(t, file.Close())
	go func() {
		_ = d.cmd.Wait() // a signal ends it
		close(d.done)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it may have ended
		<-d.done
		if t.Failed() {
			t.Logf("valetkeyd said:\n%s", log.String())
		}
	})
	eventually(t, startLimit, "dev mode says what to type", func() bool {
		raw, err := os.ReadFile(banner)
		must(t, err)
		d.out = string(raw)
		return strings.Contains(d.out, "valetkey ledger verify")
	})
	at := s3Address.FindStringSubmatch(d.out)
	if at == nil {
		t.Fatalf("it does not say where S3 is:\n%s", d.out)
	}
	d.s3 = at[1]
	return d
}

// typed runs the two commands as they are printed, in one shell.
func (d *devRun) typed(t *testing.T) (list, removal string) {
	t.Helper()
	lines := toType.FindAllStringSubmatch(d.out, -1)
	if len(lines) != 2 {
		t.Fatalf("it prints %d commands, want two:\n%s", len(lines), d.out)
	}
	out, code := runIn(t, d.env, "/bin/sh", "-c", lines[0][1]+" && echo LISTED && ! "+lines[1][1])
	if code != 0 {
		t.Fatalf("as printed, they leave with %d:\n%s%s", code, out.stdout, out.stderr)
	}
	list, removal, ok := strings.Cut(out.stdout+out.stderr, "LISTED\n")
	if !ok {
		t.Fatalf("the list was refused:\n%s%s", out.stdout, out.stderr)
	}
	return list, removal
}

// end is how it leaves a signal.
func (d *devRun) end(t *testing.T, with os.Signal) {
	t.Helper()
	must(t, d.cmd.Process.Signal(with))
	select {
	case <-d.done:
	case <-time.After(startLimit):
		t.Fatal("dev mode does not end")
	}
	eventually(t, 2*time.Minute, "its S3 ends with it", func() bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", d.s3)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

// TestDevAsPrinted is a newcomer's first two minutes: what dev mode prints is typed, and does what it says. It goes on after
// a restart, and what it brought ends with it, however it ends.
func TestDevAsPrinted(t *testing.T) {
	dir := filepath.Join(shortDir(t), "dev")
	for _, with := range []os.Signal{os.Interrupt, syscall.SIGKILL, syscall.SIGTERM} {
		d := startDev(t, dir)
		for _, want := range []string{"DEV MODE", "Never for production", "versitygw", "nobody's here", "valetkey's own", "has no AWS key"} {
			if !strings.Contains(d.out, want) {
				t.Errorf("it does not say %q:\n%s", want, d.out)
			}
		}
		list, removal := d.typed(t)
		if strings.Count(list, ".csv") != 2 {
			t.Errorf("it lists:\n%s", list)
		}
		if !strings.Contains(removal, "(AccessDenied) when calling the DeleteObject operation") {
			t.Errorf("the removal says:\n%s", removal)
		}
		// Not to be had without a session either.
		resp, err := http.Get("http://" + d.s3 + "/example/reports/2026-11.csv") //nolint:noctx // loopback
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("without a session: %s", resp.Status)
		}
		d.end(t, with)
	}
	// The ledger holds all three starts.
	key, err := os.ReadFile(filepath.Join(dir, "ledger.key.pub"))
	must(t, err)
	out, code := run(t, nil, program(t, "valetkey"), "ledger", "verify", filepath.Join(dir, "valetkey.db"), "--key", strings.TrimSpace(string(key)))
	if code != 0 {
		t.Errorf("%s%s", out.stdout, out.stderr)
	}
	for _, name := range []string{"target/iam", "target/data"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", name, info.Mode())
		}
	}
}

// TestDevNeedsItsTarget has valetkeyd where valetkey-target is not.
func TestDevNeedsItsTarget(t *testing.T) {
	dir := shortDir(t)
	raw, err := os.ReadFile(program(t, "valetkeyd"))
	must(t, err)
	alone := filepath.Join(dir, "valetkeyd")
	must(t, os.WriteFile(alone, raw, 0o700))
	out, code := runIn(t, []string{"PATH=" + dir, "HOME=" + dir}, alone, "dev", "--listen", "127.0.0.1:0", "--ledger", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0")
	if code != 1 || !strings.Contains(out.stderr, "make build") || !strings.Contains(out.stderr, "--s3-endpoint") {
		t.Errorf("it exits %d and says:\n%s", code, out.stderr)
	}
	out, code = run(t, nil, program(t, "valetkeyd"), "dev", "--s3-listen", "0.0.0.0:8702")
	if code != 1 || !strings.Contains(out.stderr, "loopback only") {
		t.Errorf("on every address it exits %d and says:\n%s", code, out.stderr)
	}
}

// TestServeTakesNothingOfDevMode has a configuration name what dev mode made.
func TestServeTakesNothingOfDevMode(t *testing.T) {
	l := newLocal(t)
	l.write(t, "DEV-ONLY", "")
	out, code := run(t, awsEnv(), program(t, "valetkeyd"), l.args()...)
	if code != 1 || !strings.Contains(out.stderr, "dev mode") {
		t.Errorf("it exits %d and says:\n%s", code, out.stderr)
	}
}
