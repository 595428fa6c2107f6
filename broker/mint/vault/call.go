package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
)

// request is one call to Vault.
type request struct {
	method, path, token string
	wrap                time.Duration // 0 means not wrapped
	body                any           // nil means none
}

// errGone is Vault's answer about something that no longer exists.
var errGone = errors.New("no longer there")

// errForbidden marks a 403: the token is dead, or may not. Nothing was done.
var errForbidden = errors.New("forbidden")

// do calls Vault. A call with no content to return gives nil. Errors wrap mint's
// sentinels and hold nothing of the answer but its status.
func (m *Minter) do(ctx context.Context, r request) (*api.Secret, error) {
	req := m.client.NewRequest(r.method, "/v1/"+r.path)
	req.ClientToken = r.token
	if r.wrap > 0 {
		req.WrapTTL = strconv.Itoa(int(r.wrap/time.Second)) + "s"
	}
	if r.body != nil {
		if err := req.SetJSONBody(r.body); err != nil {
			return nil, mint.Harmless(fmt.Errorf("marshalling request: %w: %w", mint.ErrPermit, err))
		}
	}
	//nolint:staticcheck // the replacement has no way to set the token and wrapping of one request
	resp, err := m.client.RawRequestWithContext(ctx, req)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	if err != nil {
		return nil, classify(ctx, err)
	}
	if resp.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	secret, err := api.ParseSecret(resp.Body)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, upstream.Unanswered(ctx, "Vault", err)
	case err != nil:
		return nil, fmt.Errorf("reading Vault answer %d: %w", resp.StatusCode, mint.ErrInvalid)
	}
	return secret, nil
}

func classify(ctx context.Context, err error) error {
	var resp *api.ResponseError
	if !errors.As(err, &resp) {
		return upstream.Unanswered(ctx, "Vault", err)
	}
	status := resp.StatusCode
	switch {
	case status == http.StatusTooManyRequests:
		return mint.Harmless(fmt.Errorf("throttled by Vault (429): %w", mint.ErrUnavailable))
	case status >= 500 || status == 472 || status == 473:
		return fmt.Errorf("answered %d by Vault: %w", status, mint.ErrUnavailable)
	case gone(resp):
		return fmt.Errorf("answered %d by Vault: %w: %w", status, mint.ErrRefused, errGone)
	case status == http.StatusForbidden:
		return fmt.Errorf("answered 403 by Vault: %w: %w", mint.ErrRefused, errForbidden)
	case status >= 400:
		return fmt.Errorf("answered %d by Vault: %w", status, mint.ErrRefused)
	default:
		return fmt.Errorf("reading Vault answer %d: %w", status, mint.ErrInvalid)
	}
}

// gone knows Vault's words for an accessor or a lease that does not exist.
func gone(resp *api.ResponseError) bool {
	for _, msg := range resp.Errors {
		if strings.Contains(msg, "invalid accessor") || strings.Contains(msg, "invalid lease") ||
			strings.Contains(msg, "lease not found") {
			return true
		}
	}
	return false
}

// asBroker calls Vault with the broker's own token, and once more with a new login where
// Vault does not accept the last one: a 403 has done nothing.
func (m *Minter) asBroker(ctx context.Context, r request) (*api.Secret, error) {
	token, err := m.token(ctx, "")
	if err != nil {
		return nil, err
	}
	r.token = token
	secret, err := m.do(ctx, r)
	if !errors.Is(err, errForbidden) {
		return secret, err
	}
	again, loginErr := m.token(ctx, token)
	if loginErr != nil || again == token {
		return nil, err
	}
	r.token = again
	return m.do(ctx, r)
}
