package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// maxPolicy bounds one policy's text; Vault's own limit is its request size, far above.
const maxPolicy = 64 << 10

// foreseeLimit is how long a minting waits for a probe that runs.
const foreseeLimit = 5 * time.Second

// maxMeta is Vault's limit on a token's metadata value.
const maxMeta = 512

// plan is one minting, complete.
type plan struct {
	order  mint.Order
	handle mint.Handle
	policy string
	ttl    time.Duration // whole seconds
	wrap   time.Duration // of a dynamic secret; 0 means not wrapped
	rules  []vaultacl.Rule
	// unseen is why it is not known that revoking ends the dynamic secret; nil where that was seen.
	unseen error
}

// foresee finds out whether revoking ends the dynamic secret, and refuses what can be known to
// outlive the order before anything is made.
func (m *Minter) foresee(ctx context.Context, pl *plan) error {
	path := pl.order.Permissions.VaultRead()
	if path == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, foreseeLimit)
	defer cancel()
	pl.unseen = m.kills(ctx, path)
	switch {
	case errors.Is(pl.unseen, mint.ErrUnavailable):
		return mint.Harmless(pl.unseen) // a probe that runs goes on, and answers the next order
	case pl.unseen == nil:
		pl.handle.VaultKills = true
		return nil
	case pl.wrap > 0:
		// Its lease is inside of the wrapping, so its end is not known.
		return mint.Harmless(&mint.OutlivesError{Why: fmt.Sprintf("how long a wrapped secret of %q lives is not visible, and %v", path, pl.unseen)})
	}
	return mint.Harmless(m.tooLong(*pl, path))
}

// Mint implements mint.Minter.
func (m *Minter) Mint(ctx context.Context, p mint.Permit) (mint.Credential, error) {
	cred, err := m.mint(ctx, p)
	if err != nil {
		return mint.Credential{}, fmt.Errorf("minting Vault credential for role %q: %w", m.cfg.Role, err)
	}
	return cred, nil
}

func (m *Minter) mint(ctx context.Context, p mint.Permit) (mint.Credential, error) {
	o, err := m.cfg.Permits.Verify(p)
	if err != nil {
		return mint.Credential{}, err
	}
	pl, err := m.cfg.prepare(o, m.cfg.Now())
	if err != nil {
		return mint.Credential{}, err
	}
	if err := m.foresee(ctx, &pl); err != nil {
		return mint.Credential{}, err
	}
	var cred mint.Credential
	err = m.up.Do(ctx, func(ctx context.Context) error {
		handle := pl.handle
		cred, err = m.steps(ctx, pl, &handle)
		if err != nil {
			return m.undo(ctx, handle, err)
		}
		return nil
	})
	if err != nil {
		return mint.Credential{}, err
	}
	return cred, nil
}

// prepare is pure: it reads the order and the clock, and sends nothing.
func (c Config) prepare(o mint.Order, now time.Time) (plan, error) {
	p := o.Permissions.Permissions()
	if o.Role != c.Role {
		return plan{}, fmt.Errorf("order is for role %q: %w", o.Role, mint.ErrPermit)
	}
	if p.AWS != nil || (len(p.Vault) > 0) == (p.VaultRead != "") {
		return plan{}, fmt.Errorf("order's permissions are not Vault paths or one dynamic secret: %w", mint.ErrPermit)
	}
	if len(o.SourceCIDRs) > 0 {
		// Vault takes bound networks from a token role alone, so they could not be kept.
		return plan{}, fmt.Errorf("a Vault token cannot be bound to the order's source networks: %w", mint.ErrPermit)
	}
	if len(o.Regions) > 0 {
		return plan{}, fmt.Errorf("a Vault token has no Regions to be bound to: %w", mint.ErrPermit)
	}
	ttl := o.NotAfter.Sub(now).Truncate(time.Second)
	switch {
	case ttl < time.Second:
		return plan{}, fmt.Errorf("deadline is over: %w", mint.ErrLifetime)
	case c.MaxTTL > 0 && ttl > c.MaxTTL:
		return plan{}, fmt.Errorf("%v of %v: %w", ttl, c.MaxTTL, mint.ErrLifetime)
	}
	rules := p.Vault
	if p.VaultRead != "" {
		rules = []vaultacl.Rule{{Path: p.VaultRead, Capabilities: []string{"read"}}}
	}
	pl := plan{order: o, handle: o.Handle(mint.ProviderVault), policy: vaultacl.Print(rules), rules: rules, ttl: ttl}
	if pl.policy == "" {
		return plan{}, fmt.Errorf("policy is empty: %w", mint.ErrPermit)
	}
	if len(pl.policy) > maxPolicy {
		return plan{}, fmt.Errorf("policy has %d bytes of %d: %w", len(pl.policy), maxPolicy, mint.ErrTooLarge)
	}
	for _, v := range pl.meta() {
		if len(v) > maxMeta {
			return plan{}, fmt.Errorf("token metadata has %d bytes of %d: %w", len(v), maxMeta, mint.ErrTooLarge)
		}
	}
	if p.VaultWrap {
		pl.wrap = min(c.WrapTTL, ttl)
	}
	return pl, nil
}

