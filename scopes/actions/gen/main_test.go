package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions/internal/reviewed"
)

// The embedded catalogue, its review, and the lines without classes.
func embedded(t *testing.T) (*reviewed.Review, []string) {
	t.Helper()
	r, err := reviewed.Read("../review")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := readLines("../catalogue.txt")
	if err != nil {
		t.Fatal(err)
	}
	return r, bare(lines)
}

// A new action fails the generator until somebody writes it down; the error names it, and says what to write where.
func TestNewActionsHaveToBeReviewed(t *testing.T) {
	r, lines := embedded(t)
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "A s3:GetObject\t") })
	injected := slices.Insert(slices.Clone(lines), at+1, "A s3:GetObjectSecretKey\tR\tobject", "A s3:GetObjectVector\tR\tobject")
	_, err := classified(injected, r)
	var hold *reviewed.HoldError
	if !errors.As(err, &hold) || len(hold.Missing) != 2 || len(hold.Wrong) != 0 {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{
		"2 actions have no reviewed class", "write its name into review/actions.txt", `s3:GetObjectSecretKey (Read): by name, with a reason, since it holds "key"`,
		"s3:GetObjectVector (Read): its level and verb are enough for reads",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	if _, err := classified(lines, r); err != nil {
		t.Error(err)
	}
}

// Where the review lacks an action nothing is written; where it has all, the same bytes are.
func TestRunWritesAllOrNothing(t *testing.T) {
	want, err := os.ReadFile("../catalogue.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out.txt")
	for name, data := range map[string][]byte{"out.txt": want, "rules.txt": nil, "actions.txt": nil} {
		if data == nil {
			if data, err = os.ReadFile(filepath.Join("../review", name)); err != nil {
				t.Fatal(err)
			}
		}
		if name == "actions.txt" {
			data = bytes.Replace(data, []byte(" GetObject "), []byte(" "), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var hold *reviewed.HoldError
	if err := run(&bytes.Buffer{}, "", dir, out); !errors.As(err, &hold) || len(hold.Missing) != 1 {
		t.Errorf("%v", err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the catalogue changed: %v", err)
	}
	if err := run(&bytes.Buffer{}, "", "../review", out); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the same review gives other bytes, or `make review-actions` was not run: %v", err)
	}
	if err := run(&bytes.Buffer{}, "", dir, filepath.Join(dir, "none.txt")); err == nil {
		t.Error("there is no catalogue to review")
	}
}

// report tells what came, went and changed, whatever the classes.
func TestReport(t *testing.T) {
	_, lines := embedded(t)
	now := slices.Clone(lines)
	at := slices.IndexFunc(now, func(l string) bool { return strings.HasPrefix(l, "A s3:GetObject\t") })
	now[at] = strings.Replace(now[at], "\tR", "\tW", 1)
	now = append(now, "A zz:New\tR")
	var b bytes.Buffer
	report(&b, lines, now)
	if got := b.String(); !strings.Contains(got, "+ zz:New R\n") || !strings.Contains(got, "~ s3:GetObject R") || !strings.Contains(got, "22092 actions: 1 new, 0 gone, 1 changed") {
		t.Error(got)
	}
}
