package identity_test

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/identity"
)

func TestConfigRefused(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	src := ours.Source(mustID(t, "spiffe://example.org/valetkeyd"))
	for name, c := range map[string]struct {
		edit func(*identity.Config)
		says string
	}{
		"no domain":           {func(c *identity.Config) { c.TrustDomains = nil }, "no trust domain"},
		"bad domain":          {func(c *identity.Config) { c.TrustDomains = []string{"Not A Domain"} }, "Not A Domain"},
		"nobody":              {func(c *identity.Config) { c.PathTemplate, c.Operators = "", nil }, "nobody could call"},
		"no audience":         {func(c *identity.Config) { c.JWTAudience = "" }, "without an audience"},
		"bad ID":              {func(c *identity.Config) { c.Operators = []string{"ann"} }, `"ann"`},
		"foreign ID":          {func(c *identity.Config) { c.Operators = []string{"spiffe://foreign.test/ann"} }, "not listed"},
		"foreign template":    {func(c *identity.Config) { c.PathTemplate = "spiffe://foreign.test/{a}" }, "not listed"},
		"same template twice": {func(c *identity.Config) { c.PathTemplates = []string{"/agent/{a}/{b}"} }, "the same IDs"},
	} {
		cfg := identity.Config{
			TrustDomains: []string{ourDomain},
			PathTemplate: "/agent/{user}/{session}",
			AllowJWT:     true,
			JWTAudience:  audience,
		}
		c.edit(&cfg)
		if _, err := identity.New(cfg, src, src); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.says)
		}
	}
	cfg := identity.Config{TrustDomains: []string{ourDomain}, PathTemplate: "/{a}", AllowJWT: true, JWTAudience: audience}
	if _, err := identity.New(cfg, nil, src); err == nil {
		t.Error("no X.509 bundles passed")
	}
	if _, err := identity.New(cfg, src, nil); err == nil {
		t.Error("JWT-SVIDs without JWT bundles passed")
	}
}
