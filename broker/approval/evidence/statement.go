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

// Statement is what is signed.
type Statement struct {
	// V is 1.
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
	// Comment is for the record; may be empty. Nothing decides on it.
	Comment string `json:"comment,omitempty"`
}

// Canonical is the one form of s that is signed.
func (s Statement) Canonical() ([]byte, error) {
	if s.V != 1 || s.Broker == "" || s.Grant == "" || s.EnvelopeDigest == "" || s.Nonce == "" || s.Person == "" ||
		s.Decision != Approve && s.Decision != Reject {
		return nil, fmt.Errorf("%w: it lacks a part, or its decision is neither %s nor %s", ErrStatement, Approve, Reject)
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
