package serve

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/valetkey/valetkey/broker/listen"
)

// NewSecret is a local secret: 26 characters, 130 bits.
func NewSecret() string { return rand.Text() }

// same compares in a time that says nothing about where they differ.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// Hub is the AWS container credentials endpoint of many scopes: one listener, and
// for each scope a path and a secret of its own.
type Hub struct {
	*Server

	mu    sync.RWMutex
	doors map[string]door // by path; locked by mu
}

type door struct {
	secret string
	src    Source
}

// NewHub opens the endpoint on a loopback address; an empty one is a port that is free.
func NewHub(address string, p listen.Peers, log *slog.Logger) (_ *Hub, err error) {
	h := &Hub{doors: map[string]door{}}
	if h.Server, err = OnLoopback(address, p, log, http.HandlerFunc(h.answer)); err != nil {
		return nil, fmt.Errorf("opening the container credentials endpoint: %w", err)
	}
	return h, nil
}

// Open serves src at path to who knows the secret.
func (h *Hub) Open(path, secret string, src Source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doors[path] = door{secret: secret, src: src}
}

// Shut ends what is served at path.
func (h *Hub) Shut(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.doors, path)
}

func (h *Hub) answer(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		AnswerError(w, http.StatusMethodNotAllowed, "ask with GET")
		return
	}
	h.mu.RLock()
	d, ok := h.doors[r.URL.Path]
	h.mu.RUnlock()
	// The same answer for a wrong path and a wrong secret.
	if got := r.Header.Get("Authorization"); !same(got, d.secret) || !ok || d.secret == "" {
		AnswerError(w, http.StatusUnauthorized, "no such address, or a wrong authorization token: "+
			"take both from AWS_CONTAINER_CREDENTIALS_FULL_URI and its token as they are now; a task that is over has none")
		return
	}
	s, expires, err := awsOf(r.Context(), d.src)
	if err != nil {
		refuse(w, err)
		return
	}
	Answer(w, awsAnswer{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, Token: s.SessionToken, Expiration: stamp(expires)})
}

// Answer writes a secret out to who has been let in.
func Answer(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone otherwise
}
