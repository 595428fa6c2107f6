package e2e_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runAs runs a command as another user, which takes root.
func runAs(t *testing.T, uid uint32, path string, args ...string) (output, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Dir = "/"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return output{stdout.String(), stderr.String()}, cmd.ProcessState.ExitCode()
}

// TestExecEnds has commands end in every way, and wants their status, and nothing
// left behind.
func TestExecEnds(t *testing.T) {
	s := newSidecar(t).start(t)
	for _, c := range []struct {
		name    string
		flags   string
		command []string
		code    int
		says    string
	}{
		{"well", readScope, []string{"true"}, 0, ""},
		{"with a status", readScope, []string{"sh", "-c", "exit 7"}, 7, ""},
		{"by a signal", readScope, []string{"sh", "-c", "kill -TERM $$"}, 143, ""},
		{"killed", readScope, []string{"sh", "-c", "kill -KILL $$"}, 137, ""},
		{"before it began", readScope, []string{"no-such-program"}, 127, "program not found"},
		{"as no program", readScope, []string{"/etc/passwd"}, 126, "cannot be run"},
		{"denied a parameter", "--scope s3-prefix-read bucket=*", []string{"true"}, 1, "INVALID_PARAMETER"},
		{"waiting for people", "--scope s3-bucket-rebuild bucket=prod", []string{"true"}, 4, "needs: 2 of group sre"},
		{"half done", readScope + " --scope no-such-scope", []string{"true"}, 1, "UNKNOWN_SCOPE"},
		{"without a command", readScope, nil, 2, "after --"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, code := s.exec(t, c.flags, c.command...); code != c.code || !strings.Contains(out.stderr, c.says) {
				t.Errorf("exits %d, want %d: %s", code, c.code, out.stderr)
			}
		})
	}
	s.nothingLeft(t)
	t.Run("told to", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
			// The command decides what a signal means.
			cmd := s.running(t, `trap 'echo got; exit 9' TERM INT HUP USR1; echo ready >&2; while :; do sleep 0.05; done`)
			must(t, cmd.Process.Signal(sig))
			if code := ends(t, cmd); code != 9 {
				t.Errorf("after %v it exits %d", sig, code)
			}
		}
		s.nothingLeft(t)
	})
	t.Run("killed itself", func(t *testing.T) {
		cmd := s.running(t, `echo $$ > "$TMPDIR/../child"; env | sed -n "s/^AWS_CONTAINER_//p" > "$TMPDIR/../env"; echo ready >&2; while :; do sleep 0.05; done`)
		must(t, cmd.Process.Kill())
		ends(t, cmd)
		raw, err := os.ReadFile(filepath.Join(s.dir, "child"))
		must(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
		must(t, err)
		eventually(t, 2*time.Minute, "the command ends, too", func() bool { return syscall.Kill(pid, 0) != nil })
		env, err := os.ReadFile(filepath.Join(s.dir, "env"))
		must(t, err)
		for line := range strings.Lines(string(env)) {
			if url, ok := strings.CutPrefix(strings.TrimSpace(line), "CREDENTIALS_FULL_URI="); ok {
				if code, _ := fetch(t, url); code != 0 {
					t.Errorf("its endpoint answers %d", code)
				}
			}
		}
		s.nothingLeft(t)
	})
	t.Run("killed itself, with a command that goes on", func(t *testing.T) {
		cmd := s.running(t, `trap "" TERM; echo $$ > "$TMPDIR/../child"; echo ready >&2; while :; do sleep 0.05; done`)
		must(t, cmd.Process.Kill())
		ends(t, cmd)
		raw, err := os.ReadFile(filepath.Join(s.dir, "child"))
		must(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
		must(t, err)
		eventually(t, 2*time.Minute, "the command ends, too", func() bool { return syscall.Kill(pid, 0) != nil })
		s.nothingLeft(t)
	})
	t.Run("with the broker away", func(t *testing.T) {
		began := time.Now()
		out, code := s.exec(t, "--timeout 2s --broker 127.0.0.1:1 "+readScope, "true")
		if code != 1 || !strings.Contains(out.stderr, "check --broker") || time.Since(began) > 10*time.Second {
			t.Errorf("exits %d after %v: %s", code, time.Since(began), out.stderr)
		}
	})
	t.Run("with a broker that hangs", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
		must(t, err)
		t.Cleanup(func() { _ = silent.Close() })
		for name, command := range map[string]string{
			"exec":    "exec -e staging " + readScope + " -- true",
			"shell":   "shell -e staging " + readScope,
			"agent":   "agent -e staging --purpose p --dir " + s.mkdir(t, "quick") + " " + readScope,
			"request": "request s3-prefix-read bucket=prod prefix=reports/ --task task_aaaaaaaaaaaaaaaaaaaaaaaaaa --mint",
			"scopes":  "scopes",
		} {
			began := time.Now()
			env := append(append(s.operators(t), s.env...), "VALETKEY_ADDR="+silent.Addr().String())
			out, code := run(t, env, program(t, "valetkey"), strings.Fields("--timeout 2s "+command)...)
			if code != 1 || !strings.Contains(out.stderr, "the broker does not answer within 2s") || !strings.Contains(out.stderr, "Next: check --broker") || strings.Contains(out.stderr, "this shell has") || time.Since(began) > 5*time.Second {
				t.Errorf("%s exits %d after %v: %s", name, code, time.Since(began), out.stderr)
			}
		}
	})
	t.Run("without an identity", func(t *testing.T) {
		out, code := s.exec(t, "--timeout 2s --workload-api unix:///nowhere "+readScope, "true")
		if code != 1 || !strings.Contains(out.stderr, "is the socket right") {
			t.Errorf("exits %d: %s", code, out.stderr)
		}
	})
}

