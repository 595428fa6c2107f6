package vaultacl

import (
	"fmt"
	"slices"
	"strings"
)

// maxCallers bounds the combinations of template values that are tried.
const maxCallers = 2_000

// uuidShape is that of Vault's identifiers.
const uuidShape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

// callers returns the kinds of callers that the templates of two sets can tell apart, as values by selector; and what
// is missing for the list to be complete, or "". Without templates there is one kind, who has no values.
func callers(sets ...[]Policy) (givens []map[string]string, why string) {
	givens = []map[string]string{{}}
	for i, sel := range selectors(sets...) {
		values, complete := valuesFor(sel, i, sets)
		_, fixed := fixedID(sel)
		if !isID(sel) && !fixed {
			why = fmt.Sprintf("{{%s}} can be any text, with slashes and wildcards of its own", sel)
		} else if !complete && why == "" {
			why = fmt.Sprintf("{{%s}} meets too many paths that begin like it", sel)
		}
		var next []map[string]string
		for _, g := range givens {
			next = append(next, g) // a caller without it
			for _, v := range values {
				if len(next) > maxCallers {
					return next, "more combinations of template values than are tried"
				}
				with := map[string]string{sel: v}
				taken := false
				for k, old := range g {
					with[k] = old
					taken = taken || (old == v && isID(sel) && isID(k))
				}
				if taken {
					continue // two things never have the same id
				}
				next = append(next, with)
			}
		}
		givens = next
	}
	return givens, why
}

// valuesFor returns a value of each kind: one that no other path knows, and those that make the path begin, or be, like
// a part of another one.
func valuesFor(sel string, nth int, sets [][]Policy) (values []string, complete bool) {
	var heads, words []string
	complete = true
	fixed, isFixed := fixedID(sel)
	for _, set := range sets {
		for _, p := range set {
			for _, r := range p.Paths {
				parts, sels, err := splitTemplates(r.Path)
				if err != nil {
					continue
				}
				for i, s := range sels {
					if id, ok := fixedID(s); ok {
						words = append(words, id) // a group by its name may be the same one
					}
					if i > 0 && !strings.Contains(parts[i], "/") {
						complete = false // two in one segment
					}
					if s == sel {
						heads = append(heads, parts[i][strings.LastIndexByte(parts[i], '/')+1:])
					}
				}
				for _, part := range parts {
					words = append(words, strings.Split(strings.TrimSuffix(part, "*"), "/")...)
				}
			}
		}
	}
	if isFixed {
		return []string{fixed}, complete
	}
	heads = append(heads, "")
	var begins []string
	for _, w := range words {
		for _, h := range heads {
			if rest, ok := strings.CutPrefix(w, h); ok && rest != "" && rest != "+" {
				if isID(sel) {
					rest = rest[:min(len(rest), len(uuidShape))]
				}
				begins = append(begins, rest)
			}
		}
	}
	slices.Sort(begins)
	begins = slices.Compact(begins)
	if !isID(sel) {
		return append([]string{"v" + freshFor(words)}, begins...), true
	}
	for _, b := range append([]string{""}, begins...) {
		if !likeUUID(b) {
			continue
		}
		v, ok := uuidFrom(b, nth, begins)
		complete = complete && ok
		values = append(values, v)
	}
	return values, complete
}

// likeUUID tells whether an identifier can begin so.
func likeUUID(s string) bool {
	if len(s) > len(uuidShape) {
		return false
	}
	for i := range len(s) {
		dash := uuidShape[i] == '-'
		if dash != (s[i] == '-') || (!dash && strings.IndexByte("0123456789abcdef", s[i]) < 0) {
			return false
		}
	}
	return true
}

// uuidFrom completes an identifier, so that no longer beginning of the others fits it, and that another nth gives another
// one; false if that did not work out.
func uuidFrom(begin string, nth int, others []string) (string, bool) {
	last := ""
	for _, d := range "e0123456789abcdf" {
		b := []byte(strings.ReplaceAll(uuidShape, "x", string(d)))
		copy(b[len(b)-4:], fmt.Sprintf("%04x", nth&0xffff))
		copy(b, begin)
		last = string(b)
		if !slices.ContainsFunc(others, func(o string) bool { return len(o) > len(begin) && strings.HasPrefix(last, o) }) {
			return last, true
		}
	}
	return last, false
}
