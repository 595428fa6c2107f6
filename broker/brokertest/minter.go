package brokertest

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
)

// Minter is an upstream in memory, for the faults that no real server makes on
// demand. It takes permits as the real ones do: verified, and once.
type Minter struct {
	permits *mint.Verifier

	mu sync.Mutex
	// BeforeMint and AfterMint run around the moment the credential comes to
	// exist; an error of theirs is Mint's. Guarded by mu while Mint runs.
	BeforeMint, AfterMint func(mint.Order) error
	// OnRevoke's error is Revoke's.
	OnRevoke func(mint.Handle) error

	live    map[string]mint.Order
	revoked []mint.Handle
	secrets []string
}

// Mint implements mint.Minter.
func (m *Minter) Mint(_ context.Context, p mint.Permit) (mint.Credential, error) {
	o, err := m.permits.Verify(p)
	if err != nil {
		return mint.Credential{}, err
	}
	m.mu.Lock()
	before, after := m.BeforeMint, m.AfterMint
	m.mu.Unlock()
	if before != nil {
		if err := before(o); err != nil {
			return mint.Credential{}, err
		}
	}
	secret := "secret-" + rand.Text()
	m.mu.Lock()
	m.live[o.SessionName] = o
	m.secrets = append(m.secrets, secret)
	m.mu.Unlock()
	if after != nil {
		if err := after(o); err != nil {
			return mint.Credential{}, err
		}
	}
	h := o.Handle(mint.ProviderAWS)
	h.AccessKeyID = "AKIA" + rand.Text()[:16]
	return mint.NewCredential(h, o.NotAfter, mint.Secret{AWS: &mint.AWSSecret{
		AccessKeyID: h.AccessKeyID, SecretAccessKey: secret, SessionToken: secret + "-token",
	}}), nil
}

// Revoke implements mint.Minter.
func (m *Minter) Revoke(_ context.Context, h mint.Handle) (mint.RevokeOutcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.OnRevoke != nil {
		if err := m.OnRevoke(h); err != nil {
			return mint.RevokeUnspecified, err
		}
	}
	delete(m.live, h.SessionName)
	m.revoked = append(m.revoked, h)
	return mint.RevokedUpstream, nil
}

// Set changes the hooks while nothing reads them.
func (m *Minter) Set(fn func(*Minter)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn(m)
}

// Live is how many credentials work upstream now.
func (m *Minter) Live() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.live)
}

// Secrets are all the secrets ever minted, to look for where they must not be.
func (m *Minter) Secrets() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.secrets...)
}

// Clock is a clock that tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Eventually polls until ok, and fails the test after ten seconds.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	limit := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-every.C:
		case <-limit:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