// running starts valetkey exec of a shell's script, which says "ready".
func (s *sidecar) running(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	args := append([]string{"exec", "-e", "staging"}, append(strings.Fields(readScope), "--", "/bin/sh", "-c", script)...)
	cmd := exec.Command(program(t, "valetkey"), args...)
	cmd.Env = append(append(os.Environ(), s.operators(t)...), s.env...)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	buf := make([]byte, len("ready"))
	if n, err := stderr.Read(buf); string(buf[:n]) != "ready" {
		t.Fatalf("the command says %q, %v", buf[:n], err)
	}
	return cmd
}

// ends waits for a command's end.
func ends(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its state is what counts
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("the command does not end")
	}
	return cmd.ProcessState.ExitCode()
}

// TestAgentKilled has the next agent end what a killed one has left.
func TestAgentKilled(t *testing.T) {
	s := newSidecar(t).start(t)
	a := s.agent(t, twoTasksOf("read.txt"))
	was := a.status(t)
	must(t, a.cmd.Process.Kill())
	<-a.done
	if a.read(t, "read.txt") == "" {
		t.Error("the killed one left no file: this tests nothing")
	}
	a = s.agent(t, twoTasksOf("another.txt"))
	eventually(t, 2*time.Minute, "its file is gone", func() bool {
		_, err := os.Stat(filepath.Join(a.dir, "read.txt"))
		return os.IsNotExist(err)
	})
	eventually(t, revocationLimit, "its grants are over", func() bool {
		out, code := run(t, append(s.env, "SPIFFE_ENDPOINT_SOCKET=unix://"+s.dev+"/operator.sock"), program(t, "valetkey"), "grants", "-o", "json")
		if code != 0 {
			t.Fatalf("grants exits %d: %s", code, out.stderr)
		}
		return strings.Count(out.stdout, "STATE_ACTIVE") == len(was.Tasks)
	})
	a.stop(t)
	s.nothingLeft(t)
	left, err := os.ReadDir(a.dir)
	must(t, err)
	for _, f := range left {
		if n := f.Name(); n != "agent.yaml" && n != "aws-config" {
			t.Errorf("%s was left behind", n)
		}
	}
}

// twoTasksOf is twoTasks without Vault's scopes, and another file.
func twoTasksOf(file string) string {
	before, rest, _ := strings.Cut(twoTasks, "      - name: web\n")
	_, after, _ := strings.Cut(rest, "  - name: other\n")
	return strings.ReplaceAll(before, "read.txt", file) + "  - name: other\n" + after
}

