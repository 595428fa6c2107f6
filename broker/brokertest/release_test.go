package brokertest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// A release takes room of what can be revoked at all, so it costs a token: of a budget of its own,
// so that who has asked too often can still end what it has.
func TestReleaseCostsAToken(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 600, Burst: 20, CallsPerMinute: 1, CallBurst: 8}})
	c := h.AgentClient(brokertest.Agent)
	g, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	release := func() error {
		_, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g.GetGrant().GetId()})
		return err
	}
	for i := range 8 {
		if err := release(); err != nil {
			t.Fatalf("release %d: %v", i+1, err)
		}
	}
	wantReason(t, release(), codes.ResourceExhausted, "RATE_LIMITED")
	// An operator's revocation takes no token of the agent's.
	if _, err := h.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: g.GetGrant().GetId(), Cause: "test"}); err != nil {
		t.Fatal(err)
	}
}

// What an operator revokes is carried upstream as an operator's, and what an agent releases is not.
func TestOperatorsRevocationsAreUrgent(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	minted := func(key string) string {
		req := ask(task, key)
		req.Mint = true
		g, err := c.RequestGrant(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return g.GetGrant().GetId()
	}
	released, revoked := minted("grant-key-1"), minted("grant-key-2")
	if _, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: released}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: revoked, Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "both are revoked", func() bool { _, all := h.Minter.First(); return all == 2 })
	first, _ := h.Minter.First()
	if len(first) != 1 || mint.SessionPrefix(first[0]) == "" {
		t.Fatalf("revoked for an operator: %v", first)
	}
	for _, r := range h.Records() {
		if strings.Contains(r, `"issuance.issued"`) && strings.Contains(r, first[0]) && !strings.Contains(r, revoked) {
			t.Errorf("%s is not the revoked grant's", first[0])
		}
	}
}

