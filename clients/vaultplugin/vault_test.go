package vaultplugin_test

import (
	"strings"
	"testing"
)

// TestRead is the whole way: enable, configure, read, use, revoke.
func TestRead(t *testing.T) {
	w := newWorld(t, nil)
	w.enable(t, "valetkey", nil)
	alice := w.login(t, "alice")
	s := creds(t, alice)
	if s.LeaseID == "" || !s.Renewable || s.LeaseDuration < 14*60 || s.LeaseDuration > 15*60 {
		t.Errorf("lease %q of %d s, renewable %v", s.LeaseID, s.LeaseDuration, s.Renewable)
	}
	if s.Data["agent"] != aliceID {
		t.Errorf("the agent is %v", s.Data["agent"])
	}
	must(t, get(t.Context(), session(s), "reports/one"))
	if err := get(t.Context(), session(s), "other/one"); !forbidden(err) {
		t.Errorf("outside the prefix: %v", err)
	}
	_, err := w.root.Logical().WriteWithContext(t.Context(), "sys/leases/revoke", map[string]any{"lease_id": s.LeaseID, "sync": true})
	must(t, err)
	eventually(t, endLimit, "MinIO refuses a session whose lease was revoked", func() bool {
		return forbidden(get(t.Context(), session(s), "reports/one"))
	})
	for _, r := range w.Records() {
		if strings.Contains(r, `"issuance.issued"`) && (!strings.Contains(r, `"agent_spiffe_id":"`+aliceID) || !strings.Contains(r, `"delegate_spiffe_id":"`+delegateID)) {
			t.Errorf("a record does not name both: %s", r)
		}
	}
}
