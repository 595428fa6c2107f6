package mint

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"regexp"
)

// minSessionKey is how many bytes a key for session names must have.
const minSessionKey = 32

// SessionNames makes the names of sessions: "vk-", 12 characters that are one agent's (60 bits), "-",
// and 20 random ones (100 bits), 36 in all of the 64 that AWS takes. With the first part one pattern
// in a policy names all sessions of one agent. Without the key nobody can tell which part is whose,
// and nobody can name a session. Each character is paid for in a role's policy once a session is
// revoked. Safe for concurrent use. The zero value is not usable.
type SessionNames struct{ key []byte }

// NewSessionNames takes the broker's key for names. One key gives one agent one prefix for ever.
func NewSessionNames(key []byte) (SessionNames, error) {
	if len(key) < minSessionKey {
		return SessionNames{}, errors.New("mint: the key for session names has less than 32 bytes")
	}
	return SessionNames{key: key}, nil
}

// New names one session of subject, the stable name that an agent's limits are kept under.
func (n SessionNames) New(subject string) string {
	mac := hmac.New(sha256.New, n.key)
	mac.Write([]byte("valetkey session name v1\x00" + subject))
	return "vk-" + base32.StdEncoding.EncodeToString(mac.Sum(nil))[:12] + "-" + rand.Text()[:20]
}

var sessionParts = regexp.MustCompile(`^(vk-[A-Z2-7]{12}-)[A-Z2-7]{20}$`)

// SessionPrefix is the part of a session's name that all sessions of its agent share, "vk-...-";
// empty for a name of another form.
func SessionPrefix(name string) string {
	if m := sessionParts.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}
