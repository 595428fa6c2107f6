package mcp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/clients/valetkey"
)

const (
	redacted = "[redacted]"
	// shortSecret is the shortest value that is taken out: shorter ones are words.
	shortSecret = 6
)

// secretsOf are the values of a credential that nobody is to see.
func secretsOf(c valetkey.Credential) (out []string) {
	s := c.Reveal()
	if s.AWS != nil {
		out = append(out, s.AWS.SecretAccessKey, s.AWS.SessionToken)
	}
	if v := s.Vault; v != nil {
		out = append(out, v.Token, v.WrappingToken)
		var data any
		if json.Unmarshal(v.DataJSON, &data) == nil {
			out = append(out, leaves(data)...)
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return len(s) < shortSecret })
}

// leaves are the texts in a JSON value.
func leaves(v any) (out []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, x := range v {
			out = append(out, leaves(x)...)
		}
	case map[string]any:
		for _, x := range v {
			out = append(out, leaves(x)...)
		}
	}
	return out
}

// spellings are how programs print a value: as it is, and as JSON, URLs, base64
// and hex have it.
func spellings(secret string) (out [][]byte) {
	quoted, err := json.Marshal(secret)
	if err != nil || len(quoted) < 2 {
		quoted = []byte(`""`)
	}
	var all []string
	for _, s := range []string{secret, string(quoted[1 : len(quoted)-1])} {
		h := hex.EncodeToString([]byte(s))
		all = append(all, s, url.QueryEscape(s), url.PathEscape(s), h, strings.ToUpper(h))
		for before := range 3 {
			all = append(all, within(base64.RawStdEncoding, s, before), within(base64.RawURLEncoding, s, before))
		}
	}
	slices.Sort(all)
	for _, s := range slices.Compact(all) {
		if len(s) >= shortSecret {
			out = append(out, []byte(s))
		}
	}
	return out
}

// within is what of s stands in the base64 of a longer text, in which before bytes,
// modulo 3, come before s: without the digits that its neighbours have a part in.
func within(enc *base64.Encoding, s string, before int) string {
	digits := enc.EncodeToString(append(make([]byte, before), s...))
	return digits[(before*8+5)/6 : (before+len(s))*8/6]
}

// scrubber takes secrets out of output.
type scrubber struct{ needles [][]byte }

func newScrubber(secrets []string) scrubber {
	var s scrubber
	for _, x := range secrets {
		s.needles = append(s.needles, spellings(x)...)
	}
	// The longest first: one may be in another.
	slices.SortFunc(s.needles, func(a, b []byte) int { return len(b) - len(a) })
	s.needles = slices.CompactFunc(s.needles, bytes.Equal)
	return s
}

// longest is how long a needle can be.
func (s scrubber) longest() int {
	if len(s.needles) == 0 {
		return 0
	}
	return len(s.needles[0])
}

// scrub gives the first limit bytes of raw without the secrets, and says how many
// were there. raw is to have up to longest bytes more than limit, so that one that
// the limit would cut in two is seen whole.
func (s scrubber) scrub(raw []byte, limit int) (out []byte, found int) {
	for at := 0; at < min(len(raw), limit); {
		i, n := s.next(raw[at:])
		if i < 0 || at+i >= limit {
			out = append(out, raw[at:min(len(raw), limit)]...)
			break
		}
		out = append(append(out, raw[at:at+i]...), redacted...)
		at, found = at+i+n, found+1
	}
	return out, found
}

// next is where the first needle is, and how long: the longest that begins there.
func (s scrubber) next(b []byte) (at, length int) {
	at = -1
	for _, needle := range s.needles {
		if i := bytes.Index(b, needle); i >= 0 && (at < 0 || i < at) {
			at, length = i, len(needle)
		}
	}
	return at, length
}
