package mcp

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"

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

// clusterToken is what aws eks get-token prints: a presigned URL in base64, which is a
// login by itself, also without the session token in it.
var clusterToken = regexp.MustCompile(`k8s-aws-v1\.[A-Za-z0-9_-]+`)

// scrubber takes secrets out of output, as they are and as common tools spell them: see
// eachView. It knows no spelling of their own, such as one backwards.
type scrubber struct {
	needles map[[shortSecret]byte][][]byte // by how they begin
	begins  [1 << 16]bool                  // by their first two bytes
	most    int                            // the longest's length
}

func newScrubber(secrets []string) *scrubber {
	s := &scrubber{needles: map[[shortSecret]byte][][]byte{}}
	for _, x := range secrets {
		for _, y := range []string{x, url.QueryEscape(x)} { // with + for a space
			// As eachView reads it, whatever it has of escapes itself.
			v := rawView([]byte(y))
			once := v.plain()
			twice := once.plain()
			for _, v := range []view{v, once, twice, twice.percent()} {
				s.add(v.text)
			}
		}
	}
	return s
}

func (s *scrubber) add(needle []byte) {
	if len(needle) < shortSecret {
		return
	}
	head := [shortSecret]byte(needle)
	if slices.ContainsFunc(s.needles[head], func(have []byte) bool { return bytes.Equal(have, needle) }) {
		return
	}
	s.needles[head] = append(s.needles[head], needle)
	s.begins[int(needle[0])<<8|int(needle[1])] = true
	s.most = max(s.most, len(needle))
}

// spelledOut is by how much a spelling is longer than a value, at most: JSON has six
// bytes for one, a dump five.
const spelledOut = 6

// longest is how long a spelling can be.
func (s *scrubber) longest() int { return spelledOut * s.most }

// span is raw[from:to].
type span struct{ from, to int }

// find adds where secrets stand in v.
func (s *scrubber) find(v view, out []span) []span {
	for i := 0; i+shortSecret <= len(v.text); i++ {
		if !s.begins[int(v.text[i])<<8|int(v.text[i+1])] {
			continue
		}
		length := 0
		for _, needle := range s.needles[[shortSecret]byte(v.text[i:])] {
			if len(needle) > length && bytes.HasPrefix(v.text[i:], needle) {
				length = len(needle)
			}
		}
		if length > 0 {
			out = append(out, span{int(v.from[i]), int(v.to[i+length-1])})
			i += length - 1
		}
	}
	return out
}

// spans are where secrets stand in raw, in order and apart.
func (s *scrubber) spans(raw []byte) (out []span) {
	var all []span
	eachView(raw, func(v view) { all = s.find(v, all) })
	for _, m := range clusterToken.FindAllIndex(raw, -1) {
		all = append(all, span{m[0], m[1]})
	}
	slices.SortFunc(all, func(a, b span) int { return a.from - b.from })
	for _, x := range all {
		if n := len(out); n > 0 && x.from < out[n-1].to {
			out[n-1].to = max(out[n-1].to, x.to)
		} else {
			out = append(out, x)
		}
	}
	return out
}

// scrub gives the first limit bytes of raw without the secrets, and says how many
// were there. raw is to have up to longest bytes more than limit, so that one that
// the limit would cut in two is seen whole.
func (s *scrubber) scrub(raw []byte, limit int) (out []byte, found int) {
	at := 0
	for _, x := range s.spans(raw) {
		if x.from >= limit {
			break
		}
		out = append(append(out, raw[at:x.from]...), redacted...)
		at, found = x.to, found+1
	}
	if end := min(len(raw), limit); at < end {
		out = append(out, raw[at:end]...)
	}
	return out, found
}
