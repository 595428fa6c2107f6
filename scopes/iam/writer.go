package iam

import (
	"bytes"
	"encoding/json"
	"slices"
)

// writer builds the one text of a policy, which encoding/json cannot: it would escape <, > and &, and each escape counts
// against MaxSize.
type writer struct {
	text []byte
	err  error // the first one
}

func (w *writer) raw(s string) { w.text = append(w.text, s...) }

// word writes a string.
func (w *writer) word(s string) {
	plain := true
	for i := range len(s) {
		plain = plain && ' ' <= s[i] && s[i] <= '~' && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		w.text = append(append(append(w.text, '"'), s...), '"')
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil && w.err == nil {
		w.err = err
	}
	w.text = append(w.text, bytes.TrimRight(buf.Bytes(), "\n")...)
}

// values writes one value as a bare string, as AWS itself does.
func (w *writer) values(vs []string) {
	if len(vs) == 1 {
		w.word(vs[0])
		return
	}
	w.raw("[")
	for i, v := range vs {
		if i > 0 {
			w.raw(",")
		}
		w.word(v)
	}
	w.raw("]")
}

func (w *writer) statement(s Statement) {
	w.raw("{")
	if s.Sid != "" {
		w.raw(`"Sid":`)
		w.word(s.Sid)
		w.raw(",")
	}
	w.raw(`"Effect":`)
	w.word(s.Effect)
	w.principal(`,"Principal":`, s.Principal)
	w.principal(`,"NotPrincipal":`, s.NotPrincipal)
	for _, l := range []struct {
		name   string
		values []string
	}{
		{`,"Action":`, s.Action}, {`,"NotAction":`, s.NotAction}, {`,"Resource":`, s.Resource}, {`,"NotResource":`, s.NotResource},
	} {
		if len(l.values) > 0 {
			w.raw(l.name)
			w.values(l.values)
		}
	}
	if len(s.Condition) > 0 {
		w.raw(`,"Condition":`)
		object(w, s.Condition, func(keys map[string][]string) { object(w, keys, w.values) })
	}
	w.raw("}")
}

// principal writes everybody as a bare "*".
func (w *writer) principal(name string, m map[string][]string) {
	if len(m) == 0 {
		return
	}
	w.raw(name)
	if vs, everybody := m["*"]; everybody {
		w.values(vs)
		return
	}
	object(w, m, w.values)
}

// object writes members sorted by name.
func object[V any](w *writer, m map[string]V, value func(V)) {
	w.raw("{")
	for i, name := range sortedKeys(m) {
		if i > 0 {
			w.raw(",")
		}
		w.word(name)
		w.raw(":")
		value(m[name])
	}
	w.raw("}")
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
