package vaultacl

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
)

// maxCandidates bounds the values that are tried for one parameter.
const maxCandidates = 20_000

// includesValues proves that each value that narrow takes for a parameter is taken by wide too. False is no proof of
// the contrary.
func includesValues(wide, narrow *merged, name string) bool {
	if _, ok := narrow.some(name); !ok {
		return true
	}
	if _, ok := wide.some(name); !ok {
		return false
	}
	nl, wl := narrow.allowedValues(name), wide.allowedValues(name)
	if len(wl) > 0 && (len(nl) == 0 || !eachCovered(nl, wl)) {
		return false
	}
	for _, d := range wide.denied[name] {
		if _, ok := d.(Number); ok || eachCovered([]any{d}, narrow.denied[name]) {
			continue
		}
		if !apart(nl, d) {
			return false
		}
	}
	return true
}

// allowedValues returns the values that a parameter is held to; none is any.
func (m *merged) allowedValues(name string) []any {
	if _, all := m.allowed["*"]; all && len(m.allowed) == 1 {
		return nil
	}
	return m.allowed[name]
}

// eachCovered tells whether each value of list is one of by. A text with a "*" is in a union of such texts only if it is
// in one of them: the others do not match it with an unknown character for the "*".
func eachCovered(list, by []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool {
		switch v := v.(type) {
		case string:
			return !listed(instance(v, freshFor(texts(list, by))), by)
		case Number:
			return false // it stands for no value
		}
		return !slices.Contains(by, v)
	})
}

// apart tells, for sure if it says so, that no value that consists of members of list is denied by d.
func apart(list []any, d any) bool {
	if len(list) == 0 {
		return false
	}
	if _, ok := d.(bool); ok {
		return !slices.Contains(list, d)
	}
	text, _ := d.(string)
	body := text
	if len(text) > 1 {
		body = strings.TrimSuffix(strings.TrimPrefix(text, "*"), "*")
	}
	// Without commas and spaces in d, a text that matches it has a part that does.
	if body == "" || strings.Contains(body, ",") || strings.ContainsFunc(body, unicode.IsSpace) {
		return false
	}
	for _, v := range list {
		if s, ok := v.(string); ok && (wildText(s) || denies(s, []any{d})) {
			return false
		}
	}
	return true
}

// wildText tells whether a value of a parameter stands for more than itself.
func wildText(s string) bool {
	return len(s) > 1 && (strings.HasPrefix(s, "*") || strings.HasSuffix(s, "*"))
}

// instance returns the text that a value stands for, with fresh for its "*".
func instance(s, fresh string) string {
	if !wildText(s) {
		return s
	}
	if body, ok := strings.CutPrefix(s, "*"); ok {
		if inner, ok := strings.CutSuffix(body, "*"); ok {
			return fresh + inner + fresh
		}
		return fresh + body
	}
	return strings.TrimSuffix(s, "*") + fresh
}

// both returns a text that two values stand for together, if there is any; it need not be.
func both(a, b, fresh string) string {
	switch {
	case !wildText(a):
		return a
	case !wildText(b):
		return b
	}
	var begin, middle, end string
	for _, s := range []string{a, b} {
		body := strings.TrimSuffix(strings.TrimPrefix(s, "*"), "*")
		switch {
		case strings.HasPrefix(s, "*") && strings.HasSuffix(s, "*"):
			middle += body + fresh
		case strings.HasPrefix(s, "*"):
			if len(body) > len(end) {
				end = body
			}
		case len(body) > len(begin):
			begin = body
		}
	}
	return begin + fresh + middle + end
}

// texts lists the strings among values.
func texts(lists ...[]any) []string {
	var out []string
	for _, l := range lists {
		for _, v := range l {
			if s, ok := v.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// candidates lists values that could tell two rules apart, the plain ones first: an instance of each text, of two at
// once, with a comma between two, and of a text with another in its "*"; then what is no text.
func candidates(wide, narrow *merged, name string) []any {
	words := texts(narrow.allowed[name], narrow.denied[name], wide.allowed[name], wide.denied[name])
	slices.Sort(words)
	words = slices.Compact(words)
	fresh := freshFor(append(words, ",", " ", "*"))
	out := []any{fresh}
	for _, w := range words {
		out = append(out, instance(w, fresh))
	}
	out = append(out, "", true, false, json.Number("1"), nil)
	for _, a := range words {
		for _, b := range words {
			if len(out) > maxCandidates {
				return out
			}
			ia, ib := instance(a, fresh), instance(b, fresh)
			out = append(out, both(a, b, fresh), ia+","+ib, []any{ia, ib})
			if wildText(a) {
				out = append(out, instance(a, fresh+","+ib+","+fresh))
			}
		}
		out = append(out, []any{instance(a, fresh)}, instance(a, fresh)+","+fresh)
	}
	return append(out, []any{}, []any{fresh}, []any{true}, []any{false}, map[string]any{})
}
