package mcp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

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

// within is what of s stands in the base64 of a longer text, in which before bytes,
// modulo 3, come before s: without the digits that its neighbours have a part in.
func within(enc *base64.Encoding, s string, before int) string {
	digits := enc.EncodeToString(append(make([]byte, before), s...))
	return digits[(before*8+5)/6 : (before+len(s))*8/6]
}

// columns breaks a text into lines, as base64 and xxd -p do.
func columns(s string, n int) (out string) {
	for len(s) > n {
		out, s = out+s[:n]+"\n", s[n:]
	}
	return out + s + "\n"
}

// tool runs a program of this system's on a text.
func tool(t *testing.T, in string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return string(out)
}

// TestScrubSpellings are the dresses that are known.
func TestScrubSpellings(t *testing.T) {
	const secret = `wJalr/XUt"nFEMI&K7<MDENG+bPxRfiCYEXAMPLEKEY/and/a/session/token/that/is/longer/than/a/line==`
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(string(quoted))
	if err != nil {
		t.Fatal(err)
	}
	escaped := url.QueryEscape(secret)
	signed := "https://sts.eu-west-1.amazonaws.com/?X-Amz-Security-Token=" + escaped + "&X-Amz-Signature=0123456789abcdef"
	s := newScrubber([]string{secret, "short", "a"})
	for name, text := range map[string]string{
		"plain":             "x" + secret + "y",
		"json":              string(quoted),
		"json in json":      string(twice),
		"json, slashes":     strings.ReplaceAll(string(quoted), "/", `\/`),
		"json, upper case":  strings.NewReplacer(`\u003c`, `\u003C`, `\u002f`, `\u002F`).Replace(string(quoted)),
		"a shell's":         strings.NewReplacer(`"`, `\"`, `&`, `\&`, `<`, `\<`).Replace(secret),
		"url":               escaped,
		"url, lower case":   strings.ToLower(escaped[:20]) + "x " + regexp.MustCompile(`%[0-9A-F]{2}`).ReplaceAllStringFunc(escaped, strings.ToLower),
		"url, path":         url.PathEscape(secret),
		"url, all escaped":  "%" + strings.Join(strings.Fields(tool(t, secret, "od", "-An", "-v", "-tx1")), "%"),
		"base64":            "id:" + base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64, in a text": base64.URLEncoding.EncodeToString([]byte("ab" + secret + "c")),
		"base64, lines":     tool(t, "password: "+secret+"\n", "base64"),
		"base64, 64":        columns(base64.StdEncoding.EncodeToString([]byte(secret)), 64),
		"base64 of json":    base64.StdEncoding.EncodeToString(quoted),
		"base64 of a url":   base64.RawURLEncoding.EncodeToString([]byte(signed)),
		"hex":               hex.EncodeToString([]byte(secret)),
		"hex, upper case":   "0x" + strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"hex of a url":      hex.EncodeToString([]byte(signed)),
		"hex, lines":        columns(hex.EncodeToString([]byte("x"+secret)), 60),
		"od":                tool(t, "a: "+secret, "od", "-v", "-tx1"),
		"od, no offsets":    tool(t, "a: "+secret, "od", "-An", "-v", "-tx1"),
		"od, with text":     tool(t, "a: "+secret, "od", "-v", "-Ax", "-tx1z"),
		"wrapped":           columns(secret, 40),
	} {
		out, found := s.scrub([]byte(text), 100_000)
		if found == 0 || !strings.Contains(string(out), redacted) {
			t.Errorf("%s: %s became %s", name, text, out)
		}
		for at := 0; at+24 <= len(text); at++ {
			// Of what spelled it no long piece is left; what was around it may be.
			if piece := text[at : at+24]; strings.Contains(string(out), piece) && !strings.Contains(signed, piece) && s.spells(piece, secret) {
				t.Errorf("%s: %q is left in %s", name, piece, out)
				break
			}
		}
	}
	if out, found := s.scrub([]byte("a short word"), 1000); found != 0 || string(out) != "a short word" {
		t.Errorf("words became %q", out)
	}
	if out, _ := s.scrub([]byte(secret+secret), 5); string(out) != redacted {
		t.Errorf("cut in the first of two: %q", out)
	}
	// A login to a cluster, whoever's.
	token := "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte("https://sts.amazonaws.com/?X-Amz-Signature=0123456789abcdef"))
	if out, found := s.scrub([]byte(`{"token": "`+token+`"}`), 1000); found != 1 || string(out) != `{"token": "`+redacted+`"}` {
		t.Errorf("a cluster's token became %s", out)
	}
}

// spells says whether one of the readings of piece has eight bytes of secret.
func (s *scrubber) spells(piece, secret string) (yes bool) {
	eachView([]byte(piece), func(v view) {
		for i := 0; i+8 <= len(v.text); i++ {
			yes = yes || strings.Contains(secret, string(v.text[i:i+8]))
		}
	})
	return yes
}

// TestScrubIsFast holds it to what a command's end may take, with as many secrets as
// a full server has.
func TestScrubIsFast(t *testing.T) {
	var all []string
	for i := range maxSessions * maxAccess {
		all = append(all, strings.Repeat(fmt.Sprintf("%08d", i), 100))
	}
	raw := bytes.Repeat([]byte("a line of output with 0123456789abcdef in it\n"), 1<<20/45)
	began := time.Now()
	if _, found := newScrubber(all).scrub(raw, len(raw)); found != 0 {
		t.Errorf("%d were found", found)
	}
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("a megabyte took %v", took)
	}
	t.Logf("%d bytes, %d secrets: %v", len(raw), len(all), time.Since(began))
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
	own := []string{
		ReasonInvalidArgument, ReasonTooLarge, ReasonUnknownHandle, ReasonLimit, ReasonDisabled, ReasonNotReady, ReasonNotStarted, ReasonNotServed,
		ReasonUnavailable, ReasonBrokerIdentity, ReasonReceipt,
	}
	for _, r := range append(own, ReasonInternal) {
		if advice(r) == "" {
			t.Errorf("no advice for %s", r)
		}
	}
	for _, r := range own {
		if valetkeyv1.ReasonOf(r) != valetkeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			t.Errorf("%s is the broker's too", r)
		}
	}
	if len(own) != len(ownAdvice) {
		t.Errorf("%d reasons and %d lines", len(own), len(ownAdvice))
	}
	if got := advice("DENIED"); got != valetkeyv1.ErrorReason_ERROR_REASON_DENIED.ToolAdvice() {
		t.Errorf("of a denial agents are told %q", got)
	}
}
