package policy

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes"
)

const verdictPolicies = `
@id("read") @reason("people's agents read")
permit (principal, action == Valetkey::Action::"data-read", resource) when { principal.user != "eve" };

@id("wipe") @reason("sre may rebuild")
permit (principal, action == Valetkey::Action::"data-wipe", resource) when { principal.trust_domain == "example.org" };

@id("wipe-two") @reason("two of sre, or one of security")
forbid (principal, action, resource == Valetkey::Scope::"data-wipe")
when { context.claims.environment == "production" }
unless { context.approvals.sre >= 2 || context.approvals.security >= 1 };

@id("short") @reason("production lives are 15 minutes")
forbid (principal, action, resource) when { context.claims.environment == "production" && context.ttl_seconds > 900 };

@id("longer") @reason("an hour needs security")
forbid (principal, action, resource) when { context.claims.environment == "staging" && context.ttl_seconds > 1800 }
unless { context.approvals.security >= 1 };

@id("kv") @reason("with a colleague's yes")
permit (principal, action == Valetkey::Action::"kv-read", resource) when { context.approvals.any >= 1 };
`

func TestVerdicts(t *testing.T) {
	e := mustPolicies(t, verdictPolicies, DefaultFloor)
	kv := func(q *question) { q.wish.scope, q.wish.params = "kv-read", nil }
	cases := map[string]struct {
		change func(*question)
		want   Verdict
	}{
		"allowed": {nil, Verdict{Allow, []string{"read"}, []string{"read: people's agents read"}, nil, 15 * time.Minute}},
		"no permit": {func(q *question) { q.subject.Attributes["user"] = "eve" },
			Verdict{Deny, nil, []string{defaultDeny}, nil, 0}},
		"shorter": {func(q *question) { q.ttl = time.Hour },
			Verdict{Allow, []string{"read", "short"}, []string{"read: people's agents read", "short: production lives are 15 minutes"}, nil, 15 * time.Minute}},
		"half a second over": {func(q *question) { q.ttl = 900*time.Second + time.Millisecond },
			Verdict{Allow, []string{"read", "short"}, []string{"read: people's agents read", "short: production lives are 15 minutes"}, nil, 15 * time.Minute}},
		"shorter before people": {func(q *question) { q.task.Environment, q.ttl = "staging", time.Hour },
			Verdict{Allow, []string{"longer", "read"}, []string{"longer: an hour needs security", "read: people's agents read"}, nil, 30 * time.Minute}},
		"with people, no shorter": {func(q *question) {
			q.task.Environment, q.ttl, q.approvals = "staging", time.Hour, map[string]int{"security": 1}
		}, Verdict{Allow, []string{"read"}, []string{"read: people's agents read"}, nil, time.Hour}},
		// One of security meets the policy and two people the floor: the second can be anyone.
		"wipe": {wipe, Verdict{NeedsApproval, []string{"valetkey.floor", "wipe-two"},
			[]string{"valetkey.floor: destructive and admin requests need 2 distinct approvers", "wipe-two: two of sre, or one of security"},
			need("any", 2, "security", 1), 15 * time.Minute}},
		"wipe, one of sre": {func(q *question) { wipe(q); q.approvals = map[string]int{"sre": 1} },
			Verdict{NeedsApproval, []string{"valetkey.floor", "wipe-two"},
				[]string{"valetkey.floor: destructive and admin requests need 2 distinct approvers", "wipe-two: two of sre, or one of security"},
				need("sre", 1), 15 * time.Minute}},
		"wipe, two of sre": {func(q *question) { wipe(q); q.approvals = map[string]int{"sre": 2} },
			Verdict{Allow, []string{"wipe"}, []string{"wipe: sre may rebuild"}, nil, 15 * time.Minute}},
		"wipe, one in both groups": {func(q *question) { wipe(q); q.approvals = map[string]int{"sre": 1, "security": 1, "any": 1} },
			Verdict{NeedsApproval, []string{"valetkey.floor"},
				[]string{"valetkey.floor: destructive and admin requests need 2 distinct approvers"}, need("any", 1), 15 * time.Minute}},
		"wipe in staging": {func(q *question) { wipe(q); q.task.Environment = "staging" },
			Verdict{NeedsApproval, []string{"valetkey.floor"},
				[]string{"valetkey.floor: destructive and admin requests need 2 distinct approvers"}, need("any", 2), 15 * time.Minute}},
		"wipe for an hour": {func(q *question) { wipe(q); q.ttl = time.Hour },
			Verdict{NeedsApproval, []string{"short", "valetkey.floor", "wipe-two"},
				[]string{"short: production lives are 15 minutes", "valetkey.floor: destructive and admin requests need 2 distinct approvers", "wipe-two: two of sre, or one of security"},
				need("any", 2, "security", 1), 15 * time.Minute}},
		"a permit that waits": {kv, Verdict{NeedsApproval, []string{"kv"}, []string{"kv: with a colleague's yes"}, need("any", 1), 15 * time.Minute}},
		"a permit with a group's yes": {func(q *question) { kv(q); q.approvals = map[string]int{"interns": 1} },
			Verdict{Allow, []string{"kv"}, []string{"kv: with a colleague's yes"}, nil, 15 * time.Minute}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for range 3 { // maps inside must not show
				got, err := e.judge(ask(c.change))
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, c.want) {
					t.Fatalf("got\n%+v, want\n%+v", got, c.want)
				}
			}
		})
	}
}

