package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// audience is what a JWT-SVID for the broker says.
const audience = "valetkeyd"

// TestBehindAProxy calls through a proxy that ends TLS, with JWT-SVIDs of a real
// SPIRE agent.
func TestBehindAProxy(t *testing.T) {
	const brief, unfit = "spiffe://example.org/agent/brief/s1", "spiffe://example.org/batch/nightly"
	w := newWorldWithoutVault(t)
	w.admit(t)
	for _, id := range []string{aliceID, operatorID, unfit} {
		w.spire.Entry(id, "unix:path:"+ourselves(t))
	}
	w.spire.EntryWith(brief, []string{"-jwtSVIDTTL", "5"}, "unix:path:"+ourselves(t))
	w.serve(t, "{method: token, token_file: /nonexistent}", "  jwt: {listen: 127.0.0.1:0, audience: "+audience+"}\n", "")
	c := w.throughProxy(t)
	list := func(ctx context.Context) error {
		_, err := c.Agent.ListScopes(ctx, &valetkeyv1.ListScopesRequest{})
		return err
	}

	t.Run("the right audience", func(t *testing.T) {
		ctx := bearing(t, w.token(t, aliceID, audience))
		task, err := c.Agent.OpenTask(ctx, &valetkeyv1.OpenTaskRequest{
			IdempotencyKey: valetkey.NewIdempotencyKey(), Purpose: "by token", Environment: "staging",
		})
		must(t, err)
		req := ask(task.GetTask().GetId())
		req.Scope = "s3-prefix-write"
		resp, err := c.Agent.RequestGrant(ctx, req)
		must(t, err)
		must(t, proven(resp.GetReceipt(), w.vkey))
		must(t, put(ctx, session(resp), "reports/by-token"))
		if err := put(ctx, session(resp), "other/by-token"); !denied(err) {
			t.Errorf("outside the prefix: %v, want AccessDenied", err)
		}
		raw, log := readLog(t, w.site, w.broker.log)
		recorded(t, resp.GetReceipt(), raw)
		if who := log[resp.GetReceipt().GetIndex()].Agent; who != aliceID {
			t.Errorf("the record says %q", who)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		other := func(domain, id string) string {
			a, err := devauthority.New(devauthority.Config{TrustDomain: domain})
			must(t, err)
			token, err := a.JWTSVID(spiffeid.RequireFromString(id), []string{audience}, time.Now(), time.Now().Add(time.Minute))
			must(t, err)
			return token
		}
		const stranger = "spiffe://other.example/agent/alice/s1"
		for name, r := range map[string]struct {
			ctx    context.Context
			reason valetkeyv1.ErrorReason
			agent  string // on the record: a name counts where its signature is good
		}{
			"another audience":      {bearing(t, w.token(t, aliceID, "vault")), valetkeyv1.ErrorReason_ERROR_REASON_WRONG_AUDIENCE, aliceID},
			"no token":              {t.Context(), valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED, ""},
			"no JWT":                {bearing(t, "x"), valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED, ""},
			"signed by nobody":      {bearing(t, other(trustDomain, aliceID)), valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED, ""},
			"another trust domain":  {bearing(t, other("other.example", stranger)), valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN, ""},
			"no agent":              {bearing(t, w.token(t, unfit, audience)), valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, unfit},
			"an operator, as agent": {bearing(t, w.token(t, operatorID, audience)), valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, operatorID},
		} {
			t.Run(name, func(t *testing.T) {
				_, before := readLog(t, w.site, w.broker.log)
				refused(t, list(r.ctx), r.reason)
				w.onRecord(t, len(before), r.reason, r.agent)
			})
		}
	})
	t.Run("an operator", func(t *testing.T) {
		ctx := bearing(t, w.token(t, operatorID, audience))
		_, err := c.Operator.ListGrants(ctx, &valetkeyv1.OperatorServiceListGrantsRequest{})
		refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED)
		// Nor beside a certificate, where a token counts for nothing.
		_, err = w.direct(t, aliceID).Operator.ListGrants(ctx, &valetkeyv1.OperatorServiceListGrantsRequest{})
		refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED)
		_, err = w.direct(t, operatorID).Operator.ListGrants(t.Context(), &valetkeyv1.OperatorServiceListGrantsRequest{})
		must(t, err)
	})
	t.Run("a token that ends", func(t *testing.T) {
		ctx := bearing(t, w.token(t, brief, audience))
		task, err := c.Agent.OpenTask(ctx, &valetkeyv1.OpenTaskRequest{
			IdempotencyKey: valetkey.NewIdempotencyKey(), Purpose: "by token", Environment: "staging",
		})
		must(t, err)
		req := ask(task.GetTask().GetId())
		req.Mint = false
		resp, err := c.Agent.RequestGrant(ctx, req)
		must(t, err)
		stream, err := c.Agent.WatchGrant(ctx, &valetkeyv1.WatchGrantRequest{GrantId: resp.GetGrant().GetId()})
		must(t, err)
		for err == nil { // the stream ends with the token
			_, err = stream.Recv()
		}
		if errors.Is(err, io.EOF) {
			t.Error("the stream ended as if the grant had")
		}
		refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_SVID_EXPIRED)
		_, before := readLog(t, w.site, w.broker.log)
		refused(t, list(ctx), valetkeyv1.ErrorReason_ERROR_REASON_SVID_EXPIRED)
		w.onRecord(t, len(before), valetkeyv1.ErrorReason_ERROR_REASON_SVID_EXPIRED, brief)
	})
	verify(t, w.site, w.broker.log)
}

