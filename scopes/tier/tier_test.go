package tier_test

import (
	"testing"

	"github.com/valetkey/valetkey/scopes/tier"
)

func TestWords(t *testing.T) {
	for want, is := range map[string]tier.Tier{"none": tier.None, "read": tier.Read, "write": tier.Write, "destructive": tier.Destructive, "admin": tier.Admin} {
		if is.String() != want || tier.Parse(want) != is {
			t.Errorf("%q is %d, of the word %q", want, tier.Parse(want), is)
		}
	}
	for _, word := range []string{"", "Read", "unspecified", "admin "} {
		if got := tier.Parse(word); got != tier.None {
			t.Errorf("%q is %v", word, got)
		}
	}
	for _, no := range []tier.Tier{-1, tier.None, tier.Admin + 1} {
		if no.String() != "none" || no.OrAdmin() != tier.Admin {
			t.Errorf("%d is %q, or counts as %s", int(no), no, no.OrAdmin())
		}
	}
	if tier.Write.OrAdmin() != tier.Write {
		t.Error("a tier does not count as itself")
	}
	if tier.Read >= tier.Write || tier.Write >= tier.Destructive || tier.Destructive >= tier.Admin {
		t.Error("the tiers are not in their order")
	}
}
