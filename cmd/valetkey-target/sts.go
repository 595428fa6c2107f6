package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/versity/versitygw/iamapi/iamerr"
	"github.com/versity/versitygw/iamapi/policy"
	"github.com/versity/versitygw/iamapi/storage"
	"github.com/versity/versitygw/iamapi/types"
)

// AWS's limits (API reference, AssumeRoleWithWebIdentity).
const (
	stsVersion      = "2011-06-15"
	minDuration     = 900
	maxDuration     = 43200
	defaultDuration = 3600
	maxToken        = 20000
	// maxForm holds the longest token and policy there may be.
	maxForm = 64 << 10
)

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// understood are all parameters that a request may have. AWS's others (PolicyArns, ProviderId) would limit a session, or
// say where its token is from: to take and forget them would be to give more than was asked for.
var understood = []string{"Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken", "Policy", "DurationSeconds"}

// front is the STS: it answers AssumeRoleWithWebIdentity, by web identities of the one provider. Safe for concurrent use.
type front struct {
	store storage.Storer
	cfg   config
	log   *slog.Logger
	now   func() time.Time
}

// ServeHTTP answers one call in STS's own XML.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("X-Amzn-Requestid", id)
	answer, err := f.answer(w, r)
	if err == nil {
		answer.SetRequestID(id)
		var body []byte
		if body, err = xml.Marshal(answer); err == nil {
			_, _ = io.WriteString(w, xml.Header+string(body)) // the caller is gone; nothing to tell it
			return
		}
	}
	var refused iamerr.Error
	if !errors.As(err, &refused) {
		f.log.ErrorContext(r.Context(), "answering an STS call", slog.Any("error", err))
		refused = iamerr.GetAPIError(iamerr.ErrInternalFailure)
	}
	if errors.As(iamerr.WithNamespace(refused, iamerr.STSNamespace), &refused) {
		w.WriteHeader(refused.StatusCode())
		_, _ = w.Write(refused.XMLBody(id))
	}
}

