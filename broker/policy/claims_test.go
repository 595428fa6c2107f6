package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	permitAll = `@id("all") permit (principal, action, resource);` + "\n"
	claimant  = "\n" + `@id("claimant") %s (principal, action, resource) %s;`
)

// TestClaimsCannotLoosen tries every way in which what an agent says could make a no a
// yes: none of them loads, and the refusal names the policy and where it stands.
func TestClaimsCannotLoosen(t *testing.T) {
	const env = "context.claims.environment"
	overflow := "context.approvals.any >= 1 || " // as much as a policy can hope for
	for _, c := range [][2]string{
		{"permit", `when { ` + env + ` == "dev" }`},
		{"permit", `when { ` + env + ` != "production" }`},
		{"permit", `unless { ` + env + ` == "production" }`},
		{"permit", `unless { ` + env + ` != "dev" }`},
		{"permit", `when { ` + overflow + env + ` == "dev" }`},
		{"permit", `when { if ` + env + ` == "dev" then true else context.approvals.any >= 2 }`},
		{"permit", `when { context.claims.on_behalf_of like "*@example.org" }`},
		{"forbid", `unless { ` + env + ` == "dev" }`},
		{"forbid", `unless { ` + env + ` == "dev" || context.approvals.any >= 2 }`},
		{"forbid", `unless { !(` + env + ` == "production") }`},
		{"forbid", `when { ` + env + ` != "dev" }`},
		{"forbid", `when { "dev" != ` + env + ` }`},
		{"forbid", `when { !(` + env + ` == "dev") }`},
		{"forbid", `when { !(!(` + env + ` == "dev")) }`},
		{"forbid", `when { ` + env + ` == "" }`},
		{"forbid", `when { ["", "production"].contains(` + env + `) }`},
		{"forbid", `when { ` + env + ` like "*" }`},
		{"forbid", `when { ` + env + ` like "" }`},
		{"forbid", `when { !(` + env + ` like "dev*") }`},
		{"forbid", `when { !["dev", "test"].contains(` + env + `) }`},
		{"forbid", `when { if ` + env + ` == "dev" then false else context.ttl_seconds > 1800 }`},
		{"forbid", `when { if context.tier == "read" then ` + env + ` != "dev" else false }`},
		{"forbid", `when { (` + env + ` == "dev") == false }`},
		{"forbid", `when { (` + env + ` == "dev") != true }`},
		{"forbid", `when { [` + env + `] == ["dev"] }`},
		{"forbid", `when { [` + env + `].contains("dev") }`},
		{"forbid", `when { ["dev"].containsAll([` + env + `]) }`},
		{"forbid", `when { ["dev"].containsAny([` + env + `]) }`},
		{"forbid", `when { [` + env + `, principal.user].contains("dev") }`},
		{"forbid", `when { ` + env + ` == principal.user }`},
		{"forbid", `when { principal.user == ` + env + ` }`},
		{"forbid", `when { ` + env + ` == context.claims.on_behalf_of }`},
		{"forbid", `when { [principal.user].contains(` + env + `) }`},
		{"forbid", `when { context.environments.contains(` + env + `) }`},
		{"forbid", `when { {"e": ` + env + `}.e == "dev" }`},
		{"forbid", `when { {"c": context.claims}.c.environment == "dev" }`},
		{"forbid", `when { {"c": context}.c.claims.environment == "dev" }`},
		{"forbid", `when { context.claims == {"environment": "dev", "on_behalf_of": ""} }`},
		{"forbid", `when { context.claims has environment }`},
		{"forbid", `when { context["claims"]["environment"] != "dev" }`},
		{"forbid", `when { ip(` + env + `).isLoopback() }`},
		{"forbid", `when { decimal(` + env + `).lessThan(decimal("1.0")) }`},
		{"forbid", `when { datetime(` + env + `) < context.now }`},
		// What can fail is a no; the right word would skip it.
		{"forbid", `when { (` + env + ` == "dev" || context.ttl_seconds * 9223372036854775807 > 0) && context.tier == "admin" }`},
		{"forbid", `when { (` + env + ` == "dev" || ip(principal.user).isLoopback()) && context.tier == "admin" }`},
		{"forbid", `when { ((` + env + ` == "dev" && true) || [-9223372036854775807 - 2].contains(1)) && context.tier == "admin" }`},
	} {
		text := permitAll + fmt.Sprintf(claimant, c[0], c[1])
		_, err := tryPolicies(t, text, 0)
		if err == nil {
			t.Errorf("loaded: %s %s", c[0], c[1])
			continue
		}
		for _, want := range []string{"policies/a.cedar:3:", `policy "claimant"`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s\nrefused without %s: %v", c[0], c[1], want, err)
			}
		}
		if !strings.Contains(err.Error(), "claim") && !strings.Contains(err.Error(), "context can only be read by attribute") && !strings.Contains(err.Error(), "ttl_seconds used") {
			t.Errorf("%s %s\nrefused for another reason: %v", c[0], c[1], err)
		}
	}
}

