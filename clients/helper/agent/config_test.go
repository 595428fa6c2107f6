package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const good = `tasks:
  - name: a
    purpose: a test
    environment: staging
    scopes:
      - scope: s
        params: {bucket: b, keys: [x, y]}
        outputs: {container: {token_file: t}}
`

func TestLoad(t *testing.T) {
	path := writeFile(t, "agent.yaml", good)
	c, err := Load(path)
	must(t, err)
	s := c.Tasks[0].Scopes[0]
	if s.Outputs.Container.TokenFile != filepath.Join(filepath.Dir(path), "t") || len(s.Params["keys"]) != 2 || s.Params["bucket"][0] != "b" {
		t.Errorf("it is read as %+v", s)
	}
}

func TestLoadRefuses(t *testing.T) {
	out := "container: {token_file: t}"
	for name, c := range map[string][3]string{ // what, in its place, and what is said
		"an unknown key":         {"purpose:", "porpoise:", "porpoise"},
		"no purpose":             {"    purpose: a test\n", "", "purpose"},
		"no environment":         {"    environment: staging\n", "", "environment"},
		"an odd name":            {"name: a", "name: a/b", "a/b"},
		"no outputs":             {out, "", "nobody could use it"},
		"no token file":          {out, "container: {}", "token_file"},
		"half a profile":         {out, "process: {socket: s, profile: p}", "go together"},
		"an odd profile":         {out, `process: {socket: s, profile: "p]", config_file: c}`, "p]"},
		"no sink":                {out, "vault_sink: {}", "file"},
		"a port that is none":    {out, "pgpass: {file: f, port: 70000}", "70000"},
		"a template of nothing":  {out, "templates: [{file: f}]", "either"},
		"a template of two":      {out, "templates: [{file: f, text: x, source: y}]", "either"},
		"a broken template":      {out, `templates: [{file: f, text: "{{"}]`, "parsing"},
		"a template not there":   {out, "templates: [{file: f, source: nowhere}]", "nowhere"},
		"one file twice":         {out, "container: {token_file: t, env_file: t}", "already"},
		"a file that is no part": {out, "container: {token_file: t}, pgpass: {file: t}", "already"},
	} {
		text := strings.Replace(good, c[0], c[1], 1)
		if text == good {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if _, err := Load(writeFile(t, "agent.yaml", text)); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "no tasks": "tasks: []\n", "two documents": good + "---\n" + good, "a task twice": good + strings.TrimPrefix(good, "tasks:\n"),
	} {
		if _, err := Load(writeFile(t, "agent.yaml", text)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := Load("nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestDeploy holds the Kubernetes example to the configuration as it is, and to
// itself: what the application is told is what the agent serves.
func TestDeploy(t *testing.T) {
	raw, err := os.ReadFile("../../../deploy/kubernetes/sidecar.yaml")
	must(t, err)
	first, pod, ok := strings.Cut(string(raw), "\n---\n")
	if !ok {
		t.Fatal("it has one document")
	}
	var m struct{ Data map[string]string }
	must(t, yaml.Unmarshal([]byte(first), &m))
	c, err := Load(writeFile(t, "agent.yaml", m.Data["agent.yaml"]))
	must(t, err)
	objects, secrets := c.Tasks[0].Scopes[0], c.Tasks[0].Scopes[1]
	for _, want := range []string{
		"value: \"http://" + c.Listen + "/v1/" + c.Tasks[0].Name + "/" + objects.spec().Called() + "\"",
		"value: \"" + objects.Outputs.Container.TokenFile + "\"", "value: \"http://" + secrets.Outputs.VaultProxy.Listen + "\"", `"` + c.Socket + `"`,
	} {
		if !strings.Contains(pod, want) {
			t.Errorf("the pod does not have %s", want)
		}
	}
}