// onRecord wants one refusal after the first records, and no other.
func (w *world) onRecord(t *testing.T, first int, reason valetkeyv1.ErrorReason, agent string) {
	t.Helper()
	_, log := readLog(t, w.site, w.broker.log)
	log = log[first:]
	if len(log) != 1 || log[0].Type != "refusal.recorded" || "ERROR_REASON_"+log[0].Reason != reason.String() || log[0].Agent != agent {
		t.Errorf("the record says %+v, want one refusal of %q by %v", log, agent, reason)
	}
}

// bearing is a call with a bearer token.
func bearing(t *testing.T, token string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
}

// token is a JWT-SVID that SPIRE's agent gives to this process.
func (w *world) token(t *testing.T, id, audience string) string {
	t.Helper()
	return tokenFrom(t, w.spire, id, audience)
}

func tokenFrom(t *testing.T, spire *servers.SPIREServer, id, audience string) string {
	t.Helper()
	var svid *jwtsvid.SVID
	eventually(t, 2*time.Minute, "SPIRE gives a JWT-SVID of "+id, func() (ok bool) {
		var err error
		svid, err = workloadapi.FetchJWTSVID(t.Context(),
			jwtsvid.Params{Audience: audience, Subject: spiffeid.RequireFromString(id)}, workloadapi.WithAddr(spire.WorkloadAPI()))
		return err == nil
	})
	return svid.Marshal()
}

// throughProxy is a client whose TLS ends at a proxy in front of the listener for
// tokens. The proxy holds the broker to its SPIFFE ID.
func (w *world) throughProxy(t *testing.T) *valetkey.Client {
	t.Helper()
	bundles, err := workloadapi.NewBundleSource(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(w.spire.WorkloadAPI())))
	must(t, err)
	t.Cleanup(func() { must(t, bundles.Close()) })
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: w.broker.jwt})
	// Not FlushInterval -1: it would send an answer's headers before it is known that
	// they are all of it, and gRPC takes an error without a body only in one frame.
	// An answer of unknown length is flushed anyway.
	proxy.Transport = &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: tlsconfig.TLSClientConfig(bundles, tlsconfig.AuthorizeID(spiffeid.RequireFromString(brokerID))),
	}
	srv := httptest.NewUnstartedServer(proxy)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return dialTLS(t, srv.Listener.Addr().String(), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
}

// direct is a client with an X.509-SVID, on the listener for those.
func (w *world) direct(t *testing.T, id string) *valetkey.Client {
	t.Helper()
	source, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(w.spire.WorkloadAPI())),
		workloadapi.WithDefaultX509SVIDPicker(func(svids []*x509svid.SVID) *x509svid.SVID {
			for _, svid := range svids {
				if svid.ID.String() == id {
					return svid
				}
			}
			return nil
		}))
	must(t, err)
	t.Cleanup(func() { must(t, source.Close()) })
	return dialTLS(t, w.broker.grpc, tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(spiffeid.RequireFromString(brokerID))))
}

func dialTLS(t *testing.T, address string, conf *tls.Config) *valetkey.Client {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	c, err := valetkey.New(t.Context(), valetkey.WithConn(conn), valetkey.WithoutReceiptChecks())
	must(t, err)
	return c
}
