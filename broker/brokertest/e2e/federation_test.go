package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const (
	partnerDomain = "partner.example"
	partnerID     = "spiffe://partner.example/agent/paula/s1"
	// rivalDomain is federated with, and not on the broker's list.
	rivalDomain = "rival.example"
	rivalID     = "spiffe://rival.example/agent/rudi/s1"
	// forgottenDomain is on the list, and nobody gave SPIRE its bundle.
	forgottenDomain = "forgotten.example"
)

// TestFederation has two real SPIRE servers that know each other's bundles. Who may
// call is the broker's list and not SPIRE's: a domain that is federated and not
// listed is refused by name.
func TestFederation(t *testing.T) {
	w := newWorldWithoutVault(t)
	partner := servers.SPIRE(t, partnerDomain)
	rival, err := devauthority.New(devauthority.Config{TrustDomain: rivalDomain, SocketDir: w.path("rival")})
	must(t, err)
	t.Cleanup(func() { must(t, rival.Close()) })

	// Bundles are exchanged as documents, as by hand.
	ours, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString(trustDomain), []byte(w.spire.Bundle()))
	must(t, err)
	theirs, err := rival.Bundle().Marshal()
	must(t, err)
	must(t, rival.Federate(ours))
	partner.Federate(trustDomain, w.spire.Bundle())
	w.spire.Federate(partnerDomain, partner.Bundle())
	w.spire.Federate(rivalDomain, string(theirs))
	w.admit(t, "-federatesWith", "spiffe://"+partnerDomain, "-federatesWith", "spiffe://"+rivalDomain)
	for _, caller := range []string{"paula", "rudi"} {
		w.programs[caller] = w.program(t, caller)
	}
	partner.EntryWith(partnerID, []string{"-federatesWith", "spiffe://" + trustDomain}, "unix:path:"+w.programs["paula"])
	const byToken = "spiffe://partner.example/agent/paula/s2"
	partner.Entry(byToken, "unix:path:"+ourselves(t))
	w.spire.Entry("spiffe://example.org/proxy", "unix:path:"+ourselves(t))
	must(t, rival.Serve(t.Context(), "rudi.sock", spiffeid.RequireFromString(rivalID)))
	rudi := "unix://" + w.path("rival/rudi.sock")

	w.write(t, "catalog/policies/partner.cedar", `@id("partner.write")
@reason("agents of the partner may write, too")
permit (principal, action == Valetkey::Action::"s3-prefix-write", resource)
when { principal.trust_domain == "`+partnerDomain+`" };
`)
	w.serve(t, "{method: token, token_file: /nonexistent}", "  jwt: {listen: 127.0.0.1:0, audience: "+audience+"}\n", "")
	t.Run("not on the list yet", func(t *testing.T) {
		out, code := w.callFrom(t, "paula", partner.WorkloadAPI(), "task", "open", "-e", "staging", "too early")
		w.refusedDomain(t, out, code, partnerID)
	})
	if code := w.broker.term(t); code != 0 {
		t.Errorf("after SIGTERM it exits %d", code)
	}
	w.edit(t, "valetkeyd.yaml", "trust_domains: ["+trustDomain+"]", "trust_domains: ["+trustDomain+", "+partnerDomain+", "+forgottenDomain+"]")
	w.start(t)

	t.Run("listed", func(t *testing.T) {
		ok := func(args ...string) string {
			out, code := w.callFrom(t, "paula", partner.WorkloadAPI(), args...)
			if code != 0 {
				t.Fatalf("valetkey %s exits %d: %s", args[0], code, out.stderr)
			}
			return strings.TrimSpace(out.stdout)
		}
		task := ok("task", "open", "-e", "staging", "the partner's")
		var resp valetkeyv1.RequestGrantResponse
		must(t, protojson.Unmarshal([]byte(ok("request", "s3-prefix-write", "bucket=prod", "prefix=partner/", "--task", task, "--mint", "-o", "json")), &resp))
		must(t, proven(resp.GetReceipt(), w.vkey))
		c := session(&resp)
		must(t, put(t.Context(), c, "partner/one"))
		if err := put(t.Context(), c, "other/two"); !denied(err) {
			t.Errorf("outside the prefix: %v, want AccessDenied", err)
		}
		_, log := readLog(t, w.site, w.broker.log)
		if who := log[resp.GetReceipt().GetIndex()].Agent; who != partnerID {
			t.Errorf("the record says %q", who)
		}
		// Each domain's agents are subject to their own policies, and see their own tasks.
		if out, code := w.callFrom(t, "paula", partner.WorkloadAPI(), "request", "s3-prefix-read", "bucket=prod", "prefix=a/", "--task", task); code != 3 || !strings.Contains(out.stderr, "DENIED") {
			t.Errorf("what policy gives to example.org alone: exit %d, %s", code, out.stderr)
		}
		if out, code := w.call(t, "alice", "request", "s3-prefix-write", "bucket=prod", "prefix=a/", "--task", task); code != 1 || !strings.Contains(out.stderr, "TASK_NOT_FOUND") {
			t.Errorf("another domain's task: exit %d, %s", code, out.stderr)
		}
		ok("release", resp.GetGrant().GetId())
		eventually(t, revocationLimit, "MinIO refuses the released session", func() bool { return forbidden(put(t.Context(), c, "partner/late")) })
	})
	t.Run("listed, by token", func(t *testing.T) {
		c := w.throughProxy(t)
		_, err := c.Agent.ListScopes(bearing(t, tokenFrom(t, partner, byToken, audience)), &valetkeyv1.ListScopesRequest{})
		must(t, err)
		forged, err := rival.JWTSVID(spiffeid.RequireFromString(byToken), []string{audience}, time.Now(), time.Now().Add(time.Minute))
		must(t, err)
		_, err = c.Agent.ListScopes(bearing(t, forged), &valetkeyv1.ListScopesRequest{})
		refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED)
	})
	t.Run("our own", func(t *testing.T) { w.ok(t, "alice", "task", "open", "-e", "staging", "ours") })
	t.Run("federated and not listed", func(t *testing.T) {
		out, code := w.callFrom(t, "rudi", rudi, "task", "open", "-e", "staging", "let me in")
		w.refusedDomain(t, out, code, rivalID)
	})
	for domain, says := range map[string]string{
		"unknown.example": "unknown trust domain", forgottenDomain: "a listed trust domain has no bundle: is federation set up?",
	} {
		t.Run("without a bundle: "+domain, func(t *testing.T) {
			stranger, err := devauthority.New(devauthority.Config{TrustDomain: domain, SocketDir: w.path(domain)})
			must(t, err)
			defer func() { must(t, stranger.Close()) }()
			must(t, stranger.Federate(ours))
			must(t, stranger.Serve(t.Context(), "s.sock", spiffeid.RequireFromString("spiffe://"+domain+"/agent/x/y")))
			_, before := readLog(t, w.site, w.broker.log)
			// Nothing verifies its certificate, so TLS does not let it through, and the
			// name that it gives itself is nobody's word: it is for the operator alone.
			out, code := w.callFrom(t, "rudi", "unix://"+w.path(domain+"/s.sock"), "--timeout", "5s", "task", "open", "-e", "staging", "let me in")
			if code != 1 || out.stdout != "" {
				t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
			}
			if _, after := readLog(t, w.site, w.broker.log); len(after) != len(before) {
				t.Errorf("it left %d records", len(after)-len(before))
			}
			if log := w.broker.errors(); !strings.Contains(log, says) || !strings.Contains(log, domain) {
				t.Errorf("the broker's log does not say %q of %s", says, domain)
			}
		})
	}
	verify(t, w.site, w.broker.log)
}

// refusedDomain wants the refusal of a trust domain, and its record as the newest.
func (w *world) refusedDomain(t *testing.T, out output, code int, id string) {
	t.Helper()
	if code != 3 || !strings.Contains(out.stderr, "UNKNOWN_TRUST_DOMAIN") || out.stdout != "" {
		t.Errorf("exits %d: %s%s; want 3, UNKNOWN_TRUST_DOMAIN", code, out.stdout, out.stderr)
	}
	_, log := readLog(t, w.site, w.broker.log)
	if last := log[len(log)-1]; last.Type != "refusal.recorded" || last.Reason != "UNKNOWN_TRUST_DOMAIN" || last.Agent != id {
		t.Errorf("the newest record is %+v, want the refusal of %s", last, id)
	}
}
