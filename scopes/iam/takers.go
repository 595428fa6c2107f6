package iam

import "strings"

// takers tells which of some statements take an action, for who asks about many actions: a statement with many patterns
// has them by service. It is not safe for concurrent use.
type takers struct {
	list []taker
	in   bits
}

type taker struct {
	*statement
	by map[string][]*pattern // by service in lower case; nil for a statement with few patterns, or with a "*"
}

// fewActions is up to how many patterns of actions are looked through one by one.
const fewActions = 8

func newTakers(statements []statement) *takers {
	t := &takers{list: make([]taker, len(statements)), in: newBits(len(statements))}
	for i := range statements {
		s := &statements[i]
		t.list[i].statement = s
		if len(s.actions) > fewActions {
			t.list[i].by = byService(s.actions)
		}
	}
	return t
}

// byService returns nil where a pattern is of every service.
func byService(ps []pattern) map[string][]*pattern {
	out := map[string][]*pattern{}
	for i := range ps {
		service, ok := ps[i].service()
		if !ok {
			return nil
		}
		out[service] = append(out[service], &ps[i])
	}
	return out
}

// of returns the statements that take the action, until the next call.
func (t *takers) of(action string) bits {
	clear(t.in)
	service, _, _ := strings.Cut(action, ":")
	service = asciiLower(service)
	for i := range t.list {
		if t.list[i].takes(service, action) {
			t.in.set(i)
		}
	}
	return t.in
}

func (t *taker) takes(service, action string) bool {
	if t.by == nil {
		return t.statement.takes(action)
	}
	for _, p := range t.by[service] {
		if p.takes(action) {
			return !t.notAction
		}
	}
	return t.notAction
}