func (p plan) meta() map[string]string {
	o := p.order
	return map[string]string{"agent": o.AgentID, "task": o.TaskID, "grant": o.GrantID, "scope": o.ScopeName + "@" + o.ScopeVersion}
}

// steps writes the policy, makes the token and, for a dynamic secret, reads it. What
// exists upstream is in h, also when it fails.
func (m *Minter) steps(ctx context.Context, pl plan, h *mint.Handle) (mint.Credential, error) {
	if _, err := m.asBroker(ctx, request{
		method: http.MethodPut, path: "sys/policies/acl/" + h.VaultPolicy, body: map[string]string{"policy": pl.policy},
	}); err != nil {
		if !mint.Maybe(err) {
			*h = mint.Handle{} // nothing was written, so there is nothing to undo
		}
		return mint.Credential{}, fmt.Errorf("writing policy %q: %w", pl.handle.VaultPolicy, err)
	}
	created, err := m.createToken(ctx, pl)
	if err != nil {
		return mint.Credential{}, fmt.Errorf("creating token: %w", err)
	}
	out := mint.VaultSecret{Address: m.cfg.Address, Namespace: m.cfg.Namespace}
	auth, err := pl.accept(created, h)
	if err != nil {
		return mint.Credential{}, err
	}
	life := time.Duration(auth.LeaseDuration) * time.Second
	out.Accessor = auth.Accessor
	if pl.order.Permissions.VaultRead() == "" {
		if err := m.mintsNothing(ctx, auth.ClientToken, pl.rules); err != nil {
			return mint.Credential{}, err
		}
		out.Token = auth.ClientToken
		return mint.NewCredential(*h, m.ends(pl, life), mint.Secret{Vault: &out}), nil
	}
	ends, err := m.readDynamic(ctx, pl, auth.ClientToken, h, &out)
	if err != nil {
		return mint.Credential{}, err
	}
	if token := m.ends(pl, life); pl.unseen == nil && token.Before(ends) {
		ends = token // the token's end revokes the lease, and that was seen to end the secret
	}
	h.NotAfter = ends
	return mint.NewCredential(*h, ends, mint.Secret{Vault: &out}), nil
}

func (m *Minter) ends(pl plan, life time.Duration) time.Time {
	if end := m.cfg.Now().Add(life); end.Before(pl.order.NotAfter) {
		return end
	}
	return pl.order.NotAfter
}

func (m *Minter) createToken(ctx context.Context, pl plan) (*api.Secret, error) {
	return m.newToken(ctx, tokenFor{policy: pl.handle.VaultPolicy, ttl: pl.ttl, name: pl.order.SessionName, meta: pl.meta()})
}

// tokenFor is a token to make: with one policy, without a parent, never renewed.
type tokenFor struct {
	policy, name string
	ttl          time.Duration
	meta         map[string]string
}

func (m *Minter) newToken(ctx context.Context, t tokenFor) (*api.Secret, error) {
	path, seconds, renewable := "auth/token/create-orphan", strconv.Itoa(int(t.ttl/time.Second))+"s", false
	if m.cfg.TokenRole != "" {
		path = "auth/token/create/" + m.cfg.TokenRole
	}
	return m.asBroker(ctx, request{method: http.MethodPut, path: path, body: api.TokenCreateRequest{
		Policies: []string{t.policy}, NoDefaultPolicy: true, Metadata: t.meta,
		TTL: seconds, ExplicitMaxTTL: seconds, Renewable: &renewable, DisplayName: t.name, Type: "service",
	}})
}

// accept holds the token against what was asked, noting its accessor first.
func (p plan) accept(s *api.Secret, h *mint.Handle) (*api.SecretAuth, error) {
	if s == nil || s.Auth == nil {
		return nil, fmt.Errorf("answer has no token: %w", mint.ErrInvalid)
	}
	a := s.Auth
	h.VaultAccessor = a.Accessor
	switch life := time.Duration(a.LeaseDuration) * time.Second; {
	case a.ClientToken == "" || a.Accessor == "":
		return nil, fmt.Errorf("token lacks a field: %w", mint.ErrInvalid)
	case life <= 0 || life > p.ttl:
		return nil, fmt.Errorf("token lives %v, asked for %v: %w", life, p.ttl, mint.ErrInvalid)
	case a.Renewable:
		return nil, fmt.Errorf("token is renewable: %w", mint.ErrInvalid)
	case len(a.Policies) != 1 || a.Policies[0] != h.VaultPolicy || len(a.IdentityPolicies) != 0:
		return nil, fmt.Errorf("token has other policies: %w", mint.ErrInvalid)
	}
	return a, nil
}

