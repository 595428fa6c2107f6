package session

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rights are what a start file sets that would win over a session's credential.
const rights = `export AWS_PROFILE=prod AWS_ACCESS_KEY_ID=AKIAOPERATOR AWS_SECRET_ACCESS_KEY=s AWS_ENDPOINT_URL_ECR=http://evil
export VAULT_TOKEN=root VAULT_ADDR=http://evil KUBECONFIG=/home/prod KUBERNETES_SERVICE_HOST=10.0.0.1 PGPASSWORD=p NO_PROXY=corp.example
export READ_THE_START_FILE=yes
`

// home has such a file for each shell.
func home(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	csh := strings.NewReplacer("export READ_THE_START_FILE=yes", "setenv READ_THE_START_FILE yes").Replace("setenv AWS_PROFILE prod\nsetenv AWS_ACCESS_KEY_ID AKIAOPERATOR\nsetenv VAULT_TOKEN root\n")
	for name, text := range map[string]string{
		".bashrc": text, ".shrc": text, ".zshenv": text, ".zshrc": text, ".config/fish/config.fish": strings.ReplaceAll(text, "export ", "export "), ".tcshrc": csh,
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// TestStartFiles starts each shell as a person does whose start files set other
// credentials: what programs then have is the session's.
func TestStartFiles(t *testing.T) {
	h := home(t, rights)
	t.Setenv("HOME", h)
	t.Setenv("ENV", "$HOME/.shrc")
	t.Setenv("BASH_ENV", h+"/.shrc")
	s := sessionOf(t, newKit(t))
	t.Cleanup(func() { must(t, s.Close()) })
	for name, argv := range map[string][]string{
		"bash": {"bash", "-ic", "env"}, "a script of bash": {"bash", "-c", "env"}, "zsh": {"zsh", "-ic", "env"}, "a login zsh": {"zsh", "-ilc", "env"}, "a script of zsh": {"zsh", "-c", "env"},
		"zsh in zsh": {"zsh", "-ic", "zsh -ic env"}, "zsh in bash": {"bash", "-ic", "zsh -c env"}, "bash in zsh": {"zsh", "-ic", "bash -c env"}, "sh in bash": {"bash", "-ic", "dash -ic env"},
		"fish": {"fish", "-c", "env"}, "an interactive fish": {"fish", "-ic", "env"}, "dash": {"dash", "-ic", "env"}, "sh": {"/bin/sh", "-ic", "env"}, "tcsh": {"tcsh", "-c", "env"},
		"bash that sshd has started": {"bash", "-c", "env"},
	} {
		t.Run(name, func(t *testing.T) {
			argv, err := s.Start(argv)
			must(t, err)
			cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
			base := os.Environ()
			if strings.Contains(name, "sshd") {
				base = append(slices.DeleteFunc(base, func(kv string) bool { return strings.HasPrefix(kv, "SHLVL=") }), "SSH_CLIENT=1", "SSH2_CLIENT=1", "SHLVL=0")
			}
			cmd.Env = s.Environ(base)
			out, err := cmd.Output()
			must(t, err)
			got := variables(strings.Split(string(out), "\n"))
			for _, gone := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_ECR", "KUBERNETES_SERVICE_HOST", "PGPASSWORD", "BASH_ENV"} {
				if v, ok := got[gone]; ok {
					t.Errorf("%s=%s", gone, v)
				}
			}
			want := variables(s.Environ(nil))
			for _, name := range []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "VAULT_TOKEN", "KUBECONFIG", "PGPASSFILE"} {
				if got[name] != want[name] || got[name] == "" {
					t.Errorf("%s=%q, want %q", name, got[name], want[name])
				}
			}
			if !strings.HasSuffix(got["NO_PROXY"], "127.0.0.1,::1") {
				t.Errorf("NO_PROXY=%q", got["NO_PROXY"])
			}
			// It is their shell nonetheless, where a file can come after theirs.
			if reads := !strings.Contains(name, "tcsh") && !strings.Contains(name, "of bash") && !strings.Contains(name, "bash that"); reads != (got["READ_THE_START_FILE"] != "") {
				t.Errorf("the start files were read: %v", !reads)
			}
		})
	}
}

// TestStartFileThatHoldsOn refuses a shell whose start file cannot be undone.
func TestStartFileThatHoldsOn(t *testing.T) {
	t.Setenv("HOME", home(t, rights+"readonly AWS_PROFILE\n"))
	t.Setenv("ENV", "$HOME/.shrc")
	s := sessionOf(t, newKit(t))
	t.Cleanup(func() { must(t, s.Close()) })
	for _, shell := range []string{"bash", "zsh", "dash"} {
		argv, err := s.Start([]string{shell, "-ic", "echo it goes on"})
		must(t, err)
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = s.Environ(os.Environ())
		if out, err := cmd.Output(); err == nil || strings.Contains(string(out), "it goes on") {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
}

// TestInterruptedStartFile wants no shell that went on without the session's variables: one that is interrupted
// while it reads a start file leaves the rest of its own unread.
func TestInterruptedStartFile(t *testing.T) {
	t.Setenv("HOME", home(t, rights+"kill -INT $$\nsleep 0.1\n"))
	t.Setenv("ENV", "$HOME/.shrc")
	s := sessionOf(t, newKit(t))
	t.Cleanup(func() { must(t, s.Close()) })
	for _, shell := range []string{"bash", "zsh", "dash"} {
		argv, err := s.Start([]string{shell, "-i"})
		must(t, err)
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env, cmd.Stdin = s.Environ(os.Environ()), strings.NewReader("echo it goes on\nenv\n")
		out, err := cmd.Output()
		if strings.Contains(string(out), "AWS_PROFILE=prod") || err == nil && !strings.Contains(string(out), "it goes on") {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
}

func TestUnknownShell(t *testing.T) {
	for shell, want := range map[string]error{"/usr/bin/nu": ErrUnknownShell, "pwsh": ErrUnknownShell, "/bin/bash": nil, "zsh": nil} {
		if err := CheckShell(shell); !errors.Is(err, want) {
			t.Errorf("%s: %v", shell, err)
		}
	}
	s := &Session{}
	if argv, err := s.Start([]string{"aws", "s3", "ls"}); err != nil || !slices.Equal(argv, []string{"aws", "s3", "ls"}) {
		t.Errorf("%v, %v", argv, err)
	}
}
