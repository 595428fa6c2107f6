package mint

import (
	"crypto/ed25519"
	"fmt"
	"sync"
	"time"
)

// maxSpent bounds the permits a Verifier remembers: at 60 s of life, 1,000 a
// second. When it is full, new permits are refused, never old ones forgotten.
const maxSpent = 60_000

// permitSkew is how far ahead of the verifier's clock IssuedAt may be, for when
// the two points run on two machines.
const permitSkew = 5 * time.Second

// Permit is a signed order. Only a Signer fills it; the zero Permit is refused.
// The permissions it points to must not be changed: the signature would not hold.
type Permit struct {
	order Order
	sig   []byte
}

// Role is which role's Minter the permit is for. It is not yet verified.
func (p Permit) Role() string { return p.order.Role }

// Signer signs permits at the decision point. Safe for concurrent use.
type Signer struct{ key ed25519.PrivateKey }

// NewSigner makes a signer with a fresh key that lives in this process alone.
func NewSigner() (*Signer, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("generating permit key: %w", err)
	}
	return &Signer{key: key}, nil
}

// Public is what a Verifier checks with.
func (s *Signer) Public() ed25519.PublicKey {
	pub, _ := s.key.Public().(ed25519.PublicKey)
	return pub
}

// Sign checks that the order is complete and signs it. Errors are ErrPermit.
func (s *Signer) Sign(o Order) (Permit, error) {
	if err := o.validate(); err != nil {
		return Permit{}, err
	}
	msg, err := o.canonical()
	if err != nil {
		return Permit{}, fmt.Errorf("signing permit for grant %q: %w: %w", o.GrantID, ErrPermit, err)
	}
	return Permit{order: o, sig: ed25519.Sign(s.key, msg)}, nil
}

// Verifier accepts each permit once. All Minters of a process share one. Safe for
// concurrent use.
type Verifier struct {
	pub ed25519.PublicKey
	now func() time.Time

	mu    sync.Mutex
	spent map[string]time.Time // issuance id -> when the permit expires; guarded by mu
	sweep time.Time            // when to drop expired entries next; guarded by mu
	limit int
}

// NewVerifier returns a verifier for permits signed by pub's key. A nil now is time.Now.
func NewVerifier(pub ed25519.PublicKey, now func() time.Time) (*Verifier, error) {
	if len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("checking permit key: %d bytes: %w", len(pub), ErrPermit)
	}
	if now == nil {
		now = time.Now
	}
	return &Verifier{pub: pub, now: now, spent: make(map[string]time.Time), limit: maxSpent}, nil
}

// Verify checks the signature and the times, then spends the permit. What it
// returns may be minted now; every error is ErrPermit.
func (v *Verifier) Verify(p Permit) (Order, error) {
	if len(p.sig) == 0 {
		return Order{}, fmt.Errorf("verifying permit: zero permit: %w", ErrPermit)
	}
	o := p.order
	if err := o.validate(); err != nil {
		return Order{}, err
	}
	msg, err := o.canonical()
	if err != nil {
		return Order{}, fmt.Errorf("verifying permit for grant %q: %w: %w", o.GrantID, ErrPermit, err)
	}
	if !ed25519.Verify(v.pub, msg, p.sig) {
		return Order{}, fmt.Errorf("verifying permit for grant %q: signature does not hold: %w", o.GrantID, ErrPermit)
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
