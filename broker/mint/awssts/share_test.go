package awssts_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
)

// agentOf is what the user ids of an agent's sessions begin with.
func agentOf(h mint.Handle) string {
	user := userOf(h)
	return user[:strings.LastIndex(user, "-")+1]
}

// One agent that ends many sessions takes nobody's room, and cuts nobody but itself.
func TestOneAgentFillsThePolicy(t *testing.T) {
	f := newFakeIAM(t)
	m, log := denyMinter(t, f, nil)
	other := aHandle(5 * time.Minute)
	mustDeny(t, m, other)
	var greedy []mint.Handle
	cut := 0
	for i := range 400 {
		h := handleOf("greedy", 5*time.Minute)
		greedy = append(greedy, h)
		outcome, err := m.Revoke(t.Context(), h)
		if err != nil || outcome != mint.RoleDeny && outcome != mint.AgentCut {
			t.Fatalf("release %d: %v %v", i+1, outcome, err)
		}
		if outcome == mint.AgentCut {
			cut++
		}
		if i%50 == 49 { // whatever it does, another agent's fits as one entry
			mustDeny(t, m, aHandle(5*time.Minute))
		}
	}
	if cut < 2 || cut > 5 {
		t.Errorf("%d cuts for 400 releases", cut)
	}
	if got := f.cutAgents(t, denyPolicy); !slices.Equal(got, []string{agentOf(greedy[0]) + "*"}) {
		t.Errorf("cut: %v", got)
	}
	denied := f.denied(t, denyPolicy)
	if !slices.Contains(denied, userOf(other)) || len(f.policy(denyPolicy)) > 10240-2048 {
		t.Errorf("%d characters, the other agent's entry there: %v", len(f.policy(denyPolicy)), slices.Contains(denied, userOf(other)))
	}
	if n := strings.Count(log.String(), "all sessions of an agent were cut"); n != cut {
		t.Errorf("%d cuts in the log", n)
	}
	// A session that was ordered after the cut gets an entry of its own, and a broker that starts
	// anew reads all of it.
	fresh := handleOf("greedy", 5*time.Minute)
	again, _ := denyMinter(t, f, nil)
	mustDeny(t, again, fresh)
	if !slices.Contains(f.denied(t, denyPolicy), userOf(fresh)) || len(f.cutAgents(t, denyPolicy)) != 1 {
		t.Errorf("after a restart: %s", f.policy(denyPolicy))
	}
	// One that was ordered well before it needs none.
	old := handleOf("greedy", 5*time.Minute)
	old.IssuedAt = time.Now().Add(-10 * time.Minute)
	writes := f.count("PutRolePolicy")
	if outcome, err := again.Revoke(t.Context(), old); err != nil || outcome != mint.AgentCut || f.count("PutRolePolicy") != writes {
		t.Errorf("a session of before the cut: %v %v", outcome, err)
	}
}

// Operators' revocations fit when nothing of the agents' does, also in the one pass with them.
func TestOperatorsGoFirst(t *testing.T) {
	for _, listed := range []bool{true, false} {
		f := newFakeIAM(t)
		f.unlisted = !listed
		m, _ := denyMinter(t, f, nil)
		if _, _, outcome, err := fill(t, m); outcome != mint.RevokeUnspecified || !errors.Is(err, mint.ErrRefused) {
			t.Fatalf("got %v %v", outcome, err)
		}
		for i := range 30 { // at once, though the broker leaves the role alone for agents' now
			if outcome, err := first(t, m, aHandle(5*time.Minute)); err != nil || outcome != mint.RoleDeny {
				t.Fatalf("operator's %d: %v %v", i+1, outcome, err)
			}
		}
		r, known := m.Room()
		if !known || r.Left() != 0 || r.Reserved != 2048 || r.Exact != listed || r.Used != len(f.policy(denyPolicy)) || r.Limit-r.Used > 400 {
			t.Errorf("room: %+v %v", r, known)
		}
	}
}

// Many operators' revocations of few agents fit always: the agents' entries go together.
func TestOperatorRevokesManyOfOneAgent(t *testing.T) {
	f := newFakeIAM(t)
	m, _ := denyMinter(t, f, nil)
	for i := range 500 {
		h := handleOf(fmt.Sprintf("agent %d", i%5), 5*time.Minute)
		if outcome, err := first(t, m, h); err != nil || outcome == mint.RoleCut {
			t.Fatalf("revocation %d: %v %v", i+1, outcome, err)
		}
	}
	if n := len(f.cutAgents(t, denyPolicy)); n < 1 || n > 5 {
		t.Errorf("%d agents cut", n)
	}
}

// first revokes for an operator.
func first(t *testing.T, m *awssts.Minter, h mint.Handle) (mint.RevokeOutcome, error) {
	t.Helper()
	return m.RevokeFirst(t.Context(), h)
}

