package mcp

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"pgregory.net/rapid"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestScrub holds it to leave nothing of a secret, wherever it stands, whatever is
// around it and wherever the output is cut.
func TestScrub(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[A-Za-z0-9/+=]{20,60}`).Draw(t, "secret")
		before := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "before")
		after := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "after")
		text := append(append(bytes.Clone(before), secret...), after...)
		s := newScrubber([]string{rapid.StringMatching(`[a-z]{8}`).Draw(t, "other"), secret})
		if rapid.Bool().Draw(t, "base64") {
			text = []byte(base64.StdEncoding.EncodeToString(text))
			secret = within(base64.RawStdEncoding, secret, len(before)%3)
		}
		limit := rapid.IntRange(0, len(text)+5).Draw(t, "limit")
		out, found := s.scrub(text, limit)
		if bytes.Contains(out, []byte(secret)) {
			t.Fatalf("the output has the secret: %q", out)
		}
		if at := bytes.Index(text, []byte(secret)); limit > at && found == 0 {
			t.Fatalf("cut at %d, in a secret at %d, and nothing was found: %q", limit, at, out)
		}
		if want := min(len(text), limit); found == 0 && !bytes.Equal(out, text[:want]) {
			t.Fatalf("without a secret it became %q", out)
		}
	})
}

// TestScrubSpellings are the dresses that are known.
func TestScrubSpellings(t *testing.T) {
	const secret = `wJalr/XUt"nFEMI&K7<MDENG`
	s := newScrubber([]string{secret, "short", "a"})
	for _, text := range []string{
		"x" + secret + "y", `{"k":"wJalr/XUt\"nFEMI\u0026K7\u003cMDENG"}`, "wJalr%2FXUt%22nFEMI%26K7%3CMDENG",
		"id:" + base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte("ab" + secret + "c")),
		"774a616c722f58557422" + "6e46454d49264b373c4d44454e47", "774A616C722F585574226E46454D49264B373C4D44454E47",
	} {
		if out, found := s.scrub([]byte(text), 1000); found != 1 || !strings.Contains(string(out), redacted) {
			t.Errorf("%s became %s", text, out)
		}
	}
	if out, found := s.scrub([]byte("a short word"), 1000); found != 0 || string(out) != "a short word" {
		t.Errorf("words became %q", out)
	}
	if out, _ := s.scrub([]byte(secret+secret), 5); string(out) != redacted {
		t.Errorf("cut in the first of two: %q", out)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                               "plain",
		"a\nb\x1b[2J\x07":                     "a b [2J ",
		"bidi\u202eevil\u2066":                "bidi\ufffdevil\ufffd",
		"zero\u200bwidth":                     "zero\ufffdwidth",
		"bad\xff":                             "bad\ufffd",
		strings.Repeat("é", 20):               strings.Repeat("é", 14) + ellipsis,
		strings.Repeat("x", 5) + "\U000e0041": "xxxxx\ufffd", // a tag character: text that only models see
	} {
		if got := line(in, 32); got != want || len(got) > 32 {
			t.Errorf("line(%q) is %q, want %q", in, got, want)
		}
	}
	if got := block("a\n\tb\rc", 100); got != "a\n\tb c" {
		t.Errorf("block is %q", got)
	}
	if got := line(strings.Repeat("\xff", 100), 10); len(got) > 10 {
		t.Errorf("replacing made it %d bytes", len(got))
	}
}

// TestAdvice has a line for every reason that there is.
func TestAdvice(t *testing.T) {
	all := map[string]bool{}
	for v, name := range valetkeyv1.ErrorReason_name {
		if v == 0 {
			continue
		}
		all[strings.TrimPrefix(name, "ERROR_REASON_")] = true
	}
	for _, r := range []string{
		ReasonInvalidArgument, ReasonTooLarge, ReasonUnknownHandle, ReasonLimit, ReasonDisabled, ReasonNotReady, ReasonNotStarted, ReasonNotServed,
		ReasonUnavailable, ReasonBrokerIdentity, ReasonReceipt, ReasonInternal,
	} {
		all[r] = true
	}
	for r := range all {
		if advice[r] == "" {
			t.Errorf("no advice for %s", r)
		}
	}
	if len(all) != len(advice) {
		t.Errorf("%d reasons and %d lines", len(all), len(advice))
	}
}