// One person can be in both groups, so one of each group may be one person, and the floor wants two.
func TestNeedsDoNotCountOnDistinctGroups(t *testing.T) {
	e := mustPolicies(t, `@id("all") permit (principal, action, resource);
@id("both") forbid (principal, action, resource) unless { context.approvals.sre >= 1 && context.approvals.security >= 1 };`, DefaultFloor)
	for _, c := range []struct {
		have map[string]int
		want []Need
	}{
		{nil, need("any", 2, "security", 1, "sre", 1)},
		{map[string]int{"sre": 1}, need("security", 1)},
		{map[string]int{"sre": 1, "security": 1, "any": 1}, need("any", 1)},
		{map[string]int{"sre": 1, "security": 1, "any": 2}, nil},
	} {
		got, err := e.judge(ask(func(q *question) { wipe(q); q.approvals = c.have }))
		if err != nil || !reflect.DeepEqual(got.Needs, c.want) || (got.Outcome == Allow) != (c.want == nil) {
			t.Errorf("with %v: %+v, %v", c.have, got, err)
		}
	}
}

func TestFloorIsLoweredOnlyInSoManyWords(t *testing.T) {
	const all = `@id("all") permit (principal, action, resource);`
	for floor, want := range map[int][]Need{0: nil, 1: need("any", 1), 2: need("any", 2), 3: need("any", 3)} {
		for _, tier := range []scopes.Tier{scopes.TierDestructive, scopes.TierAdmin} {
			got, err := mustPolicies(t, all, floor).judge(ask(func(q *question) { q.wish.tier = tier }))
			if err != nil || !reflect.DeepEqual(got.Needs, want) || (got.Outcome == Allow) != (floor == 0) {
				t.Errorf("floor %d, tier %v: %+v, %v", floor, tier, got, err)
			}
		}
		if got, err := mustPolicies(t, all, floor).judge(ask(nil)); err != nil || got.Outcome != Allow {
			t.Errorf("floor %d: a read got %+v, %v", floor, got, err)
		}
	}
}

