package mcp

import (
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// keptFor is how long a secret is known after its credential's end, which is longer
// than a command runs that may print it.
const keptFor = time.Hour

// secrets are the values of all credentials that this server has been given, of every
// session: a command can read files and ask addresses that are another's. It is safe
// for concurrent use. The zero value is empty.
type secrets struct {
	mu    sync.Mutex
	known map[string]known // by credential id, or a place's name; locked by mu
}

type known struct {
	values []string
	until  time.Time // zero for as long as it is not dropped
}

// add remembers a credential's values, before anybody has them.
func (s *secrets) add(c valetkey.Credential) {
	s.keep(c.ID(), known{values: secretsOf(c), until: c.ExpiresAt().Add(keptFor)})
}

func (s *secrets) keep(id string, k known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for id, k := range s.known {
		if !k.until.IsZero() && now.After(k.until) {
			delete(s.known, id)
		}
	}
	if s.known == nil {
		s.known = map[string]known{}
	}
	s.known[id] = k
}

func (s *secrets) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
}

func (s *secrets) all() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.known {
		out = append(out, k.values...)
	}
	return out
}
