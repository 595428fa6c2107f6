package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/valetkey/valetkey/scopes/iam"
)

// TestSimulateVectors feeds every vector to the binary as one stream, without the verdict that the vector expects, and
// compares the answers line by line.
func TestSimulateVectors(t *testing.T) {
	files, err := filepath.Glob("../../testdata/iam/vectors/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	var stream bytes.Buffer
	var names, want []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var v map[string]json.RawMessage
			var name, verdict string
			if err := errors.Join(json.Unmarshal([]byte(line), &v), json.Unmarshal(v["name"], &name), json.Unmarshal(v["verdict"], &verdict)); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, member := range []string{"verdict", "name", "page", "why"} {
				delete(v, member)
			}
			if err := json.NewEncoder(&stream).Encode(v); err != nil {
				t.Fatal(err)
			}
			names, want = append(names, filepath.Base(file)+": "+name), append(want, verdict)
		}
	}
	t.Setenv("GORACE", raceOptions)
	cmd := exec.CommandContext(t.Context(), "valetkey", "iam", "simulate", "-o", "json")
	cmd.Stdin = &stream
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d answers to %d cases", len(got), len(want))
	}
	for i, line := range got {
		var a struct {
			Verdict    string     `json:"verdict"`
			Statements *[]iam.Ref `json:"statements"`
			Layer      string     `json:"layer"`
			Doubts     []iam.Ref  `json:"doubts"`
		}
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&a); err != nil || a.Statements == nil {
			t.Errorf("%s: the answer %s: %v", names[i], line, err)
		}
		if a.Verdict != want[i] {
			t.Errorf("%s: %s, want %s", names[i], line, want[i])
		}
	}
	t.Logf("%d vectors", len(want))
}

// TestSimulateAnswersAtOnce holds that an answer does not wait for the next case: whoever asks by a pipe may wait for
// it before asking again.
func TestSimulateAnswersAtOnce(t *testing.T) {
	t.Setenv("GORACE", raceOptions)
	cmd := exec.CommandContext(t.Context(), "valetkey", "iam", "simulate", "-o", "json")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(out)
	for range 3 {
		if _, err := io.WriteString(in, `{"action":"s3:GetObject","resource":"*"}`+"\n"); err != nil {
			t.Fatal(err)
		}
		var d iam.Decision
		if err := answers.Decode(&d); err != nil || d.Layer != iam.LayerIdentity {
			t.Fatalf("%v, %v", d, err)
		}
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

func TestEachLine(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, c := range map[string]struct {
		in   string
		want []string // a line's number and length, or "long"
	}{
		"plain":          {"a\n\n b\nc", []string{"1 a", "3  b", "4 c"}},
		"as long as may": {long[1:] + "\nb\n", []string{"1 " + long[1:], "2 b"}},
		"too long":       {"a\n" + long + long + "\nb\n", []string{"1 a", "2 too long", "3 b"}},
		"too long, last": {long + "x", []string{"1 too long"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			err := eachLine(t.Context(), strings.NewReader(c.in), func(n int, line []byte, err error) error {
				text := strings.TrimSuffix(string(line), "\n")
				if errors.Is(err, errLongLine) {
					text = "too long"
				}
				got = append(got, string(rune('0'+n))+" "+text)
				return nil
			})
			if err != nil || strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("%v, %.60q", err, got)
			}
		})
	}
	broken := errors.New("broken")
	count := 0
	err := eachLine(t.Context(), io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), func(int, []byte, error) error { count++; return nil })
	if !errors.Is(err, broken) || count != 1 {
		t.Errorf("%d lines of a broken stream: %v", count, err)
	}
}
