package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/valetkey/valetkey/broker/mint"
)

// Revoke implements mint.Minter: the wrapping, the lease, the token, then the policy. Without an
// accessor the policy alone can be taken away: a token is powerless then, but a dynamic
// secret that was read with it lives until the token's deadline, hence DeadlineOnly. So does one
// whose engine was not seen to end what it made: a revoked lease is no dead secret.
func (m *Minter) Revoke(ctx context.Context, h mint.Handle) (mint.RevokeOutcome, error) {
	if h.VaultPolicy == "" && h.VaultAccessor == "" && h.VaultLeaseID == "" {
		return mint.RevokeUnspecified, fmt.Errorf("revoking Vault credential of role %q: empty handle: %w", m.cfg.Role, mint.ErrRefused)
	}
	outcome := mint.RevokeUnspecified
	err := m.up.Do(ctx, func(ctx context.Context) error {
		var err error
		outcome, err = m.end(ctx, h)
		return err
	})
	if err != nil {
		return mint.RevokeUnspecified, fmt.Errorf("revoking Vault credential of role %q: %w", m.cfg.Role, err)
	}
	return outcome, nil
}

// end tries every part even where one fails: each takes something away.
func (m *Minter) end(ctx context.Context, h mint.Handle) (mint.RevokeOutcome, error) {
	var errs []error
	try := func(what string, r request) {
		if _, err := m.asBroker(ctx, r); err != nil && !errors.Is(err, errGone) {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	byAccessor := func(what, accessor string) {
		try(what, request{
			method: http.MethodPut, path: "auth/token/revoke-accessor", body: map[string]any{"accessor": accessor},
		})
	}
	if h.VaultWrapping != "" {
		// It has no parent, and would give out what it holds until its own end. One that was
		// unwrapped is gone.
		byAccessor("revoking wrapping token by accessor", h.VaultWrapping)
	}
	if h.VaultLeaseID != "" {
		try("revoking lease", revokeLease(h.VaultLeaseID))
	}
	if h.VaultAccessor != "" {
		byAccessor("revoking token by accessor", h.VaultAccessor)
	}
	if h.VaultPolicy != "" {
		try("deleting policy", request{method: http.MethodDelete, path: "sys/policies/acl/" + h.VaultPolicy})
	}
	if len(errs) > 0 {
		return mint.RevokeUnspecified, errors.Join(errs...)
	}
	switch {
	case h.VaultAccessor == "" && h.VaultLeaseID == "":
		return mint.DeadlineOnly, nil
	case h.VaultRead != "" && !h.VaultKills:
		return mint.DeadlineOnly, nil // the lease is revoked; whether the secret is dead, nobody saw
	}
	return mint.RevokedUpstream, nil
}

func revokeLease(id string) request {
	return request{method: http.MethodPut, path: "sys/leases/revoke", body: map[string]any{"lease_id": id, "sync": true}}
}
