package environ_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/clients/environ"
)

// hostile are values that some shell would make something of.
var hostile = []string{
	"/;id>pwned;/", "$(touch pwned)", "`touch pwned`", "'; touch pwned; '", `"; touch pwned; "`, `\'; touch pwned; '\`, "a && touch pwned", "!touch", "!!", "a!b!",
	`\`, `\\`, `a\`, `\!`, `'`, `''`, `'''`, `"`, "$HOME", "${HOME}", "%PATH%", "~", "*", "[a-z]*", "{a,b}", "#x", "a #b", "a ;b", " a  b ", "é\u2019; touch pwned; \u2019",
	"a=b", "-n", "--", "(", ")", "<x", ">pwned", "|", "^a^b", "a\tb", "\u00a0", "\x7f", "$(", "`", "${", "\\u0027", "?", "&", "=touch", "=%", "a:=touch", "=", "%1",
}

// reader is a shell that reads a script in one way.
type reader struct {
	format environ.Format
	// argv reads the file "script" in the working directory, and then runs print.
	argv []string
}

const show = "env -0 > out"

// readers are the ways that the documents name, and those that people have anyway.
func readers() map[string]reader {
	posix := func(shell ...string) []string {
		return append(shell, "-c", `creds=$(cat script) && eval "$creds" && `+show)
	}
	return map[string]reader{
		"dash":                     {environ.FormatPOSIX, posix("dash")},
		"bash":                     {environ.FormatPOSIX, posix("bash")},
		"zsh":                      {environ.FormatPOSIX, posix("zsh", "-f")},
		"zsh with its own quoting": {environ.FormatPOSIX, posix("zsh", "-f", "-o", "RC_QUOTES")},
		"bash that reads a file":   {environ.FormatPOSIX, []string{"bash", "-c", ". ./script && " + show}},
		"fish":                     {environ.FormatFish, []string{"fish", "--no-config", "-c", "eval (cat script | string collect); and " + show}},
		"fish that reads a pipe":   {environ.FormatFish, []string{"fish", "--no-config", "-c", "cat script | source; and " + show}},
		"tcsh":                     {environ.FormatCsh, []string{"tcsh", "-f", "-c", `set creds = "` + "`cat script`" + `" && eval $creds:q && ` + show}},
		"tcsh that reads a file":   {environ.FormatCsh, []string{"tcsh", "-f", "-c", "source script && " + show}},
	}
}

// read has a shell read a script in the environment base, and returns what programs
// that it starts then have.
func read(t interface {
	Helper()
	Fatalf(string, ...any)
}, dir string, r reader, script []byte, base []string) map[string]string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "script"), script, 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command(r.argv[0], r.argv[1:]...)
	cmd.Dir, cmd.Env = dir, base
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Fatalf("%v: %v: %s\n%s", r.argv, err, said, script)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	out := map[string]string{}
	for kv := range bytes.SplitSeq(bytes.TrimSuffix(raw, []byte{0}), []byte{0}) {
		name, value, _ := strings.Cut(string(kv), "=")
		out[name] = value
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Fatalf("%v ran something: %v %v\n%s", r.argv, left, err, script)
	}
	return out
}

// values draws what may be in a variable: no NUL, and UTF-8 as all texts of the wire are.
func values() *rapid.Generator[string] {
	return rapid.OneOf(rapid.SampledFrom(hostile), rapid.StringOf(rapid.RuneFrom([]rune("'\\\"$`!;#& |<>(){}[]*?~^%=-\t\u2018\u2019\u201a\u201baé"))),
		rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom(hostile).Draw(t, "a") + rapid.SampledFrom(hostile).Draw(t, "b")
		}))
}

// TestShells has the real shells read values that nobody would want to write: each is
// what it was, and none runs.
func TestShells(t *testing.T) {
	path, home := "PATH="+os.Getenv("PATH"), t.TempDir()
	for name, r := range readers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				dir := t.TempDir()
				want := map[string]string{}
				for i, v := range append(slices.Clone(hostile), rapid.SliceOfN(values(), 1, 40).Draw(rt, "values")...) {
					want["VK_"+strings.Repeat("X", i+1)] = v
				}
				script, err := environ.Delivery{Also: want}.Environment().Script(r.format, nil)
				if err != nil {
					rt.Fatalf("%v", err)
				}
				got := read(rt, dir, r, script, []string{path, "HOME=" + home})
				for n, v := range want {
					if got[n] != v {
						rt.Fatalf("%s=%q, want %q", n, got[n], v)
					}
				}
			})
		})
	}
}

