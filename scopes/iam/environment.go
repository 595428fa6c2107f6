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

// fill takes the context and refuses one that has a key in two spellings: which of them counts would be chance.
func (e *environment) fill(context map[string][]string) error {
	for k, vs := range context {
		if _, twice := e.lookup(k); twice {
			return fmt.Errorf("%w: context key %q is there in two spellings", ErrRequest, k)
		}
		e.entries = append(e.entries, entry{k, vs})
	}
	return nil
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