func TestQuestionsThatAreRefused(t *testing.T) {
	e := mustPolicies(t, verdictPolicies, DefaultFloor)
	cases := map[string]func(*question){
		"no request":          func(q *question) { q.wish = wish{} },
		"unknown scope":       func(q *question) { q.wish.scope = "other" },
		"another version":     func(q *question) { q.wish.version = "v2" },
		"no tier":             func(q *question) { q.wish.tier = scopes.TierUnspecified },
		"no ttl":              func(q *question) { q.ttl = 0 },
		"negative ttl":        func(q *question) { q.ttl = -time.Second },
		"more than requested": func(q *question) { q.ttl = 2 * time.Hour },
		"no time":             func(q *question) { q.now = time.Time{} },
		"no agent":            func(q *question) { q.subject = Subject{} },
		"missing attribute":   func(q *question) { delete(q.subject.Attributes, "user") },
		"missing parameter":   func(q *question) { delete(q.wish.params, "bucket") },
		"unknown parameter":   func(q *question) { q.wish.params["more"] = []string{"x"} },
		"two values":          func(q *question) { q.wish.params["bucket"] = []string{"a", "b"} },
		"no value":            func(q *question) { q.wish.params["bucket"] = nil },
		"no integer":          func(q *question) { q.wish.params["count"] = []string{"seven"} },
		"negative approvals":  func(q *question) { q.approvals = map[string]int{"sre": -1} },
		"more than people":    func(q *question) { q.approvals = map[string]int{"sre": 2, "any": 1} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			if got, err := e.judge(ask(change)); err == nil || got.Outcome != 0 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// An erring policy is skipped by Cedar, so a forbid that errs would permit. Overflow passes strict validation.
func TestAnErrorOfTheEngineDenies(t *testing.T) {
	const overflow = `(context.params.count * 9223372036854775807) * 2 > 0`
	for name, text := range map[string]string{
		"forbid": `@id("bad") forbid (principal, action == Valetkey::Action::"data-read", resource) when { ` + overflow + ` };`,
		"permit": `@id("bad") permit (principal, action == Valetkey::Action::"data-read", resource) when { ` + overflow + ` };`,
		"only with approvals": `@id("bad") forbid (principal, action == Valetkey::Action::"data-read", resource) unless { context.approvals.sre >= 1 && ` +
			overflow + ` };`,
	} {
		t.Run(name, func(t *testing.T) {
			e := mustPolicies(t, readable+text, DefaultFloor)
			got, err := e.judge(ask(nil))
			if err == nil || got.Outcome != 0 || !strings.Contains(err.Error(), `"bad"`) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestPoliciesSeeTime(t *testing.T) {
	e := mustPolicies(t, `@id("day") permit (principal, action, resource) when {
		context.now.toTime() >= duration("9h") && context.now.toTime() < duration("17h") };`, DefaultFloor)
	for hour, want := range map[int]Outcome{8: Deny, 9: Allow, 16: Allow, 17: Deny} {
		got, err := e.judge(ask(func(q *question) { q.now = time.Date(2025, 1, 1, hour, 0, 0, 0, time.UTC) }))
		if err != nil || got.Outcome != want {
			t.Errorf("%d o'clock: %v, %v", hour, got.Outcome, err)
		}
	}
}

func TestPoliciesSeeTypedParameters(t *testing.T) {
	e := mustPolicies(t, `@id("typed") permit (principal, action == Valetkey::Action::"data-read", resource == Valetkey::Scope::"data-read") when {
		context.params.bucket == "prod" && context.params.keys == ["b", "a"] && context.params.count < 8 &&
		context.tier == "read" && context.sensitive_reads == ["kms:Decrypt"] && context.environments == ["unvouched"] &&
		resource.provider == "aws" && resource.role == "data" &&
		principal == Valetkey::Agent::"spiffe://example.org/agent/ana/s1" && principal.path == "/agent/ana/s1" && principal.session == "s1" };`, DefaultFloor)
	got, err := e.judge(ask(func(q *question) { q.wish.sensitiveReads = []string{"kms:Decrypt"} }))
	if err != nil || got.Outcome != Allow {
		t.Errorf("got %+v, %v", got, err)
	}
}
