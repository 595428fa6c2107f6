package guard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
)

// agents authenticates IDs as a broker with these templates would.
func agents(t *testing.T, templates ...string) func(id string) identity.Agent {
	t.Helper()
	authority, err := devauthority.New(devauthority.Config{TrustDomain: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	src := authority.Source(spiffeid.RequireFromString("spiffe://example.org/broker"))
	auth, err := identity.New(identity.Config{
		TrustDomains: []string{"example.org"}, PathTemplates: templates, Operators: []string{"spiffe://example.org/operator"},
	}, src, src)
	if err != nil {
		t.Fatal(err)
	}
	return func(id string) identity.Agent {
		t.Helper()
		now := time.Now()
		svid, err := authority.X509SVID(spiffeid.RequireFromString(id), now.Add(-time.Minute), now.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		a, err := auth.AuthenticateX509(svid.Certificates)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func TestKeyIsStable(t *testing.T) {
	agent := agents(t, "/agent/{user}/{session}", "/ci/{repo}/{job}", "/one")
	const td = "spiffe://example.org"
	for _, tc := range []struct {
		rateBy   []string
		id, want string
	}{
		{nil, "/agent/alice/s1", "?user=alice"},
		{nil, "/agent/alice/s2", "?user=alice"},
		{nil, "/agent/bob/s1", "?user=bob"},
		{nil, "/ci/web/7", "?job=7&repo=web"},
		{nil, "/one", "/one"},
		{nil, "/operator", "/operator"},
		{[]string{"user", "repo"}, "/agent/alice/s1", "?user=alice"},
		{[]string{"user", "repo"}, "/ci/web/7", "?repo=web"},
		{[]string{"session", "repo"}, "/agent/alice/s1", "?session=s1"},
		{[]string{"user"}, "/ci/web/7", "?"},
	} {
		g, err := guard.New(guard.Config{RateBy: tc.rateBy})
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Subject(agent(td + tc.id)); got != td+tc.want {
			t.Errorf("rate_by %v: %s is %s, want %s", tc.rateBy, tc.id, got, td+tc.want)
		}
	}
}

func TestCheckRateBy(t *testing.T) {
	for _, tc := range []struct {
		rateBy, templates []string
		want              string
	}{
		{nil, []string{"/agent/{user}/{session}", "/one"}, ""},
		{[]string{"session"}, []string{"/agent/{session}"}, ""},
		{nil, []string{"/agent/{session}"}, `"/agent/{session}" has no attribute`},
		{[]string{"user"}, []string{"/agent/{user}", "/ci/{repo}/{job}"}, "name one of repo, job"},
		{[]string{"usr"}, []string{"/one"}, `no path template has an attribute "usr"`},
		{nil, []string{"agent"}, "path template"},
	} {
		err := guard.CheckRateBy(tc.rateBy, tc.templates)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v over %v: %v, want %q", tc.rateBy, tc.templates, err, tc.want)
		}
	}
}