// ambient is an environment that would win, in each way.
func ambient() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "AWS_PROFILE=prod", "AWS_ACCESS_KEY_ID=AKIAAMBIENT", "AWS_SECRET_ACCESS_KEY=s", "AWS_SESSION_TOKEN=t",
		"AWS_ENDPOINT_URL_ECR=http://evil", "AWS_SSO_SESSION=x", "VAULT_TOKEN=root", "VAULT_NAMESPACE=evil", "KUBECONFIG=/k", "KUBERNETES_SERVICE_HOST=10.0.0.1",
		"KUBERNETES_PORT_443_TCP=x", "PGPASSWORD=p", "NO_PROXY=corp.example", "HTTP_PROXY=http://proxy", "BASH_ENV=/e",
	}
}

// TestWhatWins wants each way to read a delivery of AWS to leave nothing of the
// reader's own credentials of that kind, and all of the other kinds.
func TestWhatWins(t *testing.T) {
	e := environ.Delivery{AWS: &environ.AWS{AccessKeyID: "ASIA", SecretAccessKey: "it's", SessionToken: "t0k3n", Region: "eu-west-1"}}.Environment()
	all := readers()
	for name, argv := range map[string][]string{
		"dash": {"dash", "-c"}, "bash": {"bash", "-c"}, "zsh": {"zsh", "-f", "-c"}, "sh that stops at an error": {"sh", "-ec"}, "bash, strict": {"bash", "-euc"},
	} {
		all["a file in "+name] = reader{"file", append(argv, ". ./script && "+show)}
	}
	all["a file in fish"] = reader{"fishfile", []string{"fish", "--no-config", "-c", "source script; and " + show}}
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			var script []byte
			switch r.format {
			case "file":
				script = e.File()
			case "fishfile":
				script = e.FishFile()
			default:
				var err error
				if script, err = e.Script(r.format, ambient()); err != nil {
					t.Fatal(err)
				}
			}
			got := read(t, t.TempDir(), r, script, append(ambient(), "HOME="+t.TempDir()))
			for n, want := range map[string]string{
				"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "it's", "AWS_SESSION_TOKEN": "t0k3n", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
				"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
				"VAULT_TOKEN": "root", "VAULT_NAMESPACE": "evil", "KUBECONFIG": "/k", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "PGPASSWORD": "p",
				"HTTP_PROXY": "http://proxy", "NO_PROXY": "corp.example,localhost,127.0.0.1,::1", "BASH_ENV": "/e",
			} {
				if got[n] != want {
					t.Errorf("%s=%q, want %q", n, got[n], want)
				}
			}
			for _, n := range []string{"AWS_PROFILE", "AWS_ENDPOINT_URL_ECR", "AWS_SSO_SESSION"} {
				if v, ok := got[n]; ok {
					t.Errorf("%s=%q is still there", n, v)
				}
			}
			if v, ok := got["no_proxy"]; ok && v != "corp.example,localhost,127.0.0.1,::1" {
				t.Errorf("no_proxy=%q", v)
			}
		})
	}
}

// TestFileInStrangeShells has a file read where words are cut elsewhere, and where what it needs is not there: it
// clears all, or nothing goes on.
func TestFileInStrangeShells(t *testing.T) {
	script := environ.Delivery{AWS: &environ.AWS{AccessKeyID: "ASIA"}}.Environment().File()
	for _, shell := range [][]string{{"dash"}, {"bash"}, {"zsh", "-f"}} {
		for name, before := range map[string]string{"another IFS": "IFS=:; ", "no IFS": "IFS=; ", "no programs": "env=$(command -v env); PATH=/nonexistent; "} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "script"), script, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:], "-c", before+". ./script && echo goes on && ${env:-env}")...)
			cmd.Dir, cmd.Env = dir, append(ambient(), "AWS_SSO_$(touch pwned)=x")
			out, err := cmd.Output()
			if strings.Contains(string(out), "AWS_ENDPOINT_URL_ECR") || strings.Contains(string(out), "AWS_SSO_SESSION") {
				t.Errorf("%v, %s: what would win is there: %s", shell, name, out)
			}
			if refused := strings.Contains(name, "programs"); refused == (err == nil) {
				t.Errorf("%v, %s: %v: %s", shell, name, err, out)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("%v, %s ran something: %v", shell, name, left)
			}
		}
	}
}

// TestUniversalVariable wants a universal variable of fish's, which erasing a global one
// would bring back, to stay hidden.
func TestUniversalVariable(t *testing.T) {
	e := environ.Delivery{AWS: &environ.AWS{AccessKeyID: "ASIA"}}.Environment()
	home := t.TempDir()
	set := exec.Command("fish", "--no-config", "-c", "set -Ux AWS_PROFILE prod")
	set.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := reader{environ.FormatFish, []string{"fish", "-c", "cat script | source; and " + show}}
	script, err := e.Script(r.format, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, t.TempDir(), r, script, set.Env)
	if v, ok := got["AWS_PROFILE"]; ok || got["AWS_ACCESS_KEY_ID"] != "ASIA" {
		t.Errorf("AWS_PROFILE=%q, %v", v, maps.Collect(maps.All(got)))
	}
}
