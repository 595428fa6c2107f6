package mcp_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/mcp"
)

// withRun has run_command run under a keeper.
func withRun(r mcp.Run) func(*mcp.Config) {
	r = kept(r)
	return func(c *mcp.Config) { c.Run = &r }
}

func command(access string, argv ...string) map[string]any {
	return map[string]any{"access": []string{access}, "argv": argv}
}

// TestRunEnvHandsNothingOn refuses a server that would hand its own credentials on.
func TestRunEnvHandsNothingOn(t *testing.T) {
	s := newSite(t, nil)
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "VAULT_TOKEN", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "BASH_ENV"} {
		if _, err := mcp.New(mcp.Config{Client: mustClient(t, s), Shelf: s.shelf, Run: &mcp.Run{Programs: []string{"sh"}, Environment: []string{"LANG", name}}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunCommand(t *testing.T) {
	t.Setenv("VALETKEY_TEST_PRIVATE", "the server's own")
	t.Setenv("VALETKEY_TEST_PASSED", "on")
	s := newSite(t, withRun(mcp.Run{Programs: []string{"sh", "cat", "sleep"}, Output: 1000, Environment: []string{"VALETKEY_TEST_PASSED"}}))
	c := s.stdio(t)
	task := openTask(t, c)
	a := ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-prefix-read", prod)).Access

	got := ask[mcp.RunCommandOut](t, c, "run_command", command(a, "sh", "-c", "echo out; echo err >&2; exit 7"))
	if got.ExitStatus != 7 || got.Stdout != "out\n" || got.Stderr != "err\n" || got.TimedOut || got.StdoutTruncated {
		t.Errorf("a command: %+v", got)
	}
	if got := ask[mcp.RunCommandOut](t, c, "run_command", command(a, "sh", "-c", "kill -9 $$")); got.ExitStatus != 137 {
		t.Errorf("a killed command: %+v", got)
	}
	// No shell reads the arguments.
	if got := ask[mcp.RunCommandOut](t, c, "run_command", command(a, "cat", "$(id); echo")); got.ExitStatus == 0 || !strings.Contains(got.Stderr, "$(id); echo") {
		t.Errorf("an argument with a command in it: %+v", got)
	}
	env := ask[mcp.RunCommandOut](t, c, "run_command", command(a, "sh", "-c", "env")).Stdout
	if strings.Contains(env, "VALETKEY_TEST_PRIVATE") || !strings.Contains(env, "VALETKEY_TEST_PASSED=on\n") || !strings.Contains(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:") || !strings.Contains(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN=[redacted]\n") {
		t.Errorf("its environment is %s", env)
	}
	// Output is bounded, and drives no terminal.
	got = ask[mcp.RunCommandOut](t, c, "run_command", command(a, "sh", "-c", `printf '\033[2Jx\n'; head -c 5000000 /dev/zero | tr '\0' a`))
	if !strings.HasPrefix(got.Stdout, " [2Jx\naaa") || len(got.Stdout) > 1000 || !got.StdoutTruncated {
		t.Errorf("%d bytes of output: %.20q, truncated %v", len(got.Stdout), got.Stdout, got.StdoutTruncated)
	}
	// What runs too long ends, with what it started.
	pid := filepath.Join(s.dir, "pid")
	args := command(a, "sh", "-c", "sleep 1000 & echo $! > "+pid+"; wait")
	args["timeout_seconds"] = 5 // for a busy machine to start it in
	if got := ask[mcp.RunCommandOut](t, c, "run_command", args); !got.TimedOut || got.ExitStatus != 143 {
		t.Errorf("a command that goes on: %+v", got)
	}
	gone(t, pid)
	// And what a command leaves behind when it ends by itself.
	must(t, os.Remove(pid))
	if got := ask[mcp.RunCommandOut](t, c, "run_command", command(a, "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $! > "+pid)); got.ExitStatus != 0 {
		t.Errorf("a command that leaves something: %+v", got)
	}
	gone(t, pid)
	// Also what has left its group and session, and its parent.
	for name, script := range map[string]string{
		"setsid":      "setsid sleep 1000 >/dev/null 2>&1 & echo $! > " + pid + "; sleep 0.1",
		"two removed": "setsid sh -c '(sh -c \"echo \\$\\$ >" + pid + "; exec sleep 1000\" &) ' >/dev/null 2>&1; while ! test -s " + pid + "; do sleep 0.05; done",
	} {
		must(t, os.Remove(pid))
		if got := ask[mcp.RunCommandOut](t, c, "run_command", command(a, "sh", "-c", script)); got.ExitStatus != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		gone(t, pid)
	}

	// Where a command kills its keeper, its group ends.
	must(t, os.Remove(pid))
	ask[mcp.RunCommandOut](t, c, "run_command", command(a, "sh", "-c", "sleep 1000 & echo $! > "+pid+"; kill -9 $PPID; wait"))
	gone(t, pid)

	for name, tt := range map[string]struct {
		args   map[string]any
		reason string
	}{
		"another program":      {command(a, "env"), mcp.ReasonDisabled},
		"one by its path":      {command(a, "/bin/sh", "-c", "id"), mcp.ReasonDisabled},
		"none":                 {command(a), mcp.ReasonInvalidArgument},
		"a NUL byte":           {command(a, "sh", "a\x00b"), mcp.ReasonInvalidArgument},
		"no access":            {map[string]any{"access": []string{}, "argv": []string{"sh"}}, mcp.ReasonInvalidArgument},
		"a guess":              {command("access-AAAAAAAAAAAAAAAAAAAAAAAAAA", "sh"), mcp.ReasonUnknownHandle},
		"a task's handle":      {command(task, "sh"), mcp.ReasonUnknownHandle},
		"a command as a text":  {map[string]any{"access": []string{a}, "argv": "sh -c id"}, mcp.ReasonInvalidArgument},
		"an environment of it": {map[string]any{"access": []string{a}, "argv": []string{"sh"}, "env": map[string]any{"A": "b"}}, mcp.ReasonInvalidArgument},
	} {
		if r := refused(t, c, "run_command", tt.args); r.Reason != tt.reason {
			t.Errorf("%s: %+v, want %s", name, r, tt.reason)
		}
	}
	waits := ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-bucket-rebuild", map[string]any{"bucket": "prod"})).Access
	if r := refused(t, c, "run_command", command(waits, "sh")); r.Reason != mcp.ReasonNotReady {
		t.Errorf("access that waits: %+v", r)
	}
}

// TestRunFindsNothingElse has a command look for access that it was not given: its
// user's own, and other accesses of the same server.
func TestRunFindsNothingElse(t *testing.T) {
	home := t.TempDir()
	must(t, os.Mkdir(filepath.Join(home, ".aws"), 0o700))
	must(t, os.WriteFile(filepath.Join(home, ".aws", "credentials"), []byte("[default]\naws_access_key_id = AKIAOWN\naws_secret_access_key = own\n"), 0o600))
	t.Setenv("HOME", home)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "env")
	m := &minter{vault: "http://127.0.0.1:1"}
	s := &site{h: brokertest.NewRunning(t, brokertest.Config{Minter: func(v *mint.Verifier, _ *brokertest.Clock) mint.Minter {
		m.permits = v
		return m
	}})}
	s.serve(t, withRun(mcp.Run{Programs: []string{"aws", "sh"}}))
	url := s.listen(t)
	alice, mallory := s.httpTo(t, url), s.httpTo(t, url)
	theirs := request(openTask(t, alice), "s3-prefix-read", prod)
	theirs["profile"] = "theirs"
	ask[mcp.AccessOut](t, alice, "request_access", theirs)
	task := openTask(t, mallory)
	kv := ask[mcp.AccessOut](t, mallory, "request_access", request(task, "vault-kv-read", map[string]any{"team": "web"})).Access
	s3 := ask[mcp.AccessOut](t, mallory, "request_access", request(task, "s3-prefix-read", prod)).Access
	for _, argv := range [][]string{
		{"aws", "configure", "list"}, {"aws", "--profile", "default", "configure", "list"}, {"aws", "--profile", "valetkey-theirs", "configure", "list"},
	} {
		for name, access := range map[string]string{"vault": kv, "aws": s3} {
			if name == "aws" && argv[1] == "configure" {
				continue // that is its own
			}
			got := ask[mcp.RunCommandOut](t, mallory, "run_command", command(access, argv...))
			for line := range strings.Lines(got.Stdout) {
				if strings.Contains(line, "access_key") && !strings.Contains(line, "<not set>") {
					t.Errorf("with %s access %v gives %s", name, argv, line)
				}
			}
			if !strings.Contains(got.Stdout, "access_key") && !strings.Contains(got.Stderr, "could not be found") {
				t.Errorf("with %s access %v: %+v", name, argv, got)
			}
		}
	}
	if got := ask[mcp.RunCommandOut](t, mallory, "run_command", command(s3, "aws", "configure", "list")); got.ExitStatus != 0 || !strings.Contains(got.Stdout, "container-role") {
		t.Errorf("its own: %+v", got)
	}
}

// TestRunLeavesNoProgramToRun has aws write what would have aws run a program.
func TestRunLeavesNoProgramToRun(t *testing.T) {
	s := newSite(t, withRun(mcp.Run{Programs: []string{"aws", "sh"}}))
	c := s.stdio(t)
	a := ask[mcp.AccessOut](t, c, "request_access", request(openTask(t, c), "s3-prefix-read", prod)).Access
	ran := filepath.Join(s.dir, "ran")
	for _, argv := range [][]string{
		{"aws", "configure", "set", "credential_process", "sh -c 'echo x >" + ran + "'", "--profile", "evil"},
		{"aws", "configure", "set", "credential_process", "sh -c 'echo x >" + ran + "'"},
		{"aws", "--profile", "evil", "s3", "ls"}, {"aws", "configure", "list"},
		// As aws s3 cp would, from a bucket.
		{"sh", "-c", `mkdir -p "$HOME/.aws/cli" && printf '[toplevel]\nevil = !echo x >` + ran + `\n' > "$HOME/.aws/cli/alias"`}, {"aws", "evil"},
	} {
		args := command(a, argv...)
		args["timeout_seconds"] = 20
		ask[mcp.RunCommandOut](t, c, "run_command", args)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("aws runs a program that a command has named")
	}
}

// gone waits for the end of the process whose id is in a file.
func gone(t *testing.T, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	must(t, err)
	proc := "/proc/" + strings.TrimSpace(string(raw))
	brokertest.Eventually(t, "what the command started is gone", func() bool {
		stat, err := os.ReadFile(proc + "/stat")
		return os.IsNotExist(err) || strings.Contains(string(stat), ") Z ") // a zombie, where nobody reaps
	})
}

// TestRunOfWhatWasRevoked looks at the broker before it runs anything.
func TestRunOfWhatWasRevoked(t *testing.T) {
	s := newSite(t, withRun(mcp.Run{Programs: []string{mcp.AnyProgram}}))
	c := s.stdio(t)
	a := ask[mcp.AccessOut](t, c, "request_access", request(openTask(t, c), "s3-prefix-read", prod))
	revoke(t, s.h, a.GrantID)
	if r := refused(t, c, "run_command", command(a.Access, "true")); r.Reason != mcp.ReasonNotReady {
		t.Errorf("a revoked grant: %+v", r)
	}
	if now := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": a.Access}); now.State != "ended" || len(now.Environment) != 0 {
		t.Errorf("a revoked grant: %+v", now)
	}
	if config, err := os.ReadFile(a.ConfigFile); err != nil || len(config) != 0 {
		t.Errorf("the config file has %q (%v)", config, err)
	}
	if r := refused(t, c, "request_access", map[string]any{"again": a.Access}); r.Reason != "GRANT_ENDED" {
		t.Errorf("asking again: %+v", r)
	}
	ask[mcp.ReleaseOut](t, c, "release", map[string]any{"access": a.Access})
}

// TestRevokedIsTakenDown has an operator revoke what has a profile: it is gone by
// itself, and nothing is granted in its place.
func TestRevokedIsTakenDown(t *testing.T) {
	s := newSite(t, nil)
	c := s.stdio(t)
	a := ask[mcp.AccessOut](t, c, "request_access", request(openTask(t, c), "s3-prefix-read", prod))
	revoke(t, s.h, a.GrantID)
	brokertest.Eventually(t, "the profile is gone", func() bool {
		config, err := os.ReadFile(a.ConfigFile)
		return err == nil && len(config) == 0
	})
	if now := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": a.Access}); now.State != "ended" || now.Ended != "GRANT_ENDED" {
		t.Errorf("a revoked grant: %+v", now)
	}
	if n := len(s.h.Minter.Secrets()); n != 1 {
		t.Errorf("%d credentials were minted", n)
	}
}

