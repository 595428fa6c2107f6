package iam

import (
	"fmt"
	"strings"
)

// environment is the context of one request.
type environment struct {
	entries []entry
	reading reading
}

// reading is one way to take what AWS's pages leave open about a request's values. An evaluation takes none, and is
// unsure. A search goes through all, since it would else take the same value in two ways at once, and doubt that
// "less than 10" takes in "less than 5" because neither is said of a text that is no number.
type reading uint8

const (
	readingNone  reading = iota
	readingNo            // a value that cannot be read is unlike any other; an empty text is a value
	readingYes           // an empty text is none; if a value can be read after all, it is like one that the search has anyway
	readingFalse         // a condition on a value that cannot be read is false, negated or not
)

var readings = [...]reading{readingNo, readingYes, readingFalse} // read-only

// about is the answer to a comparison that AWS's pages leave open.
func (e *environment) about() answer {
	if e == nil {
		return unsure
	}
	switch e.reading {
	case readingYes:
		return yes
	case readingNo, readingFalse:
		return no
	default:
		return unsure
	}
}

type entry struct {
	key    string
	values []string
}

// newEnvironment puts the context into room, and refuses one that has a key in two spellings: which of them counts would
// be chance.
func newEnvironment(room []entry, context map[string][]string) (environment, error) {
	e := environment{entries: room}
	for k, vs := range context {
		if _, twice := e.lookup(k); twice {
			return e, fmt.Errorf("%w: context key %q is there in two spellings", ErrRequest, k)
		}
		e.entries = append(e.entries, entry{k, vs})
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