// TestClaimsMayDemandMore loads what says: to who says so, less.
func TestClaimsMayDemandMore(t *testing.T) {
	for _, when := range []string{
		`when { context.claims.environment == "production" && context.ttl_seconds > 1800 }`,
		`when { "production" == context.claims.environment }`,
		`when { context.claims.environment like "prod*" } unless { context.approvals.sre >= 1 }`,
		`when { ["production", "prod"].contains(context.claims.environment) && context.approvals.sre < 1 }`,
		`when { context.claims.environment != "" && context.tier == "admin" }`,
		`when { if context.tier == "read" then false else context.claims.on_behalf_of like "*@contractor.example" }`,
		`when { context.tier == "admin" || context.claims.environment == "production" }`,
		`when { context.claims.environment == "production" || context.tier == "admin" }`,
		`when { context.ttl_seconds > 900 } when { context.claims.environment == "production" }`,
	} {
		if _, err := tryPolicies(t, permitAll+fmt.Sprintf(claimant, "forbid", when), 0); err != nil {
			t.Errorf("%s\n%v", when, err)
		}
	}
}

func TestAClaimReadAsAFact(t *testing.T) {
	for _, name := range []string{"environment", "on_behalf_of"} {
		_, err := tryPolicies(t, permitAll+fmt.Sprintf(claimant, "permit", `when { context.`+name+` == "dev" }`), 0)
		if err == nil || !strings.Contains(err.Error(), "context.claims."+name) || !strings.Contains(err.Error(), `a.cedar:3:1: policy "claimant"`) {
			t.Errorf("context.%s: %v", name, err)
		}
	}
}

// drawClaimant draws a policy that reads claims, in any form.
func drawClaimant(t *rapid.T) string {
	var expression func(depth int) string
	expression = func(depth int) string {
		if depth == 0 || rapid.Bool().Draw(t, "leaf") {
			return rapid.SampledFrom(append(append(claimParts, fixedParts...), "context.ttl_seconds > 900", "context.approvals.sre < 1")).Draw(t, "part")
		}
		left, right := expression(depth-1), expression(depth-1)
		switch rapid.IntRange(0, 3).Draw(t, "operator") {
		case 0:
			return "(" + left + " && " + right + ")"
		case 1:
			return "(" + left + " || " + right + ")"
		case 2:
			return "!(" + left + ")"
		default:
			return "(if " + rapid.SampledFrom(append(claimParts, fixedParts...)).Draw(t, "condition") + " then " + left + " else " + right + ")"
		}
	}
	effect, clause := rapid.SampledFrom([]string{"permit", "forbid", "forbid"}).Draw(t, "effect"), rapid.SampledFrom([]string{"when", "when", "unless"}).Draw(t, "clause")
	return fmt.Sprintf("@id(\"claimant\") %s (principal, action, resource) %s { %s };\n", effect, clause, expression(2))
}

// Law 9, on whatever loads: no word gets more than silence does, not even with approvals.
func TestNoWordGetsMoreThanSilence(t *testing.T) {
	loaded := 0
	rapid.Check(t, func(rt *rapid.T) {
		e, err := tryPolicies(t, drawPolicies(rt)+drawClaimant(rt), rapid.IntRange(0, 3).Draw(rt, "floor"))
		if err != nil {
			return
		}
		loaded++
		q := drawQuestion(rt)
		silent := q
		silent.task.Environment, silent.task.OnBehalfOf = "", ""
		for _, life := range []time.Duration{time.Second, q.ttl} {
			for _, sre := range []int{0, 1, 2, 3} {
				for _, ask := range []*question{&q, &silent} {
					ask.approvals, ask.ttl = map[string]int{"sre": sre, AnyGroup: sre}, life
				}
				said, unsaid := judge(rt, e, q), judge(rt, e, silent)
				if said.Outcome == Allow && (unsaid.Outcome != Allow || unsaid.TTL < said.TTL) || unsaid.Outcome == Deny && said.Outcome != Deny {
					rt.Fatalf("saying %q turned %+v into %+v", q.task.Environment, unsaid, said)
				}
			}
		}
	})
	if loaded < 10 {
		t.Fatalf("%d sets loaded: too few to show anything", loaded)
	}
}
