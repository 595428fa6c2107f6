package serve

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	imdsToken    = "X-aws-ec2-metadata-token"             //nolint:gosec // a header's name
	imdsTokenTTL = "X-aws-ec2-metadata-token-ttl-seconds" //nolint:gosec // a header's name
	imdsRoles    = "/latest/meta-data/iam/security-credentials/"
	// maxIMDSTokens bounds what callers can make this process remember.
	maxIMDSTokens = 1024
)

// imdsAnswer is a credential as the instance metadata service gives it:
// docs.aws.amazon.com/AWSEC2/latest/UserGuide/iam-roles-for-amazon-ec2.html.
type imdsAnswer struct {
	Code            string
	LastUpdated     string
	Type            string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
}

// imds is the instance metadata service, version 2 alone, as far as credentials
// go. Version 1, a GET without a token, is what a confused program sends for
// somebody else, and is refused.
type imds struct {
	role string
	src  Source
	now  func() time.Time

	mu     sync.Mutex
	tokens map[string]time.Time // and their ends; locked by mu
}

// IMDS is the instance metadata service with a role whose credentials are src's.
func IMDS(role string, src Source) http.Handler { return newIMDS(role, src) }

func newIMDS(role string, src Source) *imds {
	return &imds{role: role, src: src, now: time.Now, tokens: map[string]time.Time{}}
}

// ServeHTTP implements http.Handler.
func (s *imds) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/latest/api/token":
		s.issue(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		AnswerError(w, http.StatusMethodNotAllowed, "ask with GET")
	case !s.knows(r.Header.Get(imdsToken)):
		AnswerError(w, http.StatusUnauthorized, "IMDSv2 alone: PUT /latest/api/token first, and send what it gives")
	case r.URL.Path == imdsRoles, r.URL.Path == strings.TrimSuffix(imdsRoles, "/"):
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(s.role)) // the caller is gone otherwise
	case r.URL.Path == imdsRoles+s.role:
		s.give(w, r)
	default:
		AnswerError(w, http.StatusNotFound, "this metadata service has credentials alone, under "+imdsRoles)
	}
}

func (s *imds) issue(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		w.Header().Set("Allow", http.MethodPut)
		AnswerError(w, http.StatusMethodNotAllowed, "a token is asked for with PUT")
		return
	}
	// AWS's own bounds: one second to six hours.
	ttl, err := strconv.Atoi(r.Header.Get(imdsTokenTTL))
	if err != nil || ttl < 1 || ttl > 21600 {
		AnswerError(w, http.StatusBadRequest, imdsTokenTTL+" has to be from 1 to 21600")
		return
	}
	token := NewSecret()
	if !s.keep(token, time.Duration(ttl)*time.Second) {
		AnswerError(w, http.StatusTooManyRequests, "too many tokens live: use the one you have")
		return
	}
	w.Header().Set(imdsTokenTTL, strconv.Itoa(ttl))
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(token)) // the caller is gone otherwise
}

func (s *imds) keep(token string, ttl time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.tokens) >= maxIMDSTokens {
		for t, end := range s.tokens {
			if now.After(end) {
				delete(s.tokens, t)
			}
		}
	}
	if len(s.tokens) >= maxIMDSTokens {
		return false
	}
	s.tokens[token] = now.Add(ttl)
	return true
}

// knows looks a token up by a map, whose time says nothing of use about 130
// random bits.
func (s *imds) knows(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, ok := s.tokens[token]
	return ok && s.now().Before(end)
}

func (s *imds) give(w http.ResponseWriter, r *http.Request) {
	secret, expires, err := awsOf(r.Context(), s.src)
	if err != nil {
		refuse(w, err)
		return
	}
	Answer(w, imdsAnswer{Code: "Success", LastUpdated: stamp(s.now()), Type: "AWS-HMAC", AccessKeyID: secret.AccessKeyID,
		SecretAccessKey: secret.SecretAccessKey, Token: secret.SessionToken, Expiration: stamp(expires)})
}
