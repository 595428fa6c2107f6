package e2e_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/vault/api"
)

const (
	aliceInVault   = "spiffe://example.org/agent/alice/vault"
	malloryInVault = "spiffe://example.org/agent/mallory/laptop"

	// svidLimit is how long the end of an SVID, and SPIRE's and the plugin's news of
	// one another, may take.
	svidLimit = 40 * time.Second
)

// TestPluginWithSPIRE has the plugin in a real Vault get its SVIDs from a real SPIRE,
// and follows them through their lives: renewed, taken back, given again, gone
// with the agent and back with it. What it gives out meanwhile, MinIO enforces.
func TestPluginWithSPIRE(t *testing.T) {
	p := newPluginWorld(t)
	alice, mallory := p.login(t, "alice", "vault"), p.login(t, "mallory", "laptop")

	t.Run("a credential", func(t *testing.T) {
		s, err := reports(t, alice, "valetkey")
		must(t, err)
		p.enforced(t, s)
		p.endLease(t, s)
		_, log := readLog(t, p.site, p.broker.log)
		if n := count(log, func(e entry) bool {
			return e.Type == "issuance.issued" && e.Agent == aliceInVault && e.Delegate == pluginID
		}); n != 1 {
			t.Errorf("%d issuances on the record name alice and the plugin, want 1", n)
		}
	})
	t.Run("an agent that is not on the list", func(t *testing.T) {
		_, err := reports(t, mallory, "valetkey")
		answered(t, err, http.StatusForbidden, "CALLER_NOT_ALLOWED", "list the agent's path under the delegate")
		_, log := readLog(t, p.site, p.broker.log)
		if last := log[len(log)-1]; last.Type != "refusal.recorded" || last.Agent != malloryInVault || last.Delegate != pluginID || last.Reason != "CALLER_NOT_ALLOWED" {
			t.Errorf("the newest record is %+v, want the refusal of mallory by the plugin", last)
		}
	})

	// The second process loses its entry while the first is watched.
	must(t, listed(t, alice, "second"))
	p.spire.DeleteEntry(secondPlugin)
	t.Run("renewed", func(t *testing.T) { p.renewed(t, alice) })
	t.Run("entry deleted", func(t *testing.T) { p.deleted(t, alice) })
	t.Run("agent gone, and back", func(t *testing.T) { p.agentGone(t, alice) })
	verify(t, p.site, p.broker.log)
}

// renewed has SVIDs follow each other until the first is over, and no call fail.
func (p *pluginWorld) renewed(t *testing.T, alice *api.Client) {
	t.Helper()
	before, err := reports(t, alice, "valetkey")
	must(t, err)
	first := p.shown(t, alice, "valetkey")
	next := first
	eventually(t, svidLimit, "the plugin has another SVID, and the first is over", func() bool {
		must(t, listed(t, alice, "valetkey"))
		next = p.shown(t, alice, "valetkey")
		return next.SerialNumber.Cmp(first.SerialNumber) != 0 && time.Now().After(first.NotAfter)
	})
	if !next.NotAfter.After(first.NotAfter) {
		t.Errorf("the second SVID ends at %v, the first at %v", next.NotAfter, first.NotAfter)
	}
	after, err := reports(t, alice, "valetkey")
	must(t, err)
	p.enforced(t, after)
	for _, s := range []*api.Secret{before, after} {
		p.endLease(t, s)
	}
}

// deleted is a process whose entry was deleted, and which gets another.
func (p *pluginWorld) deleted(t *testing.T, alice *api.Client) {
	t.Helper()
	eventually(t, svidLimit, "without an entry the last SVID is over", func() bool { return listed(t, alice, "second") != nil })
	p.mintsNothing(t, alice, "second", "that of "+pluginID+" ended at", p.spire.WorkloadAPI())
	// A mount that has had none yet asks for its first.
	answered(t, listed(t, alice, "second-witness"), http.StatusBadGateway, "tell Vault's operator", "no identity issued")
	must(t, listed(t, alice, "valetkey")) // the other process goes on
	p.enter(secondPlugin)
	eventually(t, svidLimit, "with a new entry it works again", func() bool { return listed(t, alice, "second") == nil })
	s, err := reports(t, alice, "second")
	must(t, err)
	p.endLease(t, s)
}

