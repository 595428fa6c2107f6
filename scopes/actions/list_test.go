package actions_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
)

func TestListsHoldTheWholeCatalogue(t *testing.T) {
	services := actions.Services()
	if len(services) < 400 || !slices.IsSorted(services) || !slices.Contains(services, "s3") {
		t.Errorf("%d services", len(services))
	}
	total := 0
	for _, s := range services {
		list := actions.OfService(s)
		if len(list) == 0 {
			t.Errorf("%q has no actions", s)
		}
		for _, a := range list {
			if !strings.HasPrefix(a.Name, s+":") {
				t.Errorf("%q is in %q", a.Name, s)
			}
		}
		total += len(list)
	}
	if all := len(actions.Expand("*")); total != all {
		t.Errorf("%d actions of %d", total, all)
	}
	if len(actions.OfService("S3")) != len(actions.OfService("s3")) || actions.OfService("s") != nil || actions.OfService("") != nil {
		t.Error("a service's name is taken for a beginning, or its case counts")
	}
}

// Every name is found whatever its case, without making a new text for it.
func TestLookupIgnoresCaseAndAllocatesNothing(t *testing.T) {
	for _, s := range actions.Services() {
		for _, a := range actions.OfService(s) {
			for _, name := range []string{a.Name, strings.ToUpper(a.Name), strings.ToLower(a.Name)} {
				if got, ok := actions.Lookup(name); !ok || got.Name != a.Name {
					t.Fatalf("%s: %q, %v", name, got.Name, ok)
				}
			}
		}
	}
	for _, name := range []string{"", ":", "s3:", "s3:Get", "s3:GetObjectX", "zzz:Zzz", "\xff"} {
		if got, ok := actions.Lookup(name); ok {
			t.Errorf("%q is %s", name, got.Name)
		}
	}
	if n := testing.AllocsPerRun(100, func() { actions.Lookup("S3:getobject") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
