package mint

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxSpent bounds the permits a Verifier remembers: at 60 s of life, 1,000 a
// second. When it is full, new permits are refused, never old ones forgotten.
const maxSpent = 60_000

// permitSkew is how far ahead of the verifier's clock IssuedAt may be, for when
// the two points run on two machines.
const permitSkew = 5 * time.Second

// Permit is an order under the decision point's seal. Only a Signer fills it; the zero Permit is
// refused. It holds copies of all that it points to: what becomes of the order that was sealed
// changes nothing.
type Permit struct {
	order Order
	mac   []byte
}

// Role is which role's Minter the permit is for. It is not yet verified.
func (p Permit) Role() string { return p.order.Role }

// Signer seals permits at the decision point. Its key lives in this process alone, where a MAC is
// as unforgeable as a signature: who could read the key could call Sign. Safe for concurrent use.
type Signer struct{ key []byte }

// NewSigner makes a signer with a fresh key.
func NewSigner() (*Signer, error) {
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("generating permit key: %w", err)
	}
	return &Signer{key: key}, nil
}

// Sign checks that the order is complete and seals it. Errors are ErrPermit.
func (s *Signer) Sign(o Order) (Permit, error) {
	if err := o.validate(); err != nil {
		return Permit{}, err
	}
	o.SourceCIDRs, o.Regions = slices.Clone(o.SourceCIDRs), slices.Clone(o.Regions)
	mac, err := o.seal(s.key)
	return Permit{order: o, mac: mac}, err
}

// seal is HMAC-SHA-256 over every field of the order, whatever fields it has.
func (o Order) seal(key []byte) ([]byte, error) {
	text, err := json.Marshal(struct {
		Domain string
		Order  Order
	}{"valetkey permit v2", o})
	if err != nil {
		return nil, fmt.Errorf("sealing permit for grant %q: %w: %w", o.GrantID, ErrPermit, err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return mac.Sum(nil), nil
}

// Verifier accepts each permit once. All Minters of a process share one. Safe for
// concurrent use.
type Verifier struct {
	key []byte
	now func() time.Time

	mu    sync.Mutex
	spent map[string]time.Time // issuance id -> when the permit expires; guarded by mu
	sweep time.Time            // when to drop expired entries next; guarded by mu
	limit int
}

// NewVerifier returns a verifier for s's permits. A nil now is time.Now.
func NewVerifier(s *Signer, now func() time.Time) (*Verifier, error) {
	if s == nil || len(s.key) != sha256.Size {
		return nil, fmt.Errorf("checking permit key: no signer: %w", ErrPermit)
	}
	if now == nil {
		now = time.Now
	}
	return &Verifier{key: s.key, now: now, spent: make(map[string]time.Time), limit: maxSpent}, nil
}

// Verify checks the seal and the times, then spends the permit. What it
// returns may be minted now; every error is ErrPermit.
func (v *Verifier) Verify(p Permit) (Order, error) {
	if len(p.mac) == 0 {
		return Order{}, fmt.Errorf("verifying permit: zero permit: %w", ErrPermit)
	}
	o := p.order
	if err := o.validate(); err != nil {
		return Order{}, err
	}
	mac, err := o.seal(v.key)
	if err != nil {
		return Order{}, err
	}
	if !hmac.Equal(mac, p.mac) {
		return Order{}, fmt.Errorf("verifying permit for grant %q: the seal is not this broker's: %w", o.GrantID, ErrPermit)
	}
	now := v.now()
	switch {
	case !now.Before(o.PermitExpires):
		return Order{}, fmt.Errorf("verifying permit for grant %q: expired at %v: %w", o.GrantID, o.PermitExpires, ErrPermit)
	case o.IssuedAt.After(now.Add(permitSkew)):
		return Order{}, fmt.Errorf("verifying permit for grant %q: issued at %v, in the future: %w", o.GrantID, o.IssuedAt, ErrPermit)
	}
	if err := v.spend(o.IssuanceID, now, o.PermitExpires); err != nil {
		return Order{}, fmt.Errorf("verifying permit for grant %q: %w", o.GrantID, err)
	}
	return o, nil
}

func (v *Verifier) spend(id string, now, until time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !now.Before(v.sweep) || len(v.spent) >= v.limit {
		for k, t := range v.spent {
			if !now.Before(t) {
				delete(v.spent, k)
			}
		}
		v.sweep = now.Add(time.Second)
	}
	if _, dup := v.spent[id]; dup {
		return fmt.Errorf("issuance %q is already spent: %w", id, ErrPermit)
	}
	if len(v.spent) >= v.limit {
		return fmt.Errorf("%d permits are live: %w", len(v.spent), ErrPermit)
	}
	v.spent[id] = until
	return nil
}
