package vault

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
)

// session is the broker's own login. lock holds one element while a caller reads or
// replaces it; a channel, so that waiting ends with the caller's deadline.
type session struct {
	lock  chan struct{}
	token string
	renew time.Time // when to log in anew; zero means never
}

// token returns the broker's token, logging in where there is none, where two thirds of
// its life are over, or where it is the one that Vault did not accept (empty means none was).
func (m *Minter) token(ctx context.Context, refused string) (string, error) {
	select {
	case m.login.lock <- struct{}{}:
		defer func() { <-m.login.lock }()
	case <-ctx.Done():
		return "", mint.Harmless(fmt.Errorf("waiting for Vault login: %w: %w", mint.ErrUnavailable, ctx.Err()))
	}
	s := &m.login
	fresh := s.renew.IsZero() || m.cfg.Now().Before(s.renew)
	if s.token != "" && s.token != refused && fresh {
		return s.token, nil
	}
	token, life, err := m.logIn(ctx)
	if err != nil {
		// A login leaves nothing that an agent could use.
		return "", mint.Harmless(fmt.Errorf("logging in to Vault by %s: %w", m.cfg.Auth.Method, err))
	}
	s.token, s.renew = token, time.Time{}
	if life > 0 {
		s.renew = m.cfg.Now().Add(life * 2 / 3)
	}
	return token, nil
}

func (m *Minter) logIn(ctx context.Context) (string, time.Duration, error) {
	auth := m.cfg.Auth
	body := map[string]string{}
	switch auth.Method {
	case MethodToken:
		token, err := auth.Token(ctx)
		if err != nil || strings.TrimSpace(token) == "" {
			return "", 0, upstream.NoOwn(ctx, "token")
		}
		return strings.TrimSpace(token), 0, nil
	case MethodJWT:
		svid, err := auth.JWT(ctx, auth.Audience)
		if err != nil || svid == "" {
			return "", 0, upstream.NoOwn(ctx, "JWT-SVID")
		}
		body["role"], body["jwt"] = auth.Role, svid
	case MethodLogin:
		words, err := auth.Login(ctx)
		if err != nil || len(words) == 0 {
			return "", 0, upstream.NoOwn(ctx, "login")
		}
		body = words
	case MethodCert:
		if auth.Role != "" {
			body["name"] = auth.Role
		}
	}
	secret, err := m.do(ctx, request{method: http.MethodPut, path: "auth/" + strings.Trim(auth.Mount, "/") + "/login", body: body})
	if err != nil {
		return "", 0, err
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return "", 0, fmt.Errorf("answer has no token: %w", mint.ErrInvalid)
	}
	return secret.Auth.ClientToken, time.Duration(secret.Auth.LeaseDuration) * time.Second, nil
}
