package iam_test

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// vectors reads every line of testdata/iam/vectors, by file and name; none, or a line that is no case, fails the test.
func vectors(t testing.TB) map[string]iam.Case {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "iam", "vectors", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]iam.Case{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		in := strings.TrimSuffix(filepath.Base(file), ".jsonl") + "/"
		lines, before := bufio.NewScanner(bytes.NewReader(text)), len(out)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			c, err := iam.ParseCase(lines.Bytes())
			switch {
			case err != nil:
				t.Errorf("%s:%d: %v", file, n, err)
			case c.Name == "" || c.Why == "" || c.Verdict == nil:
				t.Errorf("%s:%d: a case needs a name, a verdict and a why", file, n)
			case out[in+c.Name].Name != "":
				t.Errorf("%s:%d: another case is called %q", file, n, c.Name)
			default:
				out[in+c.Name] = c
			}
		}
		if err := lines.Err(); err != nil || len(out) == before {
			t.Errorf("%s: no case in it: %v", file, err)
		}
	}
	if len(out) == 0 {
		t.Fatal("no vectors")
	}
	return out
}

func TestVectors(t *testing.T) {
	all := vectors(t)
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			d, err := c.Evaluate()
			if err != nil || d.Verdict != *c.Verdict {
				t.Errorf("got %s, %v, want %s: %s (%s)\nstatements %v", d.Verdict, err, *c.Verdict, c.Why, c.Page, d.Statements)
			}
			if strings.HasPrefix(name, "unsure/") && len(d.Doubts) == 0 {
				t.Errorf("%s without a doubt", d.Verdict)
			}
			if (d.Verdict == iam.ImplicitDeny) != (len(d.Statements) == 0) || (d.Verdict == iam.ImplicitDeny) != (d.Layer != "") {
				t.Errorf("%s with statements %v and layer %q", d.Verdict, d.Statements, d.Layer)
			}
		})
	}
	t.Logf("%d vectors", len(all))
}

func TestParseCaseRefuses(t *testing.T) {
	for _, line := range []string{``, `{"verdict":"maybe"}`, `{"nmae":"x"}`, `{"context":{"x:k":1}}`, `{} {}`, `{}}`, `{}]`, `{"identity":[{}]}`} {
		if _, err := iam.ParseCase([]byte(line)); err == nil {
			t.Errorf("%s is a case", line)
		}
	}
}