func (f *front) answer(w http.ResponseWriter, r *http.Request) (*types.AssumeRoleWithWebIdentityResponse, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.Method != http.MethodPost || r.ParseForm() != nil || r.URL.RawQuery != "" {
		return nil, iamerr.MalformedInput()
	}
	form := r.PostForm
	if action, version := form.Get("Action"), form.Get("Version"); action != "AssumeRoleWithWebIdentity" || version != stsVersion {
		return nil, iamerr.InvalidAction(action, version)
	}
	for name, values := range form {
		if !slices.Contains(understood, name) || len(values) != 1 {
			return nil, iamerr.UnsupportedParameter(name)
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil, fmt.Errorf("reading a caller's address: %w", err)
	}
	return f.assume(r.Context(), form, host)
}

// assume makes the session. It looks at the token before the role: who has none learns nothing about roles.
func (f *front) assume(ctx context.Context, form url.Values, from string) (*types.AssumeRoleWithWebIdentityResponse, error) {
	arn, name, doc := form.Get("RoleArn"), form.Get("RoleSessionName"), form.Get("Policy")
	switch {
	case arn == "":
		return nil, iamerr.MissingValue("roleArn")
	case !sessionName.MatchString(name):
		return nil, iamerr.InvalidRoleSessionName(name)
	}
	seconds, err := duration(form.Get("DurationSeconds"))
	if err != nil {
		return nil, err
	}
	if err := sessionPolicy(form, doc); err != nil {
		return nil, err
	}
	now := f.now().UTC().Truncate(time.Second)
	who, err := f.verify(form.Get("WebIdentityToken"), now)
	if err != nil {
		return nil, err
	}
	role, provider, err := f.trusted(ctx, arn, who, policy.WebIdentityContext{
		ProviderURL: f.cfg.provider(), Audience: who.Audience[0], Subject: who.ID.String(), SourceIP: from, Now: now, RoleSessionName: name,
	})
	if err != nil {
		return nil, err
	}
	if role.MaxSessionDuration > 0 && seconds > role.MaxSessionDuration {
		return nil, iamerr.DurationExceedsMaxSessionDuration()
	}
	s, err := f.store.CreateSession(ctx, types.Session{
		AccessKeyId: "ASIA" + rand.Text()[:16], SecretAccessKey: secret(30), SessionToken: secret(96),
		RoleArn: role.Arn, RoleName: role.RoleName, RoleID: role.RoleID, RoleSessionName: name,
		Provider: provider, Audience: who.Audience[0], Subject: who.ID.String(),
		CreateDate: now, Expiration: now.Add(time.Duration(seconds) * time.Second), Policy: doc,
	})
	if err != nil {
		return nil, err
	}
	return &types.AssumeRoleWithWebIdentityResponse{Result: types.AssumeRoleWithWebIdentityResult{
		Audience: s.Audience, Provider: f.cfg.Issuer, SubjectFromWebIdentityToken: s.Subject,
		AssumedRoleUser: types.AssumedRoleUser{
			AssumedRoleId: s.RoleID + ":" + name, Arn: "arn:aws:sts::" + account + ":assumed-role/" + s.RoleName + "/" + name,
		},
		Credentials: types.Credentials{
			AccessKeyId: s.AccessKeyId, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken, Expiration: s.Expiration,
		},
	}}, nil
}

func duration(text string) (int32, error) {
	if text == "" {
		return defaultDuration, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil:
		return 0, iamerr.MalformedInput()
	case n < minDuration:
		return 0, iamerr.DurationSecondsTooLow(text)
	case n > maxDuration:
		return 0, iamerr.DurationSecondsTooHigh(text)
	}
	return int32(n), nil
}

// sessionPolicy refuses what versitygw would refuse, and an empty one: it would be no limit at all.
func sessionPolicy(form url.Values, doc string) error {
	switch {
	case !form.Has("Policy"):
		return nil
	case doc == "":
		return iamerr.MissingValue("policy")
	case len(doc) > policy.MaxSessionPolicyBytes:
		return iamerr.ValueTooLong("policy", policy.MaxSessionPolicyBytes)
	}
	if err := policy.Validate("policy", doc); err != nil {
		return err
	}
	return policy.Parse(doc)
}

// verify is law 2's part on the token: signature, life, one audience, issuer.
func (f *front) verify(token string, now time.Time) (*jwtsvid.SVID, error) {
	switch {
	case token == "":
		return nil, iamerr.MissingValue("webIdentityToken")
	case len(token) > maxToken:
		return nil, iamerr.ValueTooLong("webIdentityToken", maxToken)
	}
	who, err := jwtsvid.ParseAndValidate(token, f.cfg.bundle, []string{f.cfg.Audience})
	if err != nil {
		return nil, whyNot(token, now)
	}
	if iss, ok := who.Claims["iss"].(string); !ok || iss != f.cfg.Issuer {
		return nil, iamerr.InvalidIdentityTokenClaims()
	}
	if _, ok := who.Claims["iat"].(float64); !ok {
		return nil, iamerr.InvalidIdentityTokenMissingClaim("iat")
	}
	if len(who.Audience) != 1 {
		return nil, iamerr.InvalidIdentityTokenMultipleAudiences()
	}
	return who, nil
}

// whyNot tells a token that is over, and one that is none, from the rest that does not verify.
func whyNot(token string, now time.Time) error {
	var claims jwt.Claims
	t, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512})
	if err != nil || t.UnsafeClaimsWithoutVerification(&claims) != nil {
		return iamerr.InvalidIdentityTokenMalformed()
	}
	if claims.Expiry != nil && claims.Expiry.Time().Before(now) {
		return iamerr.ExpiredWebIdentityToken(now.Unix(), claims.Expiry.Time().Unix())
	}
	return iamerr.InvalidIdentityTokenClaims()
}

// trusted is the role of that very ARN, where its trust policy, by versitygw's own evaluation, lets the caller take it on.
func (f *front) trusted(ctx context.Context, arn string, who *jwtsvid.SVID, in policy.WebIdentityContext) (*types.Role, string, error) {
	refused := iamerr.AccessDeniedAssumeRoleWithWebIdentity() // the same for a role that is not there
	role, err := f.store.GetRole(ctx, arn[strings.LastIndex(arn, "/")+1:])
	switch {
	case absent(err) || err == nil && role.Arn != arn:
		return nil, "", refused
	case err != nil:
		return nil, "", err
	}
	lookup := func(federated string) (string, bool) {
		p, err := f.store.GetOIDCProvider(ctx, federated)
		if err != nil || !slices.Contains(p.ClientIDList, who.Audience[0]) {
			return "", false
		}
		return p.Url, true
	}
	switch match, provider := policy.EvaluateWebIdentityTrust(role.AssumeRolePolicyDocument, lookup, in); match {
	case policy.Allowed:
		return role, provider, nil
	case policy.NoIssuerMatch, policy.ConditionFailed:
		return nil, "", iamerr.InvalidIdentityTokenClaims()
	default:
		return nil, "", refused
	}
}

// secret is n random bytes as text.
func secret(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