// agentGone lives on the last SVID, to its end, and on the next when the agent is back.
func (p *pluginWorld) agentGone(t *testing.T, alice *api.Client) {
	t.Helper()
	p.spire.StopAgent()
	last := p.shown(t, alice, "valetkey")
	s, err := reports(t, alice, "valetkey")
	must(t, err)
	p.enforced(t, s)
	var over time.Time
	eventually(t, svidLimit, "without an agent the last SVID is over", func() bool {
		over = time.Now()
		return listed(t, alice, "valetkey") != nil
	})
	if over.Before(last.NotAfter.Add(-time.Second)) {
		t.Errorf("it stopped %v before its SVID ended", last.NotAfter.Sub(over))
	}
	p.mintsNothing(t, alice, "valetkey", "ended at "+last.NotAfter.Format(time.RFC3339), p.spire.WorkloadAPI())
	must(t, get(t, leased(s), "reports/one")) // what was minted before lives on
	p.spire.StartAgent()
	eventually(t, svidLimit, "with the agent back it works again", func() bool { return listed(t, alice, "valetkey") == nil })
	p.endLease(t, s)
}

// mintsNothing is what a process says, and does, without an SVID that is good.
func (p *pluginWorld) mintsNothing(t *testing.T, alice *api.Client, mount string, says ...string) {
	t.Helper()
	_, before := readLog(t, p.site, p.broker.log)
	_, err := reports(t, alice, mount)
	answered(t, err, http.StatusBadGateway, append(says, "nothing was asked of the broker", "tell Vault's operator")...)
	if _, after := readLog(t, p.site, p.broker.log); len(after) != len(before) {
		t.Errorf("without an SVID there are more records: %+v", after[len(before):])
	}
}

// reports reads the credential that the test is about.
func reports(t *testing.T, c *api.Client, mount string) (*api.Secret, error) {
	t.Helper()
	return c.Logical().ReadWithDataWithContext(t.Context(), mount+"/creds/s3-prefix-read",
		map[string][]string{"bucket": {"prod"}, "prefix": {"reports/"}, "purpose": {"weekly report"}})
}

// listed is whether the plugin and the broker talk; nothing is minted.
func listed(t *testing.T, c *api.Client, mount string) error {
	t.Helper()
	_, err := c.Logical().ListWithContext(t.Context(), mount+"/scopes")
	return err
}

// leased is an S3 client with what Vault gave.
func leased(s *api.Secret) *s3.Client {
	text := func(name string) string {
		v, _ := s.Data[name].(string)
		return v
	}
	return s3Client(text("endpoint"), text("access_key"), text("secret_key"), text("security_token"))
}

func get(t *testing.T, c *s3.Client, key string) error {
	t.Helper()
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String(key)})
	if err == nil {
		err = out.Body.Close()
	}
	return err
}

// enforced holds the credential against MinIO.
func (p *pluginWorld) enforced(t *testing.T, s *api.Secret) {
	t.Helper()
	c := leased(s)
	must(t, get(t, c, "reports/one"))
	for what, err := range map[string]error{"get elsewhere": get(t, c, "other/one"), "put": put(t.Context(), c, "reports/two")} {
		if !denied(err) {
			t.Errorf("%s: got %v, want AccessDenied", what, err)
		}
	}
}

// endLease is "vault lease revoke -sync", and MinIO's answer to what was leased.
func (p *pluginWorld) endLease(t *testing.T, s *api.Secret) {
	t.Helper()
	p.set(t, "sys/leases/revoke", map[string]any{"lease_id": s.LeaseID, "sync": true})
	grant, _ := s.Data["grant"].(string)
	eventually(t, revocationLimit, "the record says that the session was revoked upstream", func() bool {
		_, log := readLog(t, p.site, p.broker.log)
		return count(log, func(e entry) bool {
			return e.Type == "revocation.concluded" && e.Grant == grant && e.Outcome == "revoked_upstream"
		}) == 1
	})
	if err := put(t.Context(), leased(s), "reports/late"); !forbidden(err) || denied(err) {
		t.Errorf("MinIO answers what was revoked with %v", err)
	}
}

// answered wants an answer of Vault's with this code that says all of these.
func answered(t *testing.T, err error, code int, says ...string) {
	t.Helper()
	var answer *api.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != code {
		t.Errorf("got %v, want an answer of %d", err, code)
		return
	}
	for _, text := range says {
		if !strings.Contains(answer.Error(), text) {
			t.Errorf("it says %q, want %q in it", answer.Error(), text)
		}
	}
}
