package policy

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/scopes"
)

// Conditions whose truth rises with approvals and with shorter lives, and such that do not depend on either.
var (
	risingParts = []string{
		"context.approvals.sre >= 1", "context.approvals.sre >= 2", "context.approvals.security > 1", "3 <= context.approvals.any",
		"!(context.approvals.security < 1)", "context.ttl_seconds <= 900", "context.ttl_seconds < 600", "!(context.ttl_seconds > 1800)",
	}
	fixedParts = []string{
		`context.tier == "read"`, `context.environments == ["unvouched"]`, `principal.user == "ana"`, "true", "false",
	}
	// Tests of what the agent says, and such that a liar could use: most of what is drawn with the last does not load.
	claimParts = []string{
		`context.claims.environment == "production"`, `context.claims.environment like "prod*"`, `["staging", "production"].contains(context.claims.environment)`,
		`context.claims.environment != ""`, `context.claims.environment != "production"`, `context.claims.environment like "*"`, `context.claims.environment == ""`,
	}
	scopeNames = []string{"data-read", "data-wipe", "kv-read"}
)

func drawExpression(t *rapid.T, depth int) string {
	if depth == 0 || rapid.Bool().Draw(t, "leaf") {
		return rapid.SampledFrom(append(risingParts, fixedParts...)).Draw(t, "part")
	}
	left, right := drawExpression(t, depth-1), drawExpression(t, depth-1)
	switch rapid.IntRange(0, 2).Draw(t, "operator") {
	case 0:
		return "(" + left + " && " + right + ")"
	case 1:
		return "(" + left + " || " + right + ")"
	default:
		return "(if " + rapid.SampledFrom(fixedParts).Draw(t, "condition") + " then " + left + " else " + right + ")"
	}
}

func drawPolicies(t *rapid.T) string {
	var out strings.Builder
	for i := range rapid.IntRange(1, 8).Draw(t, "policies") {
		effect, clause := "permit", "when"
		if rapid.IntRange(0, 2).Draw(t, "effect") == 0 {
			effect, clause = "forbid", "unless"
		}
		a, b := rapid.SampledFrom(scopeNames).Draw(t, "a"), rapid.SampledFrom(scopeNames).Draw(t, "b")
		head := rapid.SampledFrom([]string{
			"action, resource",
			fmt.Sprintf("action == Valetkey::Action::%q, resource", a),
			fmt.Sprintf("action in [Valetkey::Action::%q, Valetkey::Action::%q], resource", a, b),
			fmt.Sprintf("action, resource == Valetkey::Scope::%q", a),
			fmt.Sprintf("action == Valetkey::Action::%q, resource in Valetkey::Scope::%q", a, a),
			fmt.Sprintf("action, resource is Valetkey::Scope in Valetkey::Scope::%q", a),
		}).Draw(t, "head")
		fmt.Fprintf(&out, "@id(\"p%d\") @reason(\"because %d\") %s (principal, %s) %s { %s };\n", i, i, effect, head, clause, drawExpression(t, 2))
	}
	return out.String()
}

func drawQuestion(t *rapid.T) question {
	return ask(func(q *question) {
		q.wish.scope = rapid.SampledFrom(scopeNames).Draw(t, "scope")
		if q.wish.scope == "kv-read" {
			q.wish.params = nil
		}
		q.wish.tier = rapid.SampledFrom([]scopes.Tier{scopes.TierRead, scopes.TierWrite, scopes.TierDestructive, scopes.TierAdmin}).Draw(t, "tier")
		q.task.Environment = rapid.SampledFrom([]string{"production", "staging", ""}).Draw(t, "environment")
		q.subject.Attributes["user"] = rapid.SampledFrom([]string{"ana", "eve"}).Draw(t, "user")
		q.ttl = time.Duration(rapid.IntRange(1, 3600).Draw(t, "ttl")) * time.Second
		sre, security := rapid.IntRange(0, 3).Draw(t, "sre"), rapid.IntRange(0, 3).Draw(t, "security")
		people := max(sre, security) + rapid.IntRange(0, min(sre, security)).Draw(t, "people")
		q.approvals = map[string]int{"sre": sre, "security": security, AnyGroup: people}
	})
}

// scanAll is the engine without its index: every scope asks every policy.
func scanAll(e *Engine) *Engine {
	all := map[cedar.PolicyID]*policy{}
	for _, s := range e.sets {
		for _, p := range s.policies {
			all[p.id] = p
		}
	}
	var list []*policy
	for _, p := range all {
		list = append(list, p)
	}
	full := *e
	full.sets = map[string]*set{}
	for name := range e.sets {
		full.sets[name] = newSet(list)
	}
	return &full
}

func drawEngine(t *rapid.T, tb testing.TB) *Engine {
	return mustPolicies(tb, drawPolicies(t), rapid.IntRange(0, 3).Draw(t, "floor"))
}

