package brokertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func TestCallersBehindAProxy(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	id := spiffeid.RequireFromString(brokertest.Agent)
	as := func(audience string, from, to time.Duration) context.Context {
		now := h.Clock.Now()
		token, err := h.Authority.JWTSVID(id, []string{audience}, now.Add(from), now.Add(to))
		if err != nil {
			t.Fatal(err)
		}
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	}
	good := as(brokertest.Audience, -time.Second, time.Minute)
	list := &valetkeyv1.ListScopesRequest{}
	c := valetkeyv1.NewAgentServiceClient(h.DialJWT())
	if _, err := c.ListScopes(good, list); err != nil {
		t.Fatal(err)
	}
	_, err := c.ListScopes(as("vault", -time.Second, time.Minute), list)
	wantReason(t, err, codes.Unauthenticated, "WRONG_AUDIENCE")
	_, err = c.ListScopes(as(brokertest.Audience, -2*time.Hour, -time.Hour), list)
	wantReason(t, err, codes.Unauthenticated, "SVID_EXPIRED")
	_, err = c.ListScopes(t.Context(), list)
	wantReason(t, err, codes.Unauthenticated, "UNAUTHENTICATED")

	// On the mTLS listener a token counts for nothing: the SVID is who calls.
	db := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/database")
	_, err = db.ListScopes(good, list)
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
}