// readDynamic reads the secret with the issuance's own token, and returns when it stops working: by its
// lease where that was seen to end it, else by itself, as its data says.
func (m *Minter) readDynamic(ctx context.Context, pl plan, token string, h *mint.Handle, out *mint.VaultSecret) (time.Time, error) {
	path, never := pl.order.Permissions.VaultRead(), time.Time{}
	s, err := m.do(ctx, request{method: http.MethodGet, path: path, token: token, wrap: pl.wrap})
	if err == nil || mint.Maybe(err) {
		h.VaultTaken = true
	}
	if err != nil {
		return never, fmt.Errorf("reading dynamic secret %q: %w", path, err)
	}
	if pl.wrap > 0 {
		if out.WrappingToken, err = wrapped(s, pl.wrap, h); err != nil {
			return never, fmt.Errorf("reading dynamic secret %q: %w", path, err)
		}
		return pl.order.NotAfter, nil
	}
	if s == nil || s.LeaseID == "" || s.LeaseDuration <= 0 || len(s.Data) == 0 {
		return never, fmt.Errorf("reading dynamic secret %q: no lease or no data: %w", path, mint.ErrInvalid)
	}
	h.VaultLeaseID, out.LeaseID = s.LeaseID, s.LeaseID
	if out.DataJSON, err = json.Marshal(s.Data); err != nil {
		return never, fmt.Errorf("reading dynamic secret %q: %w", path, mint.ErrInvalid)
	}
	now, lease := m.cfg.Now(), time.Duration(s.LeaseDuration)*time.Second
	if pl.unseen == nil {
		return now.Add(lease), nil
	}
	ends, ok := realEnd(now, lease, s.Data)
	if !ok {
		m.wasLong(path, endless)
		h.NotAfter = never
		return never, &mint.OutlivesError{
			Why: fmt.Sprintf("a secret of %q does not say when it ends by itself, and %v", path, pl.unseen), Left: *h,
		}
	}
	if ends.After(pl.order.NotAfter) {
		m.wasLong(path, ends.Sub(now))
		h.NotAfter = ends
		return never, &mint.OutlivesError{
			Why: fmt.Sprintf("a secret of %q outlives the grant, and %v", path, pl.unseen), Until: ends, Left: *h,
		}
	}
	return ends, nil
}

// wrapped returns the wrapping token of an answer whose content must not be visible, noting
// its accessor first.
func wrapped(s *api.Secret, asked time.Duration, h *mint.Handle) (string, error) {
	if s == nil || s.WrapInfo == nil {
		return "", fmt.Errorf("answer is not wrapped: %w", mint.ErrInvalid)
	}
	w := s.WrapInfo
	h.VaultWrapping = w.Accessor
	switch life := time.Duration(w.TTL) * time.Second; {
	case s.Auth != nil || len(s.Data) != 0:
		return "", fmt.Errorf("answer is not wrapped alone: %w", mint.ErrInvalid)
	case w.Token == "" || w.Accessor == "":
		return "", fmt.Errorf("wrapping lacks a field: %w", mint.ErrInvalid)
	case life <= 0 || life > asked:
		return "", fmt.Errorf("wrapping lives %v, asked for %v: %w", life, asked, mint.ErrInvalid)
	}
	return w.Token, nil
}

// undo takes back what a failed minting left. When that worked the cause is harmless: the
// token is revoked, or can do nothing without its policy. A dynamic secret that may have been
// made is still there where revoking was not seen to end one, though nobody has it.
func (m *Minter) undo(ctx context.Context, h mint.Handle, cause error) error {
	if h.VaultPolicy == "" {
		return cause
	}
	ctx, cancel := m.up.Cleanup(ctx)
	defer cancel()
	if _, err := m.end(ctx, h); err != nil {
		// Not wrapped: the sentinels of the clean-up say nothing about the minting.
		return mint.Left(fmt.Errorf("%w; and taking back policy %q: %v", cause, h.VaultPolicy, err)) //nolint:errorlint // see above
	}
	if h.VaultTaken && !h.VaultKills {
		return mint.Left(cause)
	}
	return mint.Harmless(cause)
}
