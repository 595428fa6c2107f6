package vaultacl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/go-secure-stdlib/strutil"
)

// refusesData holds a request's parameters against the rule's, as AllowOperation does. Vault's old matching of lists,
// which an environment variable of the server brings back, is not modelled.
func (m *merged) refusesData(data map[string]any) string {
	for _, name := range m.required {
		if _, ok := data[name]; !ok {
			return fmt.Sprintf("requires the parameter %q", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if why := m.refusesParameter(strings.ToLower(name), data[name]); why != "" {
			return why
		}
	}
	return ""
}

// refusesParameter answers for one parameter: what Vault says of a request is what it says of its parameters one by one.
func (m *merged) refusesParameter(name string, v any) string {
	v = asJSON(v)
	if _, ok := m.denied["*"]; ok {
		return "denies every parameter"
	}
	if list, ok := m.denied[name]; ok && denies(v, list) {
		return fmt.Sprintf("denies this value of the parameter %q", name)
	}
	_, all := m.allowed["*"]
	if len(m.allowed) == 0 || (all && len(m.allowed) == 1) {
		return ""
	}
	list, ok := m.allowed[name]
	switch {
	case !ok && !all:
		return fmt.Sprintf("does not allow the parameter %q", name)
	case ok && !permits(v, list):
		return fmt.Sprintf("does not allow this value of the parameter %q", name)
	}
	return ""
}

// permits tells whether every part of v is in the list; no list is every value. A text with commas is its parts.
func permits(v any, list []any) bool {
	if len(list) == 0 || listed(v, list) {
		return true
	}
	parts, ok := partsOf(v)
	return ok && !slices.ContainsFunc(parts, func(p any) bool { return !listed(p, list) })
}

// denies tells whether any part of v is in the list; no list is every value.
func denies(v any, list []any) bool {
	if len(list) == 0 || listed(v, list) {
		return true
	}
	parts, _ := partsOf(v)
	return slices.ContainsFunc(parts, func(p any) bool { return listed(p, list) })
}

// partsOf cuts a list, or a text at its commas; other values have no parts.
func partsOf(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case string:
		words, err := parseutil.ParseCommaStringSlice(v)
		if err != nil {
			return nil, false
		}
		out := make([]any, len(words))
		for i, w := range words {
			out[i] = w
		}
		return out, true
	}
	return nil, false
}

// listed tells whether one value of the list is v. A Number never is: see its comment.
func listed(v any, list []any) bool {
	for _, el := range list {
		switch el := el.(type) {
		case string:
			if s, ok := v.(string); ok && strutil.GlobbedStringsMatch(el, s) {
				return true
			}
		case bool:
			if b, ok := v.(bool); ok && b == el {
				return true
			}
		}
	}
	return false
}

// asJSON gives a value the types that Vault's JSON decoder would.
func asJSON(v any) any {
	switch v.(type) {
	case nil, string, bool, json.Number:
		return v
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return v
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out any
	if dec.Decode(&out) != nil {
		return v
	}
	return out
}

func jsonText(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}
