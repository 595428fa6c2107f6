package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/clients/environ"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes/plaintext"
)

// runs are texts that an agent may write, and that a shell would run.
var runs = []string{"x/;id>pwned;/", "$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "\n touch pwned\n", "\x1b]52;c;cHduZWQ=\a", "\u009b2J", "a\tb", "\u202e"}

// TestNothingAnAgentWroteRuns asks for a credential that is not given, for each reason
// that leaves a grant and in each format: standard output has nothing, and the code is
// not 0. Where a shell runs it nonetheless, nothing happens.
func TestNothingAnAgentWroteRuns(t *testing.T) {
	grant := &valetkeyv1.Grant{Id: grantID}
	e := &edge{request: func(r *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
		grant.Parameters, grant.Scope = r.GetParameters(), runs[0]
		return &valetkeyv1.RequestGrantResponse{Grant: grant}, nil
	}}
	call := start(t, e)
	formats := append(slices.Sorted(maps.Keys(environ.Formats)), "json", "credential-process", "")
	for _, state := range []valetkeyv1.GrantState{
		valetkeyv1.GrantState_GRANT_STATE_PENDING, valetkeyv1.GrantState_GRANT_STATE_DENIED, valetkeyv1.GrantState_GRANT_STATE_REJECTED,
		valetkeyv1.GrantState_GRANT_STATE_LAPSED, valetkeyv1.GrantState_GRANT_STATE_EXPIRED, valetkeyv1.GrantState_GRANT_STATE_UNSPECIFIED,
	} {
		for _, format := range formats {
			grant.State, grant.Reasons, grant.AgentSpiffeId = state, runs, strings.Join(runs, "")
			grant.Needs = []*valetkeyv1.Need{{Group: runs[1], Approvals: 1}}
			args := []string{"request", "s3-read", "--task", taskID, "--mint", "--no-receipt-checks", "--format", format}
			for _, v := range runs {
				args = append(args, "prefix="+v)
			}
			for _, more := range [][]string{nil, {"-o", "json"}} {
				code, stdout, stderr := call(append(args, more...)...)
				if code == exitOK || stdout != "" {
					t.Errorf("%s, %q %v: exit %d, stdout %q", state, format, more, code, stdout)
				}
				if err := plaintext.Prose(strings.ReplaceAll(stderr, "\uFFFD", "")); err != nil {
					t.Errorf("%s, %q %v: standard error has %v", state, format, more, err)
				}
			}
		}
	}
	// Without --mint the grant is the result; its rows drive no terminal and are rows.
	code, stdout, _ := call("request", "s3-read", "--task", taskID, "prefix="+strings.Join(runs, ""))
	if err := plaintext.Prose(strings.ReplaceAll(stdout, "\uFFFD", "")); err != nil || code == exitOK || strings.Contains(stdout, "\n touch") {
		t.Errorf("exit %d, %v: %q", code, err, stdout)
	}
	if _, stdout, _ := call("request", "s3-read", "--task", taskID, "prefix="+strings.Join(runs, ""), "-o", "json"); plaintext.Prose(stdout) != nil {
		t.Errorf("JSON: %v: %q", plaintext.Prose(stdout), stdout)
	}
	if code, stdout, stderr := call("request", "s3-read", "--task", taskID, "--mint", "--help"); code != exitOK || stdout != "" || stderr == "" {
		t.Errorf("help: exit %d, %q", code, stdout)
	}
}

// TestTheSafeIdiom runs what docs/cli.md says, in a shell, with a command that is given
// no credential: what comes after does not run.
func TestTheSafeIdiom(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := ""
	for l := range strings.Lines(string(page)) {
		if strings.HasPrefix(l, "creds=$(valetkey request") {
			line = l
		}
	}
	if line == "" {
		t.Fatal("docs/cli.md has no line that begins with creds=$(valetkey request")
	}
	for _, shell := range []string{"sh", "bash", "zsh"} {
		for _, fails := range []string{"false", "return 4", "printf 'touch pwned\n' && false"} {
			dir := t.TempDir()
			cmd := exec.Command(shell, "-c", "valetkey() { "+fails+"; }\nTASK=t\n"+strings.TrimSpace(line)+" && touch ran\n")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err == nil {
				t.Errorf("%s, %s: goes on: %s", shell, fails, out)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%s, %s: %v %v", shell, fails, left, err)
			}
		}
	}
}

// TestOneFormat refuses two formats before anything is asked.
func TestOneFormat(t *testing.T) {
	e := &edge{}
	call := start(t, e)
	for _, args := range [][]string{{"mint", grantID, "--format", "env"}, {"request", "s3-read", "--task", taskID, "--mint", "--format", "fish"}} {
		if code, stdout, stderr := call(append(args, "-o", "json", "--no-receipt-checks")...); code != exitUsage || stdout != "" || !strings.Contains(stderr, "two formats") {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if len(e.requests) != 0 {
		t.Errorf("asked %v", e.requests)
	}
}

// TestMintLeavesNothingAmbient prints what clears the caller's own credentials, and
// refuses a file that would not.
func TestMintLeavesNothingAmbient(t *testing.T) {
	t.Setenv("AWS_PROFILE", "prod")
	t.Setenv("AWS_ENDPOINT_URL_ECR", "http://evil")
	cred := awsCredential()
	cred.GetAws().Region = "eu-west-1"
	call := start(t, &edge{mint: func() (*valetkeyv1.MintCredentialResponse, error) {
		return &valetkeyv1.MintCredentialResponse{Credential: cred}, nil
	}})
	_, stdout, _ := call("mint", grantID, "--no-receipt-checks")
	cmd := exec.Command("sh", "-c", stdout+"env")
	cmd.Env = append(os.Environ(), "VAULT_TOKEN=mine")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		"AWS_PROFILE=": false, "AWS_ENDPOINT_URL_ECR=": false, "AWS_DEFAULT_REGION=eu-west-1\n": true, "AWS_CONFIG_FILE=/dev/null\n": true, "VAULT_TOKEN=mine\n": true,
	} {
		if strings.Contains(string(out), line) != want {
			t.Errorf("%q is there: %v", line, !want)
		}
	}
	if code, stdout, stderr := call("mint", grantID, "--no-receipt-checks", "--format", "dotenv"); code != exitUsage || stdout != "" || !strings.Contains(stderr, "AWS_PROFILE") {
		t.Errorf("dotenv: exit %d, %q, %q", code, stdout, stderr)
	}
}

// TestUsageDrivesNoTerminal repeats a wrong argument as text.
func TestUsageDrivesNoTerminal(t *testing.T) {
	call := start(t, &edge{})
	for _, args := range [][]string{{"request", "s3-read", "--task", taskID, strings.ReplaceAll(strings.Join(runs, ""), "=", "")}, {"\x1b[2J"}, {"scopes", "--\u202e"}} {
		code, stdout, stderr := call(args...)
		if err := plaintext.Prose(strings.ReplaceAll(stderr, "\uFFFD", "")); code != exitUsage || stdout != "" || err != nil {
			t.Errorf("%q: exit %d, %v: %q", args, code, err, stderr)
		}
	}
}
