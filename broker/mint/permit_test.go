package mint_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func order() mint.Order {
	return mint.Order{
		GrantID: "G1", TaskID: "T1", IssuanceID: "I" + rand.Text(), AgentID: "spiffe://example.org/a", ScopeName: "s", ScopeVersion: "v",
		EnvelopeDigest: "d", SessionName: "vk-AAAAAAAAAAAA-BBBBBBBBBBBBBBBBBBBB", Role: "r",
		Permissions: sealed(scopes.Permissions{Vault: []vaultacl.Rule{{Path: "a/b", Capabilities: []string{"read"}}}}),
		NotAfter:    start.Add(5 * time.Minute), IssuedAt: start, PermitExpires: start.Add(time.Minute),
	}
}

type clock struct{ atomic.Pointer[time.Time] }

func (c *clock) set(t time.Time) { c.Store(&t) }
func (c *clock) now() time.Time  { return *c.Load() }

func desk(t *testing.T) (*mint.Signer, *mint.Verifier, *clock) {
	t.Helper()
	s, err := mint.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{}
	c.set(start)
	v, err := mint.NewVerifier(s, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return s, v, c
}

func TestPermitOnce(t *testing.T) {
	s, v, c := desk(t)
	o := order()
	p, err := s.Sign(o)
	if err != nil {
		t.Fatal(err)
	}
	var ok atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if got, err := v.Verify(p); err == nil && got.IssuanceID == o.IssuanceID {
				ok.Add(1)
			}
		})
	}
	wg.Wait()
	if ok.Load() != 1 {
		t.Fatalf("spent %d times", ok.Load())
	}
	// Neither a later clock nor a sweep brings it back.
	for _, after := range []time.Duration{59 * time.Second, time.Minute, time.Hour} {
		c.set(start.Add(after))
		if _, err := v.Verify(p); !errors.Is(err, mint.ErrPermit) {
			t.Errorf("after %v: %v", after, err)
		}
	}
}

func TestPermitRefused(t *testing.T) {
	s, v, c := desk(t)
	other, _, _ := desk(t)
	if _, err := v.Verify(mint.Permit{}); !errors.Is(err, mint.ErrPermit) {
		t.Errorf("zero permit: %v", err)
	}
	foreign, err := other.Sign(order())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(foreign); !errors.Is(err, mint.ErrPermit) {
		t.Errorf("foreign key: %v", err)
	}
	late, err := s.Sign(order())
	if err != nil {
		t.Fatal(err)
	}
	c.set(start.Add(-6 * time.Second))
	if _, err := v.Verify(late); !errors.Is(err, mint.ErrPermit) {
		t.Errorf("from the future: %v", err)
	}
	c.set(start.Add(time.Minute))
	if _, err := v.Verify(late); !errors.Is(err, mint.ErrPermit) {
		t.Errorf("expired: %v", err)
	}
	if _, err := mint.NewVerifier(nil, nil); !errors.Is(err, mint.ErrPermit) {
		t.Errorf("no key: %v", err)
	}
}

func sealed(p scopes.Permissions) scopes.Sealed {
	s, err := p.Seal()
	if err != nil {
		panic(err) // a test's own
	}
	return s
}

// TestPermitIsACopy changes all that an order points to once it is sealed.
func TestPermitIsACopy(t *testing.T) {
	s, v, _ := desk(t)
	policy := iam.Policy{Version: iam.Version, Statements: []iam.Statement{{
		Effect: iam.Allow, Action: []string{"s3:ListBucket"}, Resource: []string{"arn:aws:s3:::a"},
		Condition: map[string]map[string][]string{"StringLike": {"s3:prefix": {"b/*"}}},
	}}}
	rules := []vaultacl.Rule{{Path: "a/b", Capabilities: []string{"read"}}}
	networks, regions := []string{"192.0.2.0/24"}, []string{"eu-west-1"}
	for _, p := range []scopes.Permissions{{Dialect: iam.DialectAWS, AWS: &policy}, {Vault: rules}} {
		o := order()
		o.Permissions, o.SourceCIDRs, o.Regions = sealed(p), networks, regions
		want := o.Permissions.Canonical()
		permit, err := s.Sign(o)
		if err != nil {
			t.Fatal(err)
		}
		policy.Statements[0].Action[0] = "s3:DeleteBucket"
		policy.Statements[0].Condition["StringLike"]["s3:prefix"][0] = "*"
		rules[0].Path, rules[0].Capabilities[0] = "a/*", "sudo"
		networks[0], regions[0] = "0.0.0.0/0", "us-east-1"
		given := o.Permissions.Permissions() // a caller's copy
		if given.AWS != nil {
			given.AWS.Statements[0].Resource[0] = "*"
		} else {
			given.Vault[0].Path = "*"
		}
		got, err := v.Verify(permit)
		if err != nil {
			t.Fatal(err)
		}
		text, err := got.Permissions.Permissions().Canonical()
		if err != nil || string(text) != want || got.Permissions.Canonical() != want {
			t.Errorf("sealed\n%s\nminted\n%s, %v", want, text, err)
		}
		if got.SourceCIDRs[0] != "192.0.2.0/24" || got.Regions[0] != "eu-west-1" {
			t.Errorf("sealed for other networks and Regions than %q and %q", got.SourceCIDRs, got.Regions)
		}
		networks[0], regions[0] = "192.0.2.0/24", "eu-west-1"
	}
}

