package iam

import (
	"fmt"
	"strings"
)

// environment is the context of one request.
type environment struct{ entries []entry }

type entry struct {
	key    string
	values []string
}

// newEnvironment puts the context into room, and refuses one that has a key in two spellings: which of them counts would
// be chance.
func newEnvironment(room []entry, context map[string][]string) (environment, error) {
	e := environment{room}
	for k, vs := range context {
		if _, twice := e.lookup(k); twice {
			return e, fmt.Errorf("%w: context key %q is there in two spellings", ErrRequest, k)
		}
		e = environment{append(e.entries, entry{k, vs})}
	}
	return e, nil
}

// lookup finds a key; case does not count.
func (e *environment) lookup(key string) (values []string, present bool) {
	for i := range e.entries {
		if k := e.entries[i].key; len(k) == len(key) && (k == key || strings.EqualFold(k, key)) {
			return e.entries[i].values, true
		}
	}
	return nil, false
}