// An operator's revocation waits for no release, also while the upstream answers none of those.
func TestOperatorsRevocationWaitsForNoRelease(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	stop := make(chan struct{})
	defer close(stop)
	h.Minter.Set(func(m *brokertest.Minter) {
		m.OnRevoke = func(one mint.Handle) error {
			if first, _ := m.First(); !slices.Contains(first, one.SessionName) {
				<-stop
			}
			return nil
		}
	})
	for i := range 12 { // more than are carried upstream at once
		req := ask(task, fmt.Sprintf("grant-key-%d", i))
		req.Mint = true
		g, err := c.RequestGrant(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if i < 11 {
			_, err = c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g.GetGrant().GetId()})
		} else {
			_, err = h.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: g.GetGrant().GetId(), Cause: "test"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	brokertest.Eventually(t, "the operator's is revoked", func() bool { _, all := h.Minter.First(); return all == 1 })
}

// All sessions of one agent begin alike, whatever its SPIFFE session, and no other agent's do.
func TestSessionsOfOneAgentBeginAlike(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	prefix := func(agent string) (out string) {
		c := h.AgentClient("spiffe://" + brokertest.TrustDomain + agent)
		task := openTask(t, c, "task-key-1")
		for i := range 2 {
			req := ask(task, fmt.Sprintf("grant-key-%d", i))
			req.Mint = true
			g, err := c.RequestGrant(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			session := ""
			for _, text := range h.Records() {
				var r ledger.Record
				if json.Unmarshal([]byte(text), &r) == nil && r.Grant == g.GetGrant().GetId() && r.Session != "" {
					session = r.Session
				}
			}
			p := mint.SessionPrefix(session)
			if p == "" || out != "" && p != out {
				t.Errorf("session %q of %s, the one before began with %q", session, agent, out)
			}
			out = p
		}
		return out
	}
	alice, again, bob := prefix("/agent/alice/s1"), prefix("/agent/alice/s2"), prefix("/agent/bob/s1")
	if alice != again || alice == bob {
		t.Errorf("alice %q, alice's other session %q, bob %q", alice, again, bob)
	}
}

// A secret that outlives its grant is refused under its own reason, and the record has its real end, or none where that is
// not known.
func TestOutlivingSecretOnTheRecord(t *testing.T) {
	for name, life := range map[string]time.Duration{"for three hours": 3 * time.Hour, "nobody knows how long": 0} {
		t.Run(name, func(t *testing.T) { outlivingOnTheRecord(t, life) })
	}
}

func outlivingOnTheRecord(t *testing.T, life time.Duration) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	var until time.Time
	if life > 0 {
		until = h.Clock.Now().Add(life).UTC().Truncate(time.Second)
	}
	told := func(r ledger.Record) bool {
		if life == 0 {
			return r.NotAfter == nil
		}
		return r.NotAfter != nil && r.NotAfter.Equal(until)
	}
	h.Minter.Set(func(m *brokertest.Minter) {
		m.Outcome = mint.DeadlineOnly
		m.AfterMint = func(o mint.Order) error {
			left := o.Handle(mint.ProviderVault)
			left.VaultRead, left.VaultLeaseID, left.VaultAccessor, left.NotAfter = "aws/creds/r", "aws/creds/r/1", "acc", until
			return mint.Left(&mint.OutlivesError{Why: "test", Until: until, Left: left})
		}
	})
	req := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	req.Mint = true
	got, err := c.RequestGrant(t.Context(), req)
	wantReason(t, err, codes.FailedPrecondition, "OUTLIVES_GRANT")
	if got.GetCredential() != nil {
		t.Error("it was delivered")
	}
	found := func(kind string, ok func(ledger.Record) bool) bool {
		for _, text := range h.Records() {
			var r ledger.Record
			if json.Unmarshal([]byte(text), &r) == nil && r.Type == kind && ok(r) {
				return true
			}
		}
		return false
	}
	if !found("issuance.failed", func(r ledger.Record) bool {
		return r.Reason == "OUTLIVES_GRANT" && told(r) && r.VaultLease == "aws/creds/r/1"
	}) {
		t.Errorf("no failed issuance with its end: %v", h.Records())
	}
	brokertest.Eventually(t, "the record says that only its deadline ends it, and when", func() bool {
		return found("revocation.concluded", func(r ledger.Record) bool {
			return r.Outcome == "deadline_only" && told(r)
		})
	})
}

// What a grant's answers can hand out beyond its end is on its records.
func TestOutlivingActionsAreOnTheRecord(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	h.Stop()
	for file, text := range map[string]string{
		"ecr-pull.yaml": "name: ecr-pull\ndescription: Of the test.\nprovider: aws\nrole: s3\nttl: {default: 5m, max: 15m}\noutlives: [ecr:GetAuthorizationToken]\n" +
			"statements: [{actions: [\"ecr:GetAuthorizationToken\"], resources: [\"*\"]}]\n",
		"policies/ecr.cedar":    "@id(\"test.ecr\")\n@reason(\"the test\")\npermit (principal, action == Valetkey::Action::\"ecr-pull\", resource);\n",
		"ceilings/s3-role.json": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(h.Catalog, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.Start()
	c := h.AgentClient(brokertest.Agent)
	req := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	req.Scope, req.Parameters = "ecr-pull", nil
	got, err := c.RequestGrant(t.Context(), req)
	if got.GetGrant().GetId() == "" && err == nil {
		t.Fatal("no grant")
	}
	n := 0
	for _, text := range h.Records() {
		var r ledger.Record
		if json.Unmarshal([]byte(text), &r) == nil && strings.HasPrefix(r.Scope, "ecr-pull@") {
			n++
			if len(r.Outlives) != 1 || !strings.HasPrefix(r.Outlives[0], "ecr:GetAuthorizationToken: ") {
				t.Errorf("%s: outlives %v", r.Type, r.Outlives)
			}
		}
	}
	if n == 0 {
		t.Errorf("the grant is on no record: %v", err)
	}
}