func TestSignRefuses(t *testing.T) {
	s, _, _ := desk(t)
	for name, change := range map[string]func(*mint.Order){
		"no grant":         func(o *mint.Order) { o.GrantID = "" },
		"grant with slash": func(o *mint.Order) { o.GrantID = "../root" },
		"no task":          func(o *mint.Order) { o.TaskID = "" },
		"no agent":         func(o *mint.Order) { o.AgentID = "" },
		"no scope":         func(o *mint.Order) { o.ScopeName = "" },
		"agent no UTF-8":   func(o *mint.Order) { o.AgentID = "spiffe://example.org/\xff" },
		"no version":       func(o *mint.Order) { o.ScopeVersion = "" },
		"no digest":        func(o *mint.Order) { o.EnvelopeDigest = "" },
		"no issuance":      func(o *mint.Order) { o.IssuanceID = "" },
		"no session":       func(o *mint.Order) { o.SessionName = "" },
		"session too long": func(o *mint.Order) { o.SessionName = strings.Repeat("a", 65) },
		"session newline":  func(o *mint.Order) { o.SessionName = "vk-a\n" },
		"no role":          func(o *mint.Order) { o.Role = "" },
		"no permissions":   func(o *mint.Order) { o.Permissions = scopes.Sealed{} },
		"no issue time":    func(o *mint.Order) { o.IssuedAt = time.Time{} },
		"permit too long":  func(o *mint.Order) { o.PermitExpires = o.IssuedAt.Add(mint.MaxPermitLife + 1) },
		"permit backwards": func(o *mint.Order) { o.PermitExpires = o.IssuedAt },
		"deadline over":    func(o *mint.Order) { o.NotAfter = o.IssuedAt },
	} {
		o := order()
		change(&o)
		if _, err := s.Sign(o); !errors.Is(err, mint.ErrPermit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCredentialHidesItself(t *testing.T) {
	const secret = "hunter2"
	c := mint.NewCredential(mint.Handle{Provider: mint.ProviderAWS, AccessKeyID: "ASIA1"}, start, mint.Secret{
		AWS:   &mint.AWSSecret{AccessKeyID: "ASIA1", SecretAccessKey: secret, SessionToken: secret},
		Vault: &mint.VaultSecret{Token: secret, DataJSON: []byte(secret), WrappingToken: secret},
	})
	var out strings.Builder
	inside := struct{ hidden mint.Credential }{c} // fmt cannot call the methods of an unexported field
	for _, v := range []any{inside, &inside, []any{inside}, c, &c, c.Reveal(), *c.Reveal().AWS, c.Reveal().AWS, *c.Reveal().Vault, c.Reveal().Vault, []mint.Credential{c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", slog.Any("v", v))
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", slog.Any("v", v))
	}
	raw, err := json.Marshal(map[string]any{"c": c, "r": c.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(raw)
	hex := fmt.Sprintf("%x", secret)
	if strings.Contains(out.String(), secret) || strings.Contains(out.String(), hex) {
		t.Errorf("the secret shows: %s", out.String())
	}
	if (mint.Credential{}).Valid() || !c.Valid() {
		t.Error("Valid is wrong")
	}
	if h, err := json.Marshal(c.Handle()); err != nil || !strings.Contains(string(h), `"access_key_id":"ASIA1"`) {
		t.Errorf("handle: %s %v", h, err)
	}
}

func TestMaybe(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{nil, true},
		{errors.New("unknown"), true},
		{mint.ErrUnavailable, true},
		{mint.ErrInvalid, true},
		{mint.ErrPermit, false},
		{mint.ErrRefused, false},
		{mint.ErrTooLarge, false},
		{mint.ErrLifetime, false},
		{fmt.Errorf("x: %w", mint.Harmless(mint.ErrUnavailable)), false},
		{fmt.Errorf("x: %w", mint.Left(mint.ErrRefused)), true},
		{mint.Left(mint.Harmless(mint.ErrUnavailable)), true},
	} {
		if got := mint.Maybe(tc.err); got != tc.want {
			t.Errorf("Maybe(%v) is %v", tc.err, got)
		}
	}
}

func TestByRole(t *testing.T) {
	s, _, _ := desk(t)
	p, err := s.Sign(order())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (mint.ByRole{}).Mint(t.Context(), p); !errors.Is(err, mint.ErrPermit) {
		t.Error(err)
	}
	if _, err := (mint.ByRole{}).Revoke(t.Context(), mint.Handle{}); !errors.Is(err, mint.ErrRefused) {
		t.Error(err)
	}
}
