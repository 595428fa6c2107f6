package approvals

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// statement is what people sign.
type statement struct {
	V              int    `json:"v"`
	Broker         string `json:"broker"`
	Grant          string `json:"grant_id"`
	EnvelopeDigest string `json:"envelope_digest"`
	Nonce          string `json:"nonce"`
	Person         string `json:"person"`
	Decision       string `json:"decision"`
	Comment        string `json:"comment"`
	// What follows is of version 2. Version 1 says neither for whom it counts nor when.
	Groups   []string  `json:"groups"`
	SignedAt time.Time `json:"signed_at"`
	LapsesAt time.Time `json:"lapses_at"`
}

// old says that it is of version 1.
func (s statement) old() bool { return s.V == 1 }

// readStatement takes both versions, each with its own words alone.
func readStatement(text string) (s statement, problem string) {
	if err := json.Unmarshal([]byte(text), &s, json.RejectUnknownMembers(true)); err != nil {
		return s, fmt.Sprintf("its statement cannot be read: %v", err)
	}
	newer := s.Groups != nil || !s.SignedAt.IsZero() || !s.LapsesAt.IsZero()
	whole := s.Groups != nil && !s.SignedAt.IsZero() && !s.LapsesAt.IsZero()
	switch {
	case s.V != 1 && s.V != 2:
		return s, fmt.Sprintf("its statement is of version %d, which is not known here", s.V)
	case s.old() && newer, !s.old() && !whole:
		return s, fmt.Sprintf("its statement has not the words of version %d", s.V)
	case s.Decision == "reject" && len(s.Groups) > 0:
		return s, "its statement is a no, and a rejection counts for no group"
	}
	for i, group := range s.Groups[min(1, len(s.Groups)):] { // who signs a group twice would count as two of it
		if group <= s.Groups[i] {
			return s, fmt.Sprintf("its groups are not sorted, each there once: %s", list(s.Groups))
		}
	}
	return s, ""
}

// signedBy checks the signature of a record's statement. verified says that a security
// key attests a PIN or a fingerprint, beyond the touch that each attests.
func (s Signers) signedBy(name, text, armored string) (verified bool, problem string) {
	sig, err := sshsig.Unarmor([]byte(armored))
	if err != nil {
		return false, fmt.Sprintf("its signature cannot be read: %v", err)
	}
	var keys []ssh.PublicKey
	if p := s[name]; p != nil {
		keys = p.keys
	}
	at := slices.IndexFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), sig.PublicKey.Marshal()) })
	if at < 0 {
		return false, fmt.Sprintf("%s is not a key of %s's", ssh.FingerprintSHA256(sig.PublicKey), name)
	}
	if err := sshsig.Verify(strings.NewReader(text), sig, keys[at], sig.HashAlgorithm, Namespace); err != nil {
		return false, fmt.Sprintf("%s has not signed it: %v", name, err)
	}
	hardware, rest := strings.HasPrefix(keys[at].Type(), "sk-"), sig.Signature.Rest
	if !hardware && len(rest) > 0 {
		return false, "there is something behind its signature"
	}
	return hardware && len(rest) > 0 && rest[0]&userVerified != 0, ""
}

// userVerified is the flag of a security key's signature by which it says that it has
// asked for its PIN or a fingerprint (PROTOCOL.u2f, WebAuthn 6.1).
const userVerified = 0x04
