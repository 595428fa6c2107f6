package awssts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
	"github.com/valetkey/valetkey/scopes/iam"
)

// maxBody bounds what is read of an answer to a revocation.
const maxBody = 64 << 10

// revokeType adds MinIO's form field that names the lease, so that it alone can be ended.
func revokeType(lease string) middleware.BuildMiddleware {
	return middleware.BuildMiddlewareFunc("valetkeyTokenRevokeType", func(
		ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
	) (middleware.BuildOutput, middleware.Metadata, error) {
		req, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("naming lease: unexpected request type %T", in.Request)
		}
		form, err := io.ReadAll(req.GetStream())
		if err != nil {
			return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("naming lease: reading form: %w", err)
		}
		form = append(form, "&TokenRevokeType="+url.QueryEscape(lease)...)
		if req, err = req.SetStream(bytes.NewReader(form)); err != nil {
			return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("naming lease: writing form: %w", err)
		}
		in.Request = req
		return next.HandleBuild(ctx, in)
	})
}

// Revoke implements mint.Minter. MinIO ends the one lease at once. AWS has no call for
// one session: it takes an entry in the role's policy, which needs Config.RoleDeny. What has
// neither, as a web identity of ours has not, ends at its deadline.
func (m *Minter) Revoke(ctx context.Context, h mint.Handle) (mint.RevokeOutcome, error) {
	return m.revoke(ctx, h, false)
}

// RevokeFirst implements mint.Urgent: there is room in a role's policy for it that no release takes.
func (m *Minter) RevokeFirst(ctx context.Context, h mint.Handle) (mint.RevokeOutcome, error) {
	return m.revoke(ctx, h, true)
}

func (m *Minter) revoke(ctx context.Context, h mint.Handle, urgent bool) (mint.RevokeOutcome, error) {
	if m.deny != nil {
		outcome, err := m.deny.revoke(ctx, h, urgent)
		if err != nil {
			return mint.RevokeUnspecified, fmt.Errorf("denying session of role %q: %w", m.cfg.Role, err)
		}
		return outcome, nil
	}
	if m.cfg.Dialect != iam.DialectMinIO || m.cred == nil {
		return mint.DeadlineOnly, nil
	}
	if h.LeaseTag == "" {
		return mint.RevokeUnspecified, fmt.Errorf("revoking session of role %q: no lease tag: %w", m.cfg.Role, mint.ErrRefused)
	}
	outcome := mint.RevokeUnspecified
	err := m.up.Do(ctx, func(ctx context.Context) error {
		var err error
		outcome, err = m.revokeLease(ctx, h.LeaseTag)
		return err
	})
	if err != nil {
		return mint.RevokeUnspecified, fmt.Errorf("revoking session of role %q: %w", m.cfg.Role, err)
	}
	return outcome, nil
}

func (m *Minter) revokeLease(ctx context.Context, lease string) (mint.RevokeOutcome, error) {
	creds, err := m.cred.Retrieve(ctx)
	if err != nil {
		return 0, upstream.NoOwn(ctx, "AWS credentials")
	}
	target := strings.TrimSuffix(m.cfg.Endpoint, "/") + "/minio/admin/v3/revoke-tokens/builtin?" +
		url.Values{"user": {creds.AccessKeyID}, "tokenRevokeType": {lease}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("building revocation: %w: %w", mint.ErrRefused, err)
	}
	empty := sha256.Sum256(nil)
	hash := hex.EncodeToString(empty[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hash, "s3", m.cfg.Region, m.cfg.Now()); err != nil {
		return 0, fmt.Errorf("signing revocation: %w", mint.ErrUnavailable)
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return 0, upstream.Unanswered(ctx, "the server", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return revoked(resp.StatusCode, body)
}

func revoked(status int, body []byte) (mint.RevokeOutcome, error) {
	switch {
	case status == http.StatusOK || status == http.StatusNoContent:
		return mint.RevokedUpstream, nil
	case status >= 500 && status != http.StatusNotImplemented || status == http.StatusTooManyRequests:
		return 0, fmt.Errorf("server answered %d: %w", status, mint.ErrUnavailable)
	}
	var named struct{ Code string }
	_ = json.Unmarshal(body, &named)
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		// A server that has no such call answers without one of MinIO's own codes.
		if !strings.HasPrefix(named.Code, "XMinio") {
			return mint.DeadlineOnly, nil
		}
	}
	if !code.MatchString(named.Code) {
		named.Code = "unnamed error"
	}
	return 0, fmt.Errorf("server answered %d %s: %w", status, named.Code, mint.ErrRefused)
}
