package awssts_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" // MinIO names a role by it
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes/iam"
)

// discovery serves what MinIO asks of a SPIFFE trust domain's OIDC discovery provider.
func discovery(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	serve := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	serve("/.well-known/openid-configuration", map[string]any{
		"issuer": srv.URL, "jwks_uri": srv.URL + "/keys", "authorization_endpoint": srv.URL, "token_endpoint": srv.URL,
	})
	serve("/keys", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	return srv.URL
}

// TestMinIOWebIdentity mints with a JWT-SVID alone: no AWS key stands anywhere.
func TestMinIOWebIdentity(t *testing.T) {
	const audience = "minio"
	ctx := t.Context()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := discovery(t, key)
	minio := servers.MinIO(t,
		"MINIO_IDENTITY_OPENID_CONFIG_URL="+issuer+"/.well-known/openid-configuration",
		"MINIO_IDENTITY_OPENID_CLIENT_ID="+audience, "MINIO_IDENTITY_OPENID_CLIENT_SECRET="+rand.Text(),
		"MINIO_IDENTITY_OPENID_ROLE_POLICY=readwrite")
	root := s3Client(minio.Endpoint, minio.AccessKey, minio.SecretKey, "")
	minttest.Eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	role := sha1.Sum([]byte(audience))
	desk := minttest.NewDesk(t)
	m := newMinter(t, desk, minio.Endpoint, func(c *awssts.Config) {
		c.Dialect, c.Credentials, c.Timeout = iam.DialectMinIO, nil, 0
		c.RoleARN = "arn:minio:iam:::role/" + base64.RawURLEncoding.EncodeToString(role[:])
		c.WebIdentity = &awssts.WebIdentity{Audience: audience, Fetch: func(_ context.Context, aud string) (string, error) {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
			if err != nil {
				return "", err
			}
			return jwt.Signed(signer).Claims(jwt.Claims{
				Subject: "spiffe://example.org/valetkeyd", Issuer: issuer, Audience: jwt.Audience{aud},
				Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
			}).Serialize()
		}}
	})
	// Nothing would end it in time: a header beats the deadline, and there is no lease.
	if _, err := m.Mint(ctx, desk.Permit(minttest.Order(prefixPermissions(iam.DialectMinIO), 14*time.Minute))); !errors.Is(err, mint.ErrOutlives) || mint.Maybe(err) {
		t.Errorf("a session that outlives its order: %v", err)
	}
	cred, err := m.Mint(ctx, desk.Permit(minttest.Order(prefixPermissions(iam.DialectMinIO), 15*time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	sec := cred.Reveal().AWS
	c := s3Client(minio.Endpoint, sec.AccessKeyID, sec.SecretAccessKey, sec.SessionToken)
	if err := put(ctx, c, "a/one"); err != nil {
		t.Errorf("put in prefix: %v", err)
	}
	if put(ctx, c, "b/one") == nil {
		t.Error("put outside the prefix was allowed")
	}
	if outcome, err := m.Revoke(ctx, cred.Handle()); err != nil || outcome != mint.DeadlineOnly {
		t.Errorf("revoke: %v %v", outcome, err)
	}
	if late := cred.Handle().Ends().Sub(cred.ExpiresAt()); late < 0 || late > time.Minute {
		t.Errorf("it ends %v after its deadline", late)
	}
}
