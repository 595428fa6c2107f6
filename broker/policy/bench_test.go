package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
)

// benchEngine has n policies over n/10 scopes: most name their scope, one in fifty is about all of them.
func benchEngine(b *testing.B, n int) *Engine {
	b.Helper()
	var known []scopeFacts
	for i := range max(1, n/10) {
		known = append(known, scopeFacts{
			name: fmt.Sprintf("scope-%04d", i), version: "v1", provider: "aws", role: "data",
			params: map[string]scopes.Param{"bucket": {Name: "bucket", Type: scopes.TypeS3Bucket}},
		})
	}
	var text strings.Builder
	for i := range n {
		name := known[i%len(known)].name
		switch {
		case i%50 == 49:
			fmt.Fprintf(&text, "@id(\"p%d\") forbid (principal, action, resource) when { principal.user == \"banned-%d\" };\n", i, i)
		case i%10 == 9:
			fmt.Fprintf(&text, "@id(\"p%d\") forbid (principal, action == Valetkey::Action::%q, resource) when { context.tier == \"destructive\" } unless { context.approvals.sre >= 2 };\n", i, name)
		default:
			fmt.Fprintf(&text, "@id(\"p%d\") permit (principal, action == Valetkey::Action::%q, resource) when { principal.user == \"user-%d\" && context.params.bucket like \"prod-*\" && context.environments.contains(\"unvouched\") };\n", i, name, i/len(known))
		}
	}
	dir := b.TempDir()
	writeFile(b, dir, "policies/policy.yaml", testSettings)
	writeFile(b, dir, "policies/a.cedar", text.String())
	e, err := build(dir, DefaultFloor, known)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// BenchmarkDecide measures deciding alone, at each size beside the full scan that the index replaces.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		e := benchEngine(b, n)
		question := func(tier scopes.Tier) question {
			return ask(func(q *question) {
				q.subject.Attributes["user"] = "user-0"
				q.wish = wish{scope: "scope-0000", version: "v1", tier: tier, ttl: q.ttl, params: map[string][]string{"bucket": {"prod-data"}}}
			})
		}
		for _, way := range []struct {
			name   string
			engine *Engine
		}{{"index", e}, {"full-scan", scanAll(e)}} {
			for _, c := range []struct {
				tier scopes.Tier
				want Outcome
			}{{scopes.TierRead, Allow}, {scopes.TierDestructive, NeedsApproval}} {
				b.Run(fmt.Sprintf("policies=%d/%s/%s", n, way.name, c.want), func(b *testing.B) {
					b.ReportAllocs()
					q := question(c.tier)
					for b.Loop() {
						v, err := way.engine.judge(q)
						if err != nil || v.Outcome != c.want {
							b.Fatal(v, err)
						}
					}
				})
			}
		}
	}
}
