package evidence

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/valetkey/valetkey/scopes/jcs"
)

// ErrStatement means that a text is not the statement that it has to be.
var ErrStatement = errors.New("not the statement of this request")

// Decision is what a person says.
type Decision string

// The decisions.
const (
	Approve Decision = "approve"
	Reject  Decision = "reject"
)

// maxComment is in bytes.
const maxComment = 1024

// Version is that of the statements that are taken. Version 1 said neither for which
// groups it counts nor when; only a ledger's verifier still knows it.
const Version = 2

// Statement is what is signed.
type Statement struct {
	// V is Version.
	V int `json:"v"`
	// Broker is the name of the broker's ledger, so that a yes to one broker is
	// none to another.
	Broker string `json:"broker"`
	Grant  string `json:"grant_id"`
	// EnvelopeDigest is SHA-256 in hex over the envelope: what is approved.
	EnvelopeDigest string `json:"envelope_digest"`
	// Nonce is the request's own, of the broker's making.
	Nonce string `json:"nonce"`
	// Person is the signer, as the broker's configuration names them.
	Person   string   `json:"person"`
	Decision Decision `json:"decision"`
	// Groups are those that an approval counts for, sorted; none for a rejection, and
	// for the approval of somebody whom the agent names, which is needed and counts for
	// no group.
	Groups []string `json:"groups"`
	// SignedAt is when, by the signer's clock, and LapsesAt when the request ends unless
	// enough people approve before: an approval is worth nothing from then on. Both are
	// UTC, in whole seconds.
	SignedAt time.Time `json:"signed_at"`
	LapsesAt time.Time `json:"lapses_at"`
	// Comment is for the record; may be empty. Nothing decides on it.
	Comment string `json:"comment,omitempty"`
}

// Canonical is the one form of s that is signed.
func (s Statement) Canonical() ([]byte, error) {
	if s.V != Version {
		return nil, fmt.Errorf("%w: it is of version %d, and %d is wanted: get the valetkey of the broker's release", ErrStatement, s.V, Version)
	}
	if s.Broker == "" || s.Grant == "" || s.EnvelopeDigest == "" || s.Nonce == "" || s.Person == "" ||
		s.Decision != Approve && s.Decision != Reject {
		return nil, fmt.Errorf("%w: it lacks a part, or its decision is neither %s nor %s", ErrStatement, Approve, Reject)
	}
	if !wholeSeconds(s.SignedAt) || !wholeSeconds(s.LapsesAt) {
		return nil, fmt.Errorf("%w: signed_at and lapses_at are times in UTC and whole seconds", ErrStatement)
	}
	if !slices.IsSorted(s.Groups) || len(slices.Compact(slices.Clone(s.Groups))) != len(s.Groups) || s.Decision == Reject && len(s.Groups) > 0 {
		return nil, fmt.Errorf("%w: its groups are sorted and each there once, and a rejection's are none", ErrStatement)
	}
	if s.Groups == nil {
		s.Groups = []string{} // null is another text
	}
	if len(s.Comment) > maxComment {
		return nil, fmt.Errorf("%w: a comment of %d bytes, of at most %d", ErrStatement, len(s.Comment), maxComment)
	}
	out, err := jcs.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	return out, nil
}

func wholeSeconds(t time.Time) bool {
	return !t.IsZero() && t.Location() == time.UTC && t.Equal(t.Truncate(time.Second))
}

// Parse reads a statement. Anything but its canonical form is an ErrStatement.
func Parse(raw []byte) (Statement, error) {
	var s Statement
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Statement{}, fmt.Errorf("%w: more than one JSON value", ErrStatement)
	}
	canonical, err := s.Canonical()
	if err != nil {
		return Statement{}, err
	}
	if !bytes.Equal(canonical, raw) {
		return Statement{}, fmt.Errorf("%w: it is not in RFC 8785 form", ErrStatement)
	}
	return s, nil
}

// Digest is SHA-256 in hex over an envelope's bytes.
func Digest(envelope []byte) string {
	sum := sha256.Sum256(envelope)
	return hex.EncodeToString(sum[:])
}

// NewNonce makes a nonce of 130 random bits.
func NewNonce() string { return rand.Text() }
