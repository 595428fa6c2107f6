package brokertest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/quorum"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Person is somebody who approves, with a key of their own.
type Person struct {
	quorum.Person
	ID     string
	Signer ssh.Signer
	// Key is the Signer's, where it is no security key's.
	Key ed25519.PrivateKey
}

// NewPerson makes one with an Ed25519 key in a file's stead.
func NewPerson(t *testing.T, name string, groups ...string) Person {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	s, err := ssh.NewSignerFromKey(key)
	must(t, err)
	p := person(name, groups, s)
	p.Key = key
	return p
}

// The flags of a security key's signature.
const (
	Touched  = 0x01
	Verified = 0x04
)

// NewHardwarePerson makes one whose key is as a security key's: its signatures
// say with flags what the key has asked for.
func NewHardwarePerson(t *testing.T, name string, flags byte, groups ...string) Person {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	blob := ssh.Marshal(struct {
		Type string
		Key  []byte
		App  string
	}{ssh.KeyAlgoSKED25519, pub, "ssh:"})
	parsed, err := ssh.ParsePublicKey(blob)
	must(t, err)
	return person(name, groups, &securityKey{pub: parsed, key: key, flags: flags})
}

func person(name string, groups []string, s ssh.Signer) Person {
	id := "spiffe://" + TrustDomain + "/person/" + name
	return Person{
		ID: id, Signer: s,
		Person: quorum.Person{Name: name, IDs: []string{id}, Groups: groups, Keys: []string{string(ssh.MarshalAuthorizedKey(s.PublicKey()))}},
	}
}

// securityKey signs as PROTOCOL.u2f says.
type securityKey struct {
	pub   ssh.PublicKey
	key   ed25519.PrivateKey
	flags byte
}

func (k *securityKey) PublicKey() ssh.PublicKey { return k.pub }

func (k *securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	app, msg := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	attested := binary.BigEndian.AppendUint32([]byte{k.flags}, 7)
	signed := append(append(app[:], attested...), msg[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.key, signed), Rest: attested}, nil
}

// Statement is what p signs to decide a request.
func (p Person) Statement(w *valetkeyv1.PendingGrant, d evidence.Decision) evidence.Statement {
	groups := w.GetGroups()
	if d == evidence.Reject {
		groups = nil
	}
	return evidence.Statement{
		V: evidence.Version, Broker: w.GetBroker(), Grant: w.GetGrant().GetId(), EnvelopeDigest: w.GetGrant().GetEnvelopeDigest(),
		Nonce: w.GetNonce(), Person: w.GetPerson(), Decision: d, Groups: groups,
		SignedAt: w.GetGrant().GetRequestedAt().AsTime().Truncate(time.Second), LapsesAt: w.GetLapsesAt().AsTime(),
	}
}

// Sign makes the call that decides what s says.
func (p Person) Sign(t *testing.T, s evidence.Statement) *valetkeyv1.SubmitApprovalRequest {
	t.Helper()
	text, err := s.Canonical()
	must(t, err)
	return &valetkeyv1.SubmitApprovalRequest{GrantId: s.Grant, Statement: text, Signature: p.Signature(t, text, evidence.Namespace)}
}

// Signature is p's of a text, armored.
func (p Person) Signature(t *testing.T, text []byte, namespace string) string {
	t.Helper()
	sig, err := sshsig.Sign(bytes.NewReader(text), p.Signer, sshsig.HashSHA512, namespace)
	must(t, err)
	return string(sshsig.Armor(sig))
}

// ApproverClient is a client for people, as p.
func (h *Harness) ApproverClient(p Person) valetkeyv1.ApprovalServiceClient {
	return valetkeyv1.NewApprovalServiceClient(h.Dial(p.ID))
}

// Decide has p look at a request and decide it.
func (h *Harness) Decide(p Person, grant string, d evidence.Decision) (*valetkeyv1.PendingGrant, error) {
	h.T.Helper()
	c := h.ApproverClient(p)
	w, err := c.GetPendingGrant(h.T.Context(), &valetkeyv1.GetPendingGrantRequest{GrantId: grant})
	if err != nil {
		return nil, err
	}
	s := p.Statement(w.GetPending(), d)
	s.SignedAt = h.Clock.Now().UTC().Truncate(time.Second)
	resp, err := c.SubmitApproval(h.T.Context(), p.Sign(h.T, s))
	return resp.GetPending(), err
}
