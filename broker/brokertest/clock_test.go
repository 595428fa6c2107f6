package brokertest_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes/iam"
)

// sts is an S3-compatible server's STS whose clock is right, and which looks at no
// signature: the worst case, since it mints for a broker whose clock is not.
type sts struct {
	url string

	mu    sync.Mutex
	asked int             // guarded by mu
	live  map[string]bool // by session name; guarded by mu
}

func newSTS(t *testing.T) *sts {
	t.Helper()
	s := &sts{live: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.Atoi(r.FormValue("DurationSeconds"))
		if err != nil {
			http.Error(w, "no duration", http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.asked++
		s.live[r.FormValue("RoleSessionName")] = true
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIA%s</AccessKeyId>`+
			`<SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			rand.Text(), rand.Text(), rand.Text(), time.Now().Add(time.Duration(seconds)*time.Second).UTC().Format(time.RFC3339))
	})
	mux.HandleFunc("POST /minio/admin/v3/revoke-tokens/builtin", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		delete(s.live, r.FormValue("tokenRevokeType"))
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *sts) state() (asked, live int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked, len(s.live)
}

// A broker whose clock is ten minutes off refuses with a reason that names the
// clocks, leaves nothing half done, and serves again once the clock is right.
func TestBrokersClockIsOff(t *testing.T) {
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			s := newSTS(t)
			h := brokertest.New(t, brokertest.Config{Dialect: iam.DialectMinIO, Minter: func(permits *mint.Verifier, clock *brokertest.Clock) mint.Minter {
				m, err := awssts.New(t.Context(), awssts.Config{
					Role: "s3", RoleARN: "arn:aws:iam::000000000000:role/test", Region: "us-east-1", Endpoint: s.url,
					Dialect: iam.DialectMinIO, Permits: permits, Now: clock.Now,
					Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "test", ""),
				})
				if err != nil {
					t.Fatal(err)
				}
				return m
			}})
			h.Clock.Add(off)
			id, real := spiffeid.RequireFromString(brokertest.Agent), time.Now()
			// connect calls with an SVID that holds from and to so long from now.
			connect := func(from, to time.Duration) valetkeyv1.AgentServiceClient {
				t.Helper()
				svid, err := h.Authority.X509SVID(id, real.Add(from), real.Add(to))
				if err != nil {
					t.Fatal(err)
				}
				src := h.Authority.Source(id)
				src.Fix(svid)
				return valetkeyv1.NewAgentServiceClient(h.DialFrom(src))
			}
			// An SVID of some minutes is out of its time by such a clock.
			_, err := connect(-time.Minute, 5*time.Minute).ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
			wantReason(t, err, codes.Unauthenticated, "SVID_EXPIRED")
			if err == nil || !strings.Contains(err.Error(), "clocks") {
				t.Errorf("it does not speak of clocks: %v", err)
			}
			wantRecord(t, h, "refusal.recorded", "SVID_EXPIRED")

			// With a longer one the call comes as far as STS, whose answer tells the time.
			c := connect(-time.Hour, time.Hour)
			task := openTask(t, c, "task-key-1")
			req := ask(task, "grant-key-1")
			req.Ttl = durationpb.New(20 * time.Minute)
			resp, err := c.RequestGrant(t.Context(), req)
			wantReason(t, err, codes.Unavailable, "UPSTREAM_INVALID")
			if err == nil || !strings.Contains(err.Error(), "clock") || resp.GetCredential() != nil {
				t.Errorf("it does not speak of clocks: %v", err)
			}
			wantRecord(t, h, "issuance.failed", "UPSTREAM_INVALID")
			brokertest.Eventually(t, "what STS minted is revoked, on the record", func() bool { return has(t, h, "revocation.concluded", "") })
			if asked, live := s.state(); asked != 1 || live != 0 {
				t.Errorf("%d sessions were minted, %d work", asked, live)
			}
			var grant string
			if err := h.Store.View(t.Context(), func(r store.Reader) error {
				open, err := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
				if err != nil || len(open) > 0 {
					t.Errorf("open intents: %+v", open)
				}
				gs, err := r.Grants(store.GrantFilter{TaskID: task})
				if len(gs) != 1 || gs[0].State != store.GrantCleared {
					t.Fatalf("grants %+v", gs)
				}
				grant = gs[0].ID
				return err
			}); err != nil {
				t.Fatal(err)
			}

			h.Clock.Add(-off) // somebody sets the clock
			minted, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: grant})
			if err != nil {
				t.Fatalf("after the clock was set: %v", err)
			}
			// The grant was asked for 20 minutes, by whatever clock.
			if life := time.Until(minted.GetCredential().GetExpiresAt().AsTime()); life > 20*time.Minute {
				t.Errorf("the credential lives for %v", life)
			}
			if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: task}); err != nil {
				t.Fatal(err)
			}
			brokertest.Eventually(t, "nothing works upstream", func() bool { _, live := s.state(); return live == 0 })
			if err := h.Key.Check(t.Context(), h.Store); err != nil {
				t.Error(err)
			}
		})
	}
}
