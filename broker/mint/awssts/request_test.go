package awssts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

func TestWhatIsSent(t *testing.T) {
	f, desk := newFakeSTS(t, good(nil)), minttest.NewDesk(t)
	o := minttest.Order(prefixPermissions(), 20*time.Minute+300*time.Millisecond)
	if _, err := newMinter(t, desk, f.url, nil).Mint(t.Context(), desk.Permit(o)); err != nil {
		t.Fatal(err)
	}
	form := f.forms[0]
	for key, want := range map[string]string{
		"Action": "AssumeRole", "RoleSessionName": o.SessionName, "DurationSeconds": "1201", "TokenRevokeType": "",
		"Tags.member.1.Key": "agent", "Tags.member.1.Value": o.AgentID,
		"Tags.member.2.Key": "task", "Tags.member.2.Value": o.TaskID,
		"Tags.member.3.Key": "grant", "Tags.member.3.Value": o.GrantID,
		"Tags.member.4.Key": "scope", "Tags.member.4.Value": o.ScopeName + "@" + o.ScopeVersion,
	} {
		if got := form.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if id := form.Get("SourceIdentity"); !strings.HasPrefix(id, "vk-") || len(id) != 35 {
		t.Errorf("source identity %q", id)
	}
	p, err := iam.Parse([]byte(form.Get("Policy")))
	if err != nil {
		t.Fatal(err)
	}
	denies := 0
	for _, s := range p.Statements {
		if s.Effect == iam.Deny {
			denies++
		}
	}
	if denies != 3 { // the deadline, other actions, other resources
		t.Errorf("%d denies in %s", denies, form.Get("Policy"))
	}

	s3 := newMinter(t, desk, f.url, func(c *awssts.Config) { c.Dialect = iam.DialectMinIO })
	o = minttest.Order(prefixPermissions(iam.DialectMinIO), time.Minute)
	if _, err := s3.Mint(t.Context(), desk.Permit(o)); err != nil {
		t.Fatal(err)
	}
	if form := f.forms[1]; form.Get("TokenRevokeType") != o.SessionName || form.Get("DurationSeconds") != "900" {
		t.Errorf("MinIO: lease %q for %s s", form.Get("TokenRevokeType"), form.Get("DurationSeconds"))
	}
}

// The Regions of an order are in the policy that is sent.
func TestRegionsAreSent(t *testing.T) {
	f, desk := newFakeSTS(t, good(nil)), minttest.NewDesk(t)
	o := minttest.Order(prefixPermissions(), time.Minute)
	o.Regions = []string{"eu-west-1", "eu-west-2"}
	if _, err := newMinter(t, desk, f.url, nil).Mint(t.Context(), desk.Permit(o)); err != nil {
		t.Fatal(err)
	}
	if sent := f.forms[0].Get("Policy"); !strings.Contains(sent, `"StringNotEquals":{"aws:RequestedRegion":["eu-west-1","eu-west-2"]}`) {
		t.Error(sent)
	}
}

func TestWebIdentity(t *testing.T) {
	f, desk := newFakeSTS(t, good(nil)), minttest.NewDesk(t)
	var asked string
	var fetchErr error
	m := newMinter(t, desk, f.url, func(c *awssts.Config) {
		c.Credentials = nil
		c.WebIdentity = &awssts.WebIdentity{Audience: "sts.amazonaws.com", Fetch: func(_ context.Context, audience string) (string, error) {
			asked = audience
			return "the-jwt-svid", fetchErr
		}}
	})
	o := minttest.Order(prefixPermissions(), 5*time.Minute)
	cred, err := m.Mint(t.Context(), desk.Permit(o))
	if err != nil || !cred.Valid() {
		t.Fatal(err)
	}
	form := f.forms[0]
	if form.Get("Action") != "AssumeRoleWithWebIdentity" || form.Get("WebIdentityToken") != "the-jwt-svid" ||
		form.Get("RoleSessionName") != o.SessionName || form.Get("Policy") == "" || asked != "sts.amazonaws.com" {
		t.Errorf("sent %v", form)
	}
	if f.headers[0].Get("Authorization") != "" {
		t.Error("a call without keys was signed")
	}
	fetchErr = errors.New(marker)
	_, err = m.Mint(t.Context(), desk.Permit(minttest.Order(prefixPermissions(), 5*time.Minute)))
	check(t, err, mint.ErrUnavailable, false)
}

// TestRefusedBeforeTheCall holds AWS's limits, which servers that imitate it do not.
func TestRefusedBeforeTheCall(t *testing.T) {
	wide := func(n int) scopes.Permissions {
		p := prefixPermissions()
		for i := range n {
			p.AWS.Statements[0].Resource = append(p.AWS.Statements[0].Resource, fmt.Sprintf("arn:aws:s3:::prod/some/long/prefix/%04d/*", i))
		}
		return p
	}
	for _, tc := range []struct {
		name   string
		perms  scopes.Permissions
		life   time.Duration
		change func(*mint.Order)
		config func(*awssts.Config)
		want   error
		parent error
	}{
		{"policy over 2,048", wide(60), time.Minute, nil, nil, awssts.ErrPolicySize, mint.ErrTooLarge},
		{"over the role's maximum", prefixPermissions(), 61 * time.Minute, nil, nil, awssts.ErrRoleMaximum, mint.ErrLifetime},
		{"chained over an hour", prefixPermissions(), 61 * time.Minute, nil, func(c *awssts.Config) {
			c.Chained, c.MaxSession = true, 12*time.Hour
		}, awssts.ErrChaining, mint.ErrLifetime},
		{"deadline over", prefixPermissions(), time.Minute, nil, func(c *awssts.Config) {
			c.Now = func() time.Time { return time.Now().Add(time.Hour) }
		}, awssts.ErrPast, mint.ErrLifetime},
		{"agent id over 256", prefixPermissions(), time.Minute, func(o *mint.Order) {
			o.AgentID = "spiffe://example.org/" + strings.Repeat("a", 250)
		}, nil, awssts.ErrTag, mint.ErrTooLarge},
		{"wildcard in a tag", prefixPermissions(), time.Minute, func(o *mint.Order) { o.ScopeName = "bucket-*" }, nil, awssts.ErrTag, mint.ErrTooLarge},
		{"Regions of a server without any", prefixPermissions(iam.DialectMinIO), time.Minute, func(o *mint.Order) { o.Regions = []string{"eu-west-1"} },
			func(c *awssts.Config) { c.Dialect = iam.DialectMinIO }, mint.ErrPermit, mint.ErrPermit},
		{"proven for another dialect", prefixPermissions(iam.DialectMinIO), time.Minute, nil, nil, mint.ErrPermit, mint.ErrPermit},
		{"another role", prefixPermissions(), time.Minute, func(o *mint.Order) { o.Role = "other" }, nil, mint.ErrPermit, mint.ErrPermit},
		{"Vault permissions", scopes.Permissions{Vault: []vaultacl.Rule{{Path: "a/b", Capabilities: []string{"read"}}}}, time.Minute,
			nil, nil, mint.ErrPermit, mint.ErrPermit},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, desk := newFakeSTS(t, good(nil)), minttest.NewDesk(t)
			o := minttest.Order(tc.perms, tc.life)
			if tc.change != nil {
				tc.change(&o)
			}
			_, err := newMinter(t, desk, f.url, tc.config).Mint(t.Context(), desk.Permit(o))
			check(t, err, tc.want, false)
			check(t, err, tc.parent, false)
			if f.calls() != 0 {
				t.Error("STS was called")
			}
		})
	}
	f, desk := newFakeSTS(t, good(nil)), minttest.NewDesk(t)
	_, err := newMinter(t, desk, f.url, nil).Mint(t.Context(), mint.Permit{})
	check(t, err, mint.ErrPermit, false)
}

