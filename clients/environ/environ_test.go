package environ_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/clients/environ"
)

func closed() *environ.Closed {
	return &environ.Closed{PassFile: "/d/pgpass", Kubeconfig: "/d/kubeconfig"}
}

func variables(env []string) map[string]string {
	out := map[string]string{}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}

// TestClosed wants a delivery of nothing to close every kind.
func TestClosed(t *testing.T) {
	got := variables(environ.Delivery{Closed: closed()}.Environment().Environ(append(ambient(), "ENV=/e", "SHLVL=0", "PGUSER=u", "BAO_TOKEN=x", "HELM_KUBETOKEN=x")))
	want := map[string]string{
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true", "VAULT_TOKEN": environ.NotGranted,
		"PGPASSFILE": "/d/pgpass", "PGSERVICEFILE": "/dev/null", "KUBECONFIG": "/d/kubeconfig", "PGUSER": "u", "SHLVL": "1", "HTTP_PROXY": "http://proxy",
		"NO_PROXY": "corp.example,localhost,127.0.0.1,::1", "no_proxy": "corp.example,localhost,127.0.0.1,::1",
	}
	for n, v := range got {
		if w, ok := want[n]; n != "PATH" && (!ok || w != v) {
			t.Errorf("%s=%q, want %q", n, v, w)
		}
		delete(want, n)
	}
	for n := range want {
		t.Errorf("%s is not set", n)
	}
}

// TestProxies wants loopback named, and what was there kept as its reader had it.
func TestProxies(t *testing.T) {
	const lo = "localhost,127.0.0.1,::1"
	for _, c := range []struct{ upper, lower, wantUpper, wantLower string }{
		{"", "", lo, lo},
		{"*", "", "*", "*"},
		{"", "*", "*", "*"},
		{"a", "", "a," + lo, "a," + lo},
		{"a", "b", "a," + lo, "b," + lo},
		{"a," + lo, "", "a," + lo, "a," + lo},
	} {
		got := variables(environ.Delivery{}.Environment().Environ([]string{"NO_PROXY=" + c.upper, "no_proxy=" + c.lower}))
		if got["NO_PROXY"] != c.wantUpper || got["no_proxy"] != c.wantLower {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestPowerShell holds its quoting to its rule: five characters are a single quote, and
// two of them one of them.
func TestPowerShell(t *testing.T) {
	script, err := environ.Delivery{Also: map[string]string{"X": "a'b\u2019; id; \u2018\u201a\u201b$(id)`n"}}.Environment().Script(environ.FormatPowerShell, []string{"NO_PROXY=*"})
	want := "$Env:NO_PROXY = '*'\n$Env:X = 'a''b\u2019\u2019; id; \u2018\u2018\u201a\u201a\u201b\u201b$(id)`n'\n$Env:no_proxy = '*'\n"
	if err != nil || string(script) != want {
		t.Errorf("%v\n%s", err, script)
	}
	script, err = environ.Delivery{Vault: &environ.Vault{Address: "http://v", Token: "t"}}.Environment().Script(environ.FormatPowerShell, nil)
	if err != nil || !strings.Contains(string(script), "Remove-Item -LiteralPath Env:VAULT_NAMESPACE -ErrorAction Ignore\n") {
		t.Errorf("%v\n%s", err, script)
	}
}

// TestFilesForOthers wants a value that a file cannot hold to be refused, and one that
// some reader would change, too.
func TestFilesForOthers(t *testing.T) {
	for _, c := range []struct {
		format environ.Format
		value  string
		want   string // empty for refused
	}{
		{environ.FormatDotenv, "a b#c", "X='a b#c'\n"},
		{environ.FormatDotenv, "plain/+=", "X=plain/+=\n"},
		{environ.FormatDotenv, `{"a":"b"}`, "X='{\"a\":\"b\"}'\n"},
		{environ.FormatDotenv, "it's", ""},
		{environ.FormatDotenv, `a\b`, ""},
		{environ.FormatDotenv, "$HOME", ""},
		{environ.FormatDotenv, "a\nB=c", ""},
		{environ.FormatDocker, "it's $HOME \\ \"", "X=it's $HOME \\ \"\n"},
		{environ.FormatDocker, "a\nB=c", ""},
		{environ.FormatCsh, "a\nB=c", ""},
	} {
		script, err := environ.Delivery{Also: map[string]string{"X": c.value}}.Environment().Script(c.format, nil)
		if c.want == "" && (!errors.Is(err, environ.ErrFormat) || script != nil) || c.want != "" && !strings.Contains(string(script), c.want) {
			t.Errorf("%s of %q: %v\n%s", c.format, c.value, err, script)
		}
	}
	_, err := environ.Delivery{AWS: &environ.AWS{AccessKeyID: "a"}}.Environment().Script(environ.FormatDotenv, ambient())
	if !errors.Is(err, environ.ErrNotCleared) || !strings.Contains(err.Error(), "AWS_PROFILE") {
		t.Errorf("a .env file beside AWS_PROFILE: %v", err)
	}
}

// TestFileForSystemd reads the file as systemd's EnvironmentFile: every line with an
// equals sign sets a variable, and the others are no concern of its.
func TestFileForSystemd(t *testing.T) {
	assignment := regexp.MustCompile(`^[A-Z_a-z0-9]+=`)
	e := environ.Delivery{AWS: &environ.AWS{ContainerURI: "http://127.0.0.1:1/x", ContainerTokenFile: "/a b/it's", Region: "r"}, Closed: closed()}.Environment()
	var got []string
	for line := range strings.Lines(string(e.File())) {
		if strings.Contains(line, "=") {
			if !assignment.MatchString(line) {
				t.Errorf("systemd would take %q for a variable", line)
			}
			got = append(got, strings.TrimSpace(line))
		}
	}
	if !slices.Contains(got, `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/a b/it'\''s'`) || !slices.Contains(got, "AWS_REGION=r") {
		t.Errorf("%q", got)
	}
}

func TestAmbient(t *testing.T) {
	for name, want := range map[string]bool{
		"AWS_PROFILE": true, "AWS_ENDPOINT_URL_X": true, "VAULT_TOKEN": true, "BAO_NAMESPACE": true, "KUBERNETES_SERVICE_HOST": true, "PGPASSWORD": true, "BASH_ENV": true,
		"AWS_REGION": false, "AWS_CA_BUNDLE": false, "HOME": false, "PGHOST": false, "VAULT_CACERT": false,
	} {
		if environ.Ambient(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
