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
		EnvelopeDigest: "d", SessionName: mint.NewSessionName(), Role: "r",
		Permissions: scopes.Permissions{Vault: []vaultacl.Rule{{Path: "a/b", Capabilities: []string{"read"}}}},
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
	v, err := mint.NewVerifier(s.Public(), c.now)
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
	// What a permit points to is under the signature too.
	o := order()
	o.Permissions = scopes.Permissions{AWS: &iam.Policy{Version: iam.Version, Statements: []iam.Statement{{
		Effect: iam.Allow, Action: []string{"s3:GetObject"}, Resource: []string{"arn:aws:s3:::a/*"},
	}}}}
	changed, err := s.Sign(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Permissions.AWS.Statements[0].Action[0] = "s3:DeleteObject"
	if _, err := v.Verify(changed); !errors.Is(err, mint.ErrPermit) {
		t.Errorf("changed permissions: %v", err)
	}
	o = order()
	o.Regions = []string{"eu-west-1"}
	moved, err := s.Sign(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Regions[0] = "us-east-1"
	if _, err := v.Verify(moved); !errors.Is(err, mint.ErrPermit) {
		t.Errorf("changed Regions: %v", err)
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

func TestSignRefuses(t *testing.T) {
	s, _, _ := desk(t)
	for name, change := range map[string]func(*mint.Order){
		"no grant":         func(o *mint.Order) { o.GrantID = "" },
		"grant with slash": func(o *mint.Order) { o.GrantID = "../root" },
		"no task":          func(o *mint.Order) { o.TaskID = "" },
		"no agent":         func(o *mint.Order) { o.AgentID = "" },
		"no scope":         func(o *mint.Order) { o.ScopeName = "" },
		"no version":       func(o *mint.Order) { o.ScopeVersion = "" },
		"no digest":        func(o *mint.Order) { o.EnvelopeDigest = "" },
		"no issuance":      func(o *mint.Order) { o.IssuanceID = "" },
		"no session":       func(o *mint.Order) { o.SessionName = "" },
		"session too long": func(o *mint.Order) { o.SessionName = strings.Repeat("a", 65) },
		"session newline":  func(o *mint.Order) { o.SessionName = "vk-a\n" },
		"no role":          func(o *mint.Order) { o.Role = "" },
		"no permissions":   func(o *mint.Order) { o.Permissions = scopes.Permissions{} },
		"two kinds":        func(o *mint.Order) { o.Permissions.VaultRead = "x/y" },
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
