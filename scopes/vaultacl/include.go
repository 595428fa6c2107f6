package vaultacl

import (
	"maps"
	"math"
	"slices"
	"time"
)

// finding is what a comparison of two rules for one operation gives: the zero value is "all of it is covered".
type finding struct {
	answer  Answer // Yes, No or Unknown
	request Request
	why     string
}

func covered() finding { return finding{answer: Yes} }

// include tells whether all requests of one operation that narrow takes are taken by wide too; nil rules take nothing.
// The request of a No has no path yet.
func include(wide, narrow *merged, op Operation) finding {
	need := capOf(string(op))
	if narrow == nil || narrow.caps&need == 0 {
		return covered()
	}
	least, ok := narrow.least(op)
	if !ok {
		return covered() // its own limits cross: it takes nothing
	}
	if wide == nil || wide.caps&need == 0 {
		return finding{No, least, ""}
	}
	if narrow.caps&capSudo != 0 && wide.caps&capSudo == 0 {
		least.Sudo = true
		return finding{No, least, ""}
	}
	for _, ttl := range []time.Duration{least.WrapTTL, max(narrow.minWrap, 1), narrow.longest(wide)} {
		r := least
		r.WrapTTL = ttl
		if narrow.refuses(r) == "" && wide.wrapCrosses(ttl) {
			return finding{No, r, ""}
		}
	}
	f := covered()
	if op.takesParameters() {
		f = includeData(wide, narrow, least)
	}
	if f.answer == Yes && slices.ContainsFunc(wide.mfa, func(m string) bool { return !slices.Contains(narrow.mfa, m) }) {
		return finding{Unknown, least, "mfa_methods: whether another factor is asked for depends on the edition of Vault"}
	}
	return f
}

// longest is a wrapping as long as narrow takes; if it sets no limit, longer than wide's.
func (m *merged) longest(wide *merged) time.Duration {
	if m.maxWrap > 0 {
		return m.maxWrap
	}
	return min(max(wide.maxWrap, m.minWrap), math.MaxInt64-time.Second) + time.Second
}

// wrapCrosses tells whether the rule refuses a wrapping of that length, whatever the operation.
func (m *merged) wrapCrosses(ttl time.Duration) bool {
	return (m.maxWrap > 0 && (ttl <= 0 || ttl > m.maxWrap)) || (m.minWrap > 0 && ttl < m.minWrap) ||
		(m.minWrap > 0 && m.maxWrap > 0 && m.maxWrap < m.minWrap)
}

// least returns the smallest request that the rule takes, without a path; false if it takes none.
func (m *merged) least(op Operation) (Request, bool) {
	r := Request{Operation: op}
	switch {
	case m.minWrap > 0:
		r.WrapTTL = m.minWrap
	case m.maxWrap > 0:
		r.WrapTTL = min(m.maxWrap, time.Minute)
	}
	if m.wrapCrosses(r.WrapTTL) {
		return r, false
	}
	if !op.takesParameters() {
		return r, true
	}
	for _, name := range m.required {
		v, ok := m.some(name)
		if !ok {
			return r, false
		}
		if r.Data == nil {
			r.Data = map[string]any{}
		}
		r.Data[name] = v
	}
	return r, true
}

// some returns a value that the rule takes for a parameter. An empty list passes every list of values, allowed or
// denied, so if that does not pass, nothing does.
func (m *merged) some(name string) (any, bool) {
	if m.refusesParameter(name, "x") == "" {
		return "x", true
	}
	var values []any
	for _, v := range m.allowed[name] {
		if s, ok := v.(string); ok {
			values = append(values, instance(s, "x"))
		} else {
			values = append(values, v)
		}
	}
	for _, v := range append(values, []any{}) {
		if m.refusesParameter(name, v) == "" {
			return v, true
		}
	}
	return nil, false
}

// includeData compares what two rules say of parameters. Both judge parameters one by one, so the sets of values that
// each takes for a name are compared, for each name that either knows and for one that neither does.
func includeData(wide, narrow *merged, least Request) finding {
	for _, name := range wide.required {
		if !slices.Contains(narrow.required, name) {
			return finding{No, least, ""} // least has only what narrow requires
		}
	}
	names := map[string]bool{"*": true}
	for _, m := range []*merged{wide, narrow} {
		for _, values := range []map[string][]any{m.allowed, m.denied} {
			for n := range values {
				names[n] = true
			}
		}
		for _, n := range m.required {
			names[n] = true
		}
	}
	known := slices.Sorted(maps.Keys(names))
	out := covered()
	for _, name := range append([]string{"p" + freshFor(known)}, known...) {
		if includesValues(wide, narrow, name) {
			continue
		}
		r := least
		r.Data = maps.Clone(least.Data)
		if r.Data == nil {
			r.Data = map[string]any{}
		}
		for _, v := range candidates(wide, narrow, name) {
			if narrow.refusesParameter(name, v) == "" && wide.refusesParameter(name, v) != "" {
				r.Data[name] = v
				return finding{No, r, ""}
			}
		}
		out = finding{Unknown, least, "the values of the parameter \"" + name + "\": neither a proof nor a counterexample was found"}
	}
	return out
}
