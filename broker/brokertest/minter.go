package brokertest

import (
	"cmp"
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
	// Outcome is what Revoke answers; zero for RevokedUpstream.
	Outcome mint.RevokeOutcome

	live    map[string]mint.Order
	revoked []mint.Handle
	first   []string // sessions that were revoked for an operator
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
	hook := m.OnRevoke
	m.mu.Unlock()
	if hook != nil { // not under the lock: it may hang
		if err := hook(h); err != nil {
			return mint.RevokeUnspecified, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, h.SessionName)
	m.revoked = append(m.revoked, h)
	return cmp.Or(m.Outcome, mint.RevokedUpstream), nil
}

// RevokeFirst implements mint.Urgent.
func (m *Minter) RevokeFirst(ctx context.Context, h mint.Handle) (mint.RevokeOutcome, error) {
	m.mu.Lock()
	m.first = append(m.first, h.SessionName)
	m.mu.Unlock()
	return m.Revoke(ctx, h)
}

// First are the sessions that were revoked for an operator, and how many were revoked in all.
func (m *Minter) First() (sessions []string, all int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.first...), len(m.revoked)
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

// Clock is a clock that tests move. It stands in between, unless it runs.
type Clock struct {
	mu      sync.Mutex
	now     time.Time
	started time.Time // zero for a clock that stands
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started.IsZero() {
		return c.now
	}
	return c.now.Add(time.Since(c.started))
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Eventually polls until ok, and fails the test after two minutes.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	limit := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-every.C:
		case <-limit:
			t.Fatalf("not within 2 min: %s", what)
		}
	}
}
