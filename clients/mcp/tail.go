package mcp

import "sync"

// edge is what is kept beyond what is shown.
const edge = 32 << 10

// tail keeps the first limit bytes, and counts the rest.
type tail struct {
	mu    sync.Mutex
	limit int
	buf   []byte
	more  bool
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	room := t.limit - len(t.buf)
	if len(b) > room {
		t.more = true
	}
	t.buf = append(t.buf, b[:min(room, len(b))]...)
	return len(b), nil
}

func (t *tail) show(s *scrubber, limit int) (text string, truncated bool, found int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.more && s.longest() > edge {
		// Not to be told apart at the edge: then nothing near it is shown.
		limit = min(limit, max(0, len(t.buf)-s.longest()))
	}
	out, found := s.scrub(t.buf, limit)
	return block(string(out), limit+len(out)), t.more || len(t.buf) > limit, found
}
