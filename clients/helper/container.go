package helper

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
)

// newSecret is a local secret: 26 characters, 130 bits.
func newSecret() string { return rand.Text() }

// same compares in a time that says nothing about where they differ.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// hub is the AWS container credentials endpoint of many scopes: one listener, and
// for each scope a path and a secret of its own.
type hub struct {
	*server

	mu    sync.RWMutex
	doors map[string]door // by path; locked by mu
}

type door struct {
	secret string
	src    source
}

func newHub(listen string, p peers, log *slog.Logger) (*hub, error) {
	lis, err := listenLoopback(listen)
	if err != nil {
		return nil, fmt.Errorf("opening the container credentials endpoint: %w", err)
	}
	h := &hub{doors: map[string]door{}}
	h.server = serve(lis, p, log, http.HandlerFunc(h.answer))
	return h, nil
}

// url is the address of a path.
func (h *hub) url(path string) string { return "http://" + h.lis.Addr().String() + path }

// open serves src at path to who knows the secret.
func (h *hub) open(path, secret string, src source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doors[path] = door{secret: secret, src: src}
}

func (h *hub) shut(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.doors, path)
}

func (h *hub) answer(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		answerError(w, http.StatusMethodNotAllowed, "ask with GET")
		return
	}
	h.mu.RLock()
	d, ok := h.doors[r.URL.Path]
	h.mu.RUnlock()
	// The same answer for a wrong path and a wrong secret.
	if got := r.Header.Get("Authorization"); !same(got, d.secret) || !ok || d.secret == "" {
		answerError(w, http.StatusUnauthorized, "no such address, or a wrong authorization token: "+
			"take both from AWS_CONTAINER_CREDENTIALS_FULL_URI and its token as they are now; a task that is over has none")
		return
	}
	s, expires, err := awsOf(r.Context(), d.src)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, awsAnswer{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, Token: s.SessionToken, Expiration: stamp(expires)})
}

// answer writes a secret out to who has been let in.
func answer(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone otherwise
}
