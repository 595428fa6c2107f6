package vaultacl_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

const (
	entityID = "identity.entity.id"
	groupID  = "identity.groups.names.ops.id"
	oneUUID  = "ab345678-1234-1234-1234-123456789abc"
)

// A Yes about templates holds for callers whose ids begin, or are, like anything in the policies, and for those that
// have none.
func TestTemplatesHoldForCallers(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	side := func() []vaultacl.Policy {
		p := vaultacl.Policy{}
		for range 1 + rng.IntN(4) {
			var segs []string
			for range 1 + rng.IntN(3) {
				segs = append(segs, []string{"u", "a", "ab", "+", "u-" + oneUUID, oneUUID, "{{" + entityID + "}}",
					"{{" + entityID + "}}", "u-{{" + entityID + "}}", "{{" + groupID + "}}"}[rng.IntN(10)])
			}
			path := strings.Join(segs, "/")
			if rng.IntN(3) == 0 && !strings.HasSuffix(path, "+") {
				path += "*"
			}
			words := []string{[]string{"read", "list", "deny"}[rng.IntN(3)]}
			p.Paths = append(p.Paths, vaultacl.PathRule{Path: path, Capabilities: words})
		}
		return []vaultacl.Policy{p}
	}
	var callers []map[string]string
	ids := []string{"", oneUUID, "ab345678-0000-0000-0000-000000000000", "a0000000-0000-0000-0000-000000000000", "c0000000-0000-0000-0000-000000000000"}
	for _, e := range ids {
		for _, g := range ids {
			given := map[string]string{}
			if e != "" {
				given[entityID] = e
			}
			if g != "" {
				given[groupID] = g
			}
			if e == "" || e != g {
				callers = append(callers, given)
			}
		}
	}
	segments := append([]string{"u", "a", "ab", "x", "abx", "u-" + oneUUID, "u-"}, ids[1:]...)
	count := map[vaultacl.Answer]int{}
	for range 3000 {
		wide, narrow := side(), side()
		if rng.IntN(2) == 0 {
			wide[0].Paths = append(wide[0].Paths, narrow[0].Paths...)
		}
		got := vaultacl.Covers(wide, narrow)
		count[got.Answer]++
		if got.Answer == vaultacl.No {
			if vaultacl.Allows(narrow, *got.Witness).Verdict != vaultacl.Allowed ||
				vaultacl.Allows(wide, *got.Witness).Verdict == vaultacl.Allowed {
				t.Fatalf("the witness %s does not hold", got.Witness)
			}
			continue
		}
		for _, given := range callers {
			w, n := vaultacl.Compile(vaultacl.Fill(wide, given)), vaultacl.Compile(vaultacl.Fill(narrow, given))
			for range 60 {
				var segs []string
				for range 1 + rng.IntN(3) {
					s := segments[rng.IntN(len(segments))]
					if rng.IntN(8) == 0 {
						s = "u-" + given[entityID]
					}
					segs = append(segs, s)
				}
				r := vaultacl.Request{Operation: vaultacl.OpRead, Path: strings.Join(segs, "/")}
				if rng.IntN(2) == 0 {
					r.Operation, r.Path = vaultacl.OpList, r.Path+"/"
				}
				if n.Allows(r).Verdict == vaultacl.Allowed && w.Allows(r).Verdict != vaultacl.Allowed {
					t.Fatalf("%v, but %s for %v passes one side alone:\n%s\n%s", got.Answer, r, given, printed(t, wide), printed(t, narrow))
				}
			}
		}
	}
	t.Logf("answers %v", count)
	if count[vaultacl.Yes] < 200 || count[vaultacl.No] < 200 || count[vaultacl.Unknown] > 30 {
		t.Errorf("the cases show little: %v", count)
	}
}
