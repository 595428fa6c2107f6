// Package minttest gives the Minters' tests orders and permits.
package minttest

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes"
)

// Desk signs permits and verifies them, as one broker process does.
type Desk struct {
	t        *testing.T
	signer   *mint.Signer
	Verifier *mint.Verifier
}

// NewDesk makes a fresh key.
func NewDesk(t *testing.T) *Desk {
	t.Helper()
	signer, err := mint.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := mint.NewVerifier(signer, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Desk{t: t, signer: signer, Verifier: verifier}
}

// Order is complete and legal for the role "test", from now until life is over.
func Order(p scopes.Permissions, life time.Duration) mint.Order {
	now := time.Now()
	sealed, err := p.Seal()
	if err != nil {
		panic(err) // a test's own
	}
	return mint.Order{
		GrantID: "GR" + rand.Text(), TaskID: "TK" + rand.Text(), IssuanceID: "IS" + rand.Text(),
		AgentID: "spiffe://example.org/agent/ana/s1", ScopeName: "bucket-read", ScopeVersion: "sha256:" + strings.Repeat("a", 64),
		EnvelopeDigest: "sha256:" + strings.Repeat("b", 64), SessionName: SessionName("spiffe://example.org?user=ana"), Role: "test",
		Permissions: sealed, NotAfter: now.Add(life), IssuedAt: now, PermitExpires: now.Add(mint.MaxPermitLife),
	}
}

// SessionName names a session of the agent, the same way in all of a process.
func SessionName(subject string) string {
	names, err := mint.NewSessionNames(key)
	if err != nil {
		panic(err) // the key is long enough
	}
	return names.New(subject)
}

var key = []byte(rand.Text() + rand.Text())

// Permit signs the order.
func (d *Desk) Permit(o mint.Order) mint.Permit {
	d.t.Helper()
	p, err := d.signer.Sign(o)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// Eventually polls ok until it holds, and fails the test after limit.
func Eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end.C:
			t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}