// TestFullPolicyCutsWhereAllowed: where operators' own room is full too, theirs cut everybody; no
// agent's release does.
func TestFullPolicyCutsWhereAllowed(t *testing.T) {
	for _, other := range []int{0, 6000} {
		f := newFakeIAM(t)
		if other > 0 {
			f.policies["allow"] = strings.Repeat("x", other)
		}
		m, log := denyMinter(t, f, func(c *awssts.Config) { c.RoleDeny.Cut = true })
		if _, _, outcome, err := fill(t, m); !errors.Is(err, mint.ErrRefused) {
			t.Fatalf("a release into a full policy: %v %v", outcome, err)
		}
		var last mint.Handle
		var outcome mint.RevokeOutcome
		n := 0
		for ; outcome != mint.RoleCut; n++ {
			last = aHandle(5 * time.Minute)
			var err error
			if outcome, err = first(t, m, last); err != nil || n > 60 {
				t.Fatalf("operator's %d: %v", n+1, err)
			}
		}
		if n < 30 {
			t.Errorf("room for %d of operators' alone", n)
		}
		text := f.policy(denyPolicy)
		if len(f.denied(t, denyPolicy)) != 0 || !strings.Contains(text, `"DateLessThan":{"aws:TokenIssueTime":"`) {
			t.Fatal(text)
		}
		if !strings.Contains(log.String(), "all sessions of a role were cut") {
			t.Errorf("the log: %s", log)
		}
		// The next one fits beside the cut, and a repeat of the last is no second cut.
		if outcome, err := first(t, m, aHandle(time.Minute)); err != nil || outcome != mint.RoleDeny {
			t.Errorf("the next one: %v %v", outcome, err)
		}
		if outcome, err := first(t, m, last); err != nil || outcome != mint.RoleDeny {
			t.Errorf("the last one again: %v %v", outcome, err)
		}
		cut := text[strings.Index(text, `"Sid"`) : len(text)-3]
		if got := f.policy(denyPolicy); !strings.Contains(got, cut) || len(f.denied(t, denyPolicy)) != 2 {
			t.Errorf("after the cut: %s", got)
		}
	}
}

// Two brokers with one policy name do not write over each other.
func TestAnotherBrokersEntries(t *testing.T) {
	f := newFakeIAM(t)
	one, _ := denyMinter(t, f, func(c *awssts.Config) { c.RoleDeny.Mark = "1a2b3c4d" })
	two, _ := denyMinter(t, f, func(c *awssts.Config) { c.RoleDeny.Mark = "5e6f7a8b" })
	h := aHandle(5 * time.Minute)
	mustDeny(t, one, h)
	before := f.policy(denyPolicy)
	mustRefuse(t, two, aHandle(5*time.Minute), "content that the broker did not write")
	if f.policy(denyPolicy) != before {
		t.Error("the other broker's policy was changed")
	}
	again, _ := denyMinter(t, f, func(c *awssts.Config) { c.RoleDeny.Mark = "1a2b3c4d" })
	mustDeny(t, again, h)
	// Replicas share the mark. What one of them took out is told, and put back.
	m, log := denyMinter(t, f, func(c *awssts.Config) { c.RoleDeny.Mark = "1a2b3c4d" })
	mustDeny(t, m, aHandle(5*time.Minute))
	f.set(func() { delete(f.policies, denyPolicy) })
	mustDeny(t, m, aHandle(5*time.Minute))
	if n := len(f.denied(t, denyPolicy)); n != 3 || !strings.Contains(log.String(), "took revocations out") {
		t.Errorf("%d denied; the log: %s", n, log)
	}
}

func TestSessionNames(t *testing.T) {
	names := map[string]bool{}
	for _, agent := range []string{"a", "b"} {
		prefix := ""
		for range 100 {
			name := minttest.SessionName(agent)
			if len(name) > 64 || !regexp.MustCompile(`^[\w+=,.@-]{2,64}$`).MatchString(name) || names[name] {
				t.Fatalf("%q", name)
			}
			if p := mint.SessionPrefix(name); p == "" || prefix != "" && p != prefix || !strings.HasPrefix(name, p) {
				t.Fatalf("the prefix of %q is %q, of others %q", name, p, prefix)
			}
			prefix, names[name] = mint.SessionPrefix(name), true
		}
	}
	if len(prefixes(names)) != 2 {
		t.Error("two agents share a prefix")
	}
	for _, name := range []string{"", "vk-", "vk-*-AAAAAAAAAAAAAAAAAAAA", "vk-AAAAAAAAAAAA-", "vk-AAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAA*", "xvk-AAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAA"} {
		if p := mint.SessionPrefix(name); p != "" {
			t.Errorf("%q has prefix %q", name, p)
		}
	}
	if _, err := mint.NewSessionNames(make([]byte, 31)); err == nil {
		t.Error("a short key was taken")
	}
	other, err := mint.NewSessionNames(make([]byte, 32))
	if err != nil || names[other.New("a")] || slices.Contains(prefixes(names), mint.SessionPrefix(other.New("a"))) {
		t.Errorf("another key gives the same prefix: %v", err)
	}
}

func prefixes(names map[string]bool) (out []string) {
	for name := range names {
		if p := mint.SessionPrefix(name); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}
