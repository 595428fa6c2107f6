package brokertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func TestCallersBehindAProxy(t *testing.T) {
	h := brokertest.New(t, withDelegate(guard.Config{}))
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

	// A token makes nobody more than an agent, and a delegate nobody at all.
	for _, more := range []string{brokertest.Operator, delegate} {
		id = spiffeid.RequireFromString(more)
		_, err = c.ListScopes(as(brokertest.Audience, -time.Second, time.Minute), list)
		wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
		_, err = c.ListScopes(metadata.AppendToOutgoingContext(as(brokertest.Audience, -time.Second, time.Minute), valetkeyv1.OnBehalfOfAgent, brokertest.Agent), list)
		wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	}

	// On the mTLS listener a token counts for nothing: the SVID is who calls.
	db := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/database")
	_, err = db.ListScopes(good, list)
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
}