func TestNewRefuses(t *testing.T) {
	desk := minttest.NewDesk(t)
	ok := awssts.Config{Role: "r", RoleARN: "arn", Permits: desk.Verifier, Dialect: iam.DialectAWS}
	for name, change := range map[string]func(*awssts.Config){
		"no role":              func(c *awssts.Config) { c.Role = "" },
		"no ARN":               func(c *awssts.Config) { c.RoleARN = "" },
		"no verifier":          func(c *awssts.Config) { c.Permits = nil },
		"no dialect":           func(c *awssts.Config) { c.Dialect = "" },
		"s3 without endpoint":  func(c *awssts.Config) { c.Dialect = iam.DialectMinIO },
		"endpoint not a URL":   func(c *awssts.Config) { c.Endpoint = "localhost:9000" },
		"session too short":    func(c *awssts.Config) { c.MaxSession = time.Minute },
		"session too long":     func(c *awssts.Config) { c.MaxSession = 13 * time.Hour },
		"identity, no token":   func(c *awssts.Config) { c.WebIdentity = &awssts.WebIdentity{Audience: "a"} },
		"identity, no purpose": func(c *awssts.Config) { c.WebIdentity = &awssts.WebIdentity{} },
	} {
		cfg := ok
		change(&cfg)
		if _, err := awssts.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