// TestAgentFaults has the broker go and come back, the task be revoked, the
// configuration change, and a file that cannot be written.
func TestAgentFaults(t *testing.T) {
	s := newSidecar(t).start(t)
	full := newDisk(t, filepath.Join(s.mkdir(t, "agent"), "full"), "4k")
	config := func(more string) string {
		return `tasks:
  - name: short
    purpose: a short life
    environment: staging
    scopes:
      - scope: s3-prefix-read
        params: {bucket: prod, prefix: reports/}
        ttl: 24s
        outputs: {container: {token_file: short.token}}
` + more
	}
	long := `  - name: long
    purpose: a long life
    environment: staging
    scopes:
      - scope: s3-prefix-read
        params: {bucket: prod, prefix: other/}
        outputs: {container: {token_file: long.token}, templates: [{text: "{{.CredentialID}}", file: long.txt}]}
`
	a := s.agent(t, config(long))
	short, token := a.output(t, "short", "s3-prefix-read", "container"), a.read(t, "short.token")
	ask := func() int {
		code, _ := fetch(t, short, "Authorization", token)
		return code
	}
	again := func() { s.start(t) } // for longer than the test below
	t.Run("the broker is away", func(t *testing.T) {
		s.kill()
		held := a.scope(t, "short", "s3-prefix-read")
		eventually(t, 2*time.Minute, "the status says that the broker is away, while the credential lives", func() bool {
			if code := ask(); code != http.StatusOK {
				t.Fatalf("a living credential is answered with %d", code)
			}
			now := a.scope(t, "short", "s3-prefix-read")
			return now.CredentialID == held.CredentialID && now.Error != ""
		})
		eventually(t, 2*time.Minute, "a dead one is not given", func() bool { return ask() == http.StatusServiceUnavailable })
		if a.check(t) == 0 {
			t.Error("the probe says that all is well")
		}
		again()
		eventually(t, 60*time.Second, "the broker is back", func() bool { return ask() == http.StatusOK })
	})
	reload := func(text string) {
		must(t, os.WriteFile(filepath.Join(a.dir, "agent.yaml"), []byte("socket: agent.sock\n"+text), 0o600))
		must(t, a.cmd.Process.Signal(syscall.SIGHUP))
	}
	t.Run("a wrong configuration", func(t *testing.T) {
		reload(config(long) + "surprise: true\n")
		eventually(t, 2*time.Minute, "it is told", func() bool { return strings.Contains(a.status(t).ConfigError, "surprise") })
		if code := ask(); code != http.StatusOK {
			t.Errorf("the one before does not go on: %d", code)
		}
	})
	t.Run("a task that is over", func(t *testing.T) {
		url, was := a.output(t, "long", "s3-prefix-read", "container"), a.read(t, "long.token")
		reload(config(""))
		eventually(t, 2*time.Minute, "its address is gone", func() bool {
			code, _ := fetch(t, url, "Authorization", was)
			return code == http.StatusUnauthorized
		})
		eventually(t, 2*time.Minute, "its files are gone", func() bool {
			_, err := os.Stat(filepath.Join(a.dir, "long.txt"))
			return os.IsNotExist(err)
		})
		if a.read(t, "short.token") != token || a.status(t).ConfigError != "" {
			t.Error("what had not changed was changed")
		}
	})
	t.Run("a file that does not fit", func(t *testing.T) {
		where := full.outside("big.txt")
		must(t, os.WriteFile(where, []byte("before"), 0o600))
		reload(config(strings.Replace(long, `[{text: "{{.CredentialID}}", file: long.txt}]`,
			`[{text: "{{printf \"%20000d\" 1}}", file: "`+where+`"}]`, 1)))
		eventually(t, 2*time.Minute, "it is told", func() bool {
			for _, task := range a.status(t).Tasks {
				if task.Name == "long" && len(task.Scopes) > 0 && strings.Contains(task.Scopes[0].OutputError, "no space left") {
					return true
				}
			}
			return false
		})
		raw, err := os.ReadFile(where)
		must(t, err)
		if string(raw) != "before" {
			t.Error("half a file was left")
		}
		reload(config(long))
	})
	t.Run("a task that an operator ends", func(t *testing.T) {
		var id string
		eventually(t, 2*time.Minute, "the task is open", func() bool {
			for _, task := range a.status(t).Tasks {
				if task.Name == "short" {
					id = task.ID
				}
			}
			return id != ""
		})
		out, code := run(t, append(s.env, "SPIFFE_ENDPOINT_SOCKET=unix://"+s.dev+"/operator.sock"), program(t, "valetkey"), "revoke", id, "--cause", "a test")
		if code != 0 {
			t.Fatalf("revoke exits %d: %s", code, out.stderr)
		}
		eventually(t, 60*time.Second, "the endpoint says that it is over", func() bool {
			code, body := fetch(t, short, "Authorization", token)
			return code == http.StatusForbidden && strings.Contains(body, "over")
		})
	})
	a.stop(t)
	s.nothingLeft(t)
	if _, err := os.Stat(a.socket() + ".journal"); !os.IsNotExist(err) {
		t.Errorf("the journal of an agent that ended well: %v", err)
	}
}