func judge(t *rapid.T, e *Engine, q question) Verdict {
	v, err := e.judge(q)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIndexEqualsFullScan(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e, q := drawEngine(rt, t), drawQuestion(rt)
		indexed, full := judge(rt, e, q), judge(rt, scanAll(e), q)
		if !reflect.DeepEqual(indexed, full) {
			rt.Fatalf("index %+v\nfull scan %+v", indexed, full)
		}
	})
}

// A policy costs only the scopes that its head names, however it names them.
func TestIndexLeavesOutOtherScopes(t *testing.T) {
	const data, kv = `Valetkey::Action::"data-read"`, `Valetkey::Scope::"kv-read"`
	for head, want := range map[string][]string{
		"action, resource":                                                         {"data-read", "data-wipe", "kv-read"},
		"action == " + data + ", resource":                                         {"data-read"},
		"action in [" + data + "], resource":                                       {"data-read"},
		"action in " + data + ", resource is Valetkey::Scope":                      {"data-read"},
		"action, resource == " + kv:                                                {"kv-read"},
		"action, resource in " + kv:                                                {"kv-read"},
		"action, resource is Valetkey::Scope in " + kv:                             {"kv-read"},
		`action in [` + data + `, Valetkey::Action::"kv-read"], resource == ` + kv: {"kv-read"},
	} {
		e := mustPolicies(t, `@id("p") permit (principal, `+head+`);`, 0)
		var got []string
		for _, name := range scopeNames {
			if len(e.sets[name].policies) > 0 {
				got = append(got, name)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: indexed under %q, want %q", head, got, want)
		}
	}
}

func TestTooManyCombinationsDoNotLoad(t *testing.T) {
	var text strings.Builder
	for i := range maxApprovals {
		for _, group := range []string{"any", "sre", "security"} {
			fmt.Fprintf(&text, "@id(\"%s-%d\") permit (principal, action, resource) when { context.approvals.%s > %d };\n", group, i, group, i)
		}
	}
	if _, err := tryPolicies(t, text.String(), 0); err == nil || !strings.Contains(err.Error(), "combinations") {
		t.Errorf("got %v", err)
	}
}

// Law 4.
func TestMoreApprovalsAndShorterLivesNeverTurnYesIntoNo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e, q := drawEngine(rt, t), drawQuestion(rt)
		before := judge(rt, e, q)
		if before.Outcome == Deny {
			return
		}
		more := q
		more.approvals = maps.Clone(q.approvals)
		more.approvals["sre"] += rapid.IntRange(0, 2).Draw(rt, "more sre")
		more.approvals[AnyGroup] += more.approvals["sre"] - q.approvals["sre"] + rapid.IntRange(0, 1).Draw(rt, "more people")
		more.ttl = min(q.ttl, time.Duration(rapid.IntRange(1, 3600).Draw(rt, "shorter"))*time.Second)
		after := judge(rt, e, more)
		if after.Outcome == Deny || before.Outcome == Allow && after.Outcome != Allow {
			rt.Fatalf("%+v turned into %+v", before, after)
		}
		if before.Outcome == Allow && after.TTL < min(more.ttl, before.TTL) {
			rt.Fatalf("a life of %v turned into %v", before.TTL, after.TTL)
		}
	})
}

// The life permitted is permitted, and no longer one is; the same for needs: enough, and one fewer is not.
func TestAnswersAreExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e, q := drawEngine(rt, t), drawQuestion(rt)
		v := judge(rt, e, q)
		allowed := func(approvals map[string]int, ttl time.Duration) bool {
			s := q
			s.approvals, s.ttl = approvals, ttl
			got := judge(rt, e, s)
			return got.Outcome == Allow && got.TTL == ttl
		}
		switch v.Outcome {
		case Allow:
			if !allowed(q.approvals, v.TTL) {
				rt.Fatalf("%v is not allowed", v.TTL)
			}
			if v.TTL < q.ttl && allowed(q.approvals, v.TTL+time.Second) {
				rt.Fatalf("%v is not the longest life", v.TTL)
			}
		case NeedsApproval:
			if !allowed(met(q.approvals, v.Needs, -1), v.TTL) {
				rt.Fatalf("%v is not enough for %v", v.Needs, v.TTL)
			}
			for i := range v.Needs {
				if allowed(met(q.approvals, v.Needs, i), v.TTL) {
					rt.Fatalf("%v is more than enough for %v", v.Needs, v.TTL)
				}
			}
		case Deny:
			for _, ttl := range []time.Duration{time.Second, q.ttl} {
				if allowed(map[string]int{"sre": 9, "security": 9, AnyGroup: 18}, ttl) {
					rt.Fatalf("denied, but allowed with approvals for %v", ttl)
				}
			}
		}
	})
}

// met adds the needs, one fewer of the one at less, by as few people as can bring them.
func met(have map[string]int, needs []Need, less int) map[string]int {
	out, people := maps.Clone(have), 0
	for i, n := range needs {
		if i == less {
			n.Approvals--
		}
		if n.Group != AnyGroup {
			out[n.Group] += n.Approvals
		}
		people = max(people, n.Approvals)
	}
	out[AnyGroup] += people
	return out
}
