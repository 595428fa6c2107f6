package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startLimit covers a cold binary on a busy machine.
const startLimit = 60 * time.Second

// daemon is a running "valetkeyd dev".
type daemon struct {
	dir    string
	log    string // file of its log
	ledger string // URL
	env    []string
	stop   func() error // by its own process id; safe to repeat
}

// startBroker starts "valetkeyd dev" and waits for its word on what to type next.
// In full, MinIO's root key and the token for Vault go to the broker alone; else it gets no key at all.
func startBroker(ctx context.Context, s *stage, by enforcer, v *vault) (*daemon, error) {
	base := s.TempDir()
	d := &daemon{dir: filepath.Join(base, "dev"), log: filepath.Join(base, "valetkeyd.log")}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the broker's log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	args := []string{"dev", "--dir", d.dir, "--listen", "127.0.0.1:0", "--ledger", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + base, "AWS_EC2_METADATA_DISABLED=true"}
	if v != nil {
		args = append(args, "--s3-endpoint", by.endpoint, "--vault-addr", v.addr, "--vault-token-file", v.tokenFile)
		env = append(env, "AWS_ACCESS_KEY_ID="+by.operator.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+by.operator.SecretAccessKey)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "valetkeyd", args...) //nolint:gosec // the binary under demonstration
	cmd.Env = env
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting valetkeyd: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting valetkeyd: %w", err)
	}
	found := make(chan string, 1)
	exited := make(chan error, 1)
	go func() {
		readBanner(out, found)
		exited <- cmd.Wait()
	}()
	d.stop = sync.OnceValue(func() error { return stopProcess(cmd.Process, exited) })
	s.Cleanup(func() {
		if err := d.stop(); err != nil {
			s.Logf("stopping valetkeyd: %w", err)
		}
	})
	select {
	case d.ledger = <-found:
	case <-time.After(startLimit):
	case <-ctx.Done():
	}
	if d.ledger == "" {
		said, err := os.ReadFile(d.log)
		return nil, errors.Join(fmt.Errorf("valetkeyd did not start:\n%s", said), err)
	}
	return d, d.readEnv(base)
}

// readBanner reads all that valetkeyd prints. found gets the ledger's URL, which is
// in the last line, or nothing at the end.
func readBanner(out io.Reader, found chan<- string) {
	defer close(found)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, rest, ok := strings.Cut(lines.Text(), "valetkey ledger verify ")
		if url, _, more := strings.Cut(rest, " "); ok && more {
			found <- url
		}
	}
}

func stopProcess(p *os.Process, exited <-chan error) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-exited:
		return err
	case <-time.After(15 * time.Second):
		return errors.Join(errors.New("it had to be killed"), p.Kill(), <-exited)
	}
}

// readEnv takes what the dev broker leaves for "source", and nothing of ours.
func (d *daemon) readEnv(home string) error {
	raw, err := os.ReadFile(filepath.Join(d.dir, "env"))
	if err != nil {
		return fmt.Errorf("reading the broker's env file: %w", err)
	}
	d.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	for line := range strings.Lines(string(raw)) {
		kv, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		if !ok {
			return fmt.Errorf("reading the broker's env file: unexpected line %q", line)
		}
		d.env = append(d.env, kv)
	}
	return nil
}

// answer is what one run of valetkey left.
type answer struct {
	code           int
	stdout, stderr string
}

// with adds to the environment of what the agent runs; a name that is there is replaced.
func (d *daemon) with(env []string) *daemon {
	c := *d
	c.env = slices.Concat(d.env, env)
	return &c
}

// valetkey runs the command line as the agent does.
func (d *daemon) valetkey(ctx context.Context, args ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "valetkey", args...) //nolint:gosec // the binary under demonstration
	cmd.Env = d.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return answer{}, fmt.Errorf("running valetkey %s: %w", args[0], err)
	}
	if ctx.Err() != nil {
		return answer{}, fmt.Errorf("running valetkey %s: %w", args[0], ctx.Err())
	}
	return answer{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}