// TestRunScrubsAllSessions has a command of one session print what is another's.
func TestRunScrubsAllSessions(t *testing.T) {
	s := newSite(t, withRun(mcp.Run{Programs: []string{"echo"}}))
	url := s.listen(t)
	alice, mallory := s.httpTo(t, url), s.httpTo(t, url)
	ask[mcp.AccessOut](t, alice, "request_access", request(openTask(t, alice), "s3-prefix-read", prod))
	hers := s.h.Minter.Secrets()
	a := ask[mcp.AccessOut](t, mallory, "request_access", request(openTask(t, mallory), "s3-prefix-read", prod)).Access
	for _, secret := range hers {
		if got := ask[mcp.RunCommandOut](t, mallory, "run_command", command(a, "echo", secret)); got.Redactions != 1 || strings.Contains(got.Stdout, secret) {
			t.Errorf("another session's secret is printed: %d redactions", got.Redactions)
		}
	}
	if len(hers) == 0 {
		t.Error("there was none")
	}
}

func TestRunConfig(t *testing.T) {
	for name, r := range map[string]mcp.Run{"no program": {}, "one that is not there": {Programs: []string{"valetkey-no-such-program"}}} {
		s := newSite(t, nil)
		if _, err := mcp.New(mcp.Config{Client: mustClient(t, s), Shelf: s.shelf, Run: &r}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
