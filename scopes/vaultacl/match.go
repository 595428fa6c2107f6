package vaultacl

import "slices"

// Match is a path of the policies that takes a request's path, with the rules that were merged for it.
type Match struct {
	Path         string   `json:"path"`
	Rules        []Ref    `json:"rules"`
	Capabilities []string `json:"capabilities"`
}

// Matches lists what takes a path, by falling priority: the first decides, the others do not count. A list looks for
// the path without its trailing slash first; see ListMatch.
func (a *ACL) Matches(path string) []Match {
	var found []*merged
	for _, m := range a.all() {
		if m.pattern.match(path) {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(x, y *merged) int {
		switch xe, ye := x.exact(), y.exact(); {
		case xe == ye:
			return x.pattern.compare(y.pattern)
		case xe:
			return -1
		}
		return 1
	})
	var out []Match
	for _, m := range found {
		out = append(out, m.match())
	}
	return out
}

// ListMatch returns what decides about a list of a path; false if nothing does.
func (a *ACL) ListMatch(path string) (Match, bool) {
	m := a.decide(true, path)
	if m == nil {
		return Match{}, false
	}
	return m.match(), true
}

func (m *merged) exact() bool { return !m.pattern.wild && !m.pattern.glob }

func (m *merged) match() Match {
	return Match{Path: m.path, Rules: slices.Clone(m.refs), Capabilities: m.caps.names()}
}
