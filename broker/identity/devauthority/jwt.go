package devauthority

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// JWTSVID makes a JWT-SVID (ES256) for any ID and time, as X509SVID does.
func (a *Authority) JWTSVID(id spiffeid.ID, audience []string, issuedAt, expiresAt time.Time) (string, error) {
	token, err := a.signJWT(id, audience, issuedAt, expiresAt)
	if err != nil {
		return "", fmt.Errorf("making JWT-SVID for %q: %w", id, err)
	}
	return token, nil
}

func (a *Authority) signJWT(id spiffeid.ID, audience []string, issuedAt, expiresAt time.Time) (string, error) {
	switch {
	case id.IsZero():
		return "", errors.New("the SPIFFE ID is empty")
	case len(audience) == 0:
		return "", errors.New("no audience")
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: a.jwtKey, KeyID: a.jwtKID}},
		new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Subject:  id.String(),
		Issuer:   a.cfg.JWTIssuer,
		Audience: audience,
		IssuedAt: jwt.NewNumericDate(issuedAt),
		Expiry:   jwt.NewNumericDate(expiresAt),
	}).Serialize()
}

func (a *Authority) freshJWT(id spiffeid.ID, audience []string) (string, error) {
	now := a.cfg.Now()
	return a.JWTSVID(id, audience, now, now.Add(a.cfg.JWTTTL))
}

// OIDCHandler serves OpenID discovery and the key set, so that an STS can take
// JWT-SVIDs as web identities. Serve it at Config.JWTIssuer, which is required.
func (a *Authority) OIDCHandler() (http.Handler, error) {
	if a.cfg.JWTIssuer == "" {
		return nil, errors.New("serving OIDC discovery: the authority has no JWTIssuer")
	}
	issuer := strings.TrimSuffix(a.cfg.JWTIssuer, "/")
	discovery, err := json.Marshal(map[string]any{
		"issuer":                                a.cfg.JWTIssuer,
		"jwks_uri":                              issuer + "/keys",
		"authorization_endpoint":                issuer + "/none",
		"token_endpoint":                        issuer + "/none",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.ES256)},
	})
	if err != nil {
		return nil, fmt.Errorf("serving OIDC discovery: %w", err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: a.jwtKey.Public(), KeyID: a.jwtKID, Algorithm: string(jose.ES256), Use: "sig"},
	}})
	if err != nil {
		return nil, fmt.Errorf("serving OIDC discovery: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", serveJSON(discovery))
	mux.HandleFunc("GET /keys", serveJSON(keys))
	return mux, nil
}

func serveJSON(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the reader is gone; nothing to tell it
	}
}
