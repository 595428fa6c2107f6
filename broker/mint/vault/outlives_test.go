package vault_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

const secretPath = "engine/creds/r"

func (f *fakeVault) readCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// outlives wants the refusal, and what it says.
func outlives(t *testing.T, err error, maybe bool, says string) mint.OutlivesError {
	t.Helper()
	var o *mint.OutlivesError
	if !errors.As(err, &o) || mint.Maybe(err) != maybe || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %v, maybe %v; want a refusal that says %q", err, mint.Maybe(err), says)
	}
	if strings.Contains(err.Error(), marker) {
		t.Errorf("the error holds a secret: %v", err)
	}
	return *o
}

// A secret that outlives its grant is not given out unless a probe saw that revoking ends it.
func TestSecretOutlivesItsGrant(t *testing.T) {
	perms := scopes.Permissions{VaultRead: secretPath}
	t.Run("undeclared", func(t *testing.T) {
		f := newFakeVault(t)
		f.data = map[string]any{"ttl": 3600}
		w, m := f.minter(t, nil)
		_, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(perms, 15*time.Second)))
		o := outlives(t, err, true, "not declared revocable")
		if left := time.Until(o.Until); left < 59*time.Minute || left > time.Hour {
			t.Errorf("it says that the secret lives %v more", left)
		}
		if o.Left.VaultLeaseID == "" || !o.Left.Ends().Equal(o.Until) {
			t.Errorf("it does not name what is left: %+v", o.Left)
		}
		if outcome, err := m.Revoke(t.Context(), o.Left); err != nil || outcome != mint.DeadlineOnly {
			t.Errorf("revoking what is left: %v %v", outcome, err)
		}
		f.empty(t)
		// The next one is refused before another secret is made that nobody can end.
		_, err = m.Mint(t.Context(), w.desk.Permit(minttest.Order(perms, 15*time.Second)))
		outlives(t, err, false, "live 1h0m0s")
		if n := f.readCount(); n != 1 {
			t.Errorf("%d secrets were made", n)
		}
		// A grant that is long enough is not held to it.
		if _, err = m.Mint(t.Context(), w.desk.Permit(minttest.Order(perms, 2*time.Hour))); err != nil {
			t.Error(err)
		}
	})
	t.Run("shorter than the grant", func(t *testing.T) {
		f := newFakeVault(t)
		f.lease, f.data = 60, map[string]any{"ttl": 30}
		w, m := f.minter(t, nil)
		cred, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(perms, 10*time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(cred.ExpiresAt()); left > time.Minute || left < 50*time.Second || !cred.Handle().Ends().Equal(cred.ExpiresAt()) {
			t.Errorf("told to live %v, and the handle says %v", left, cred.Handle().Ends())
		}
		if outcome, err := m.Revoke(t.Context(), cred.Handle()); err != nil || outcome != mint.DeadlineOnly {
			t.Errorf("revoke: %v %v; nobody saw it end anything", outcome, err)
		}
	})
	// A lease's end is a revocation by Vault: it says nothing about a secret that does not say its own end.
	for name, data := range map[string]map[string]any{
		"no end of its own": nil, "an end in unknown words": {"expiration": "tomorrow"}, "a life in unknown words": {"ttl": "3600"},
		"one of two": {"ttl": 30, "more": map[string]any{"expires_at": "2026/12/01"}}, "no life": {"ttl": 0}, "an empty end": {"expiration": ""},
	} {
		t.Run("a short lease, and "+name, func(t *testing.T) {
			f := newFakeVault(t)
			f.lease, f.data = 2, data
			w, m := f.minter(t, nil)
			_, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(perms, time.Hour)))
			o := outlives(t, err, true, "does not say when it ends by itself")
			if !o.Until.IsZero() || o.Left.VaultLeaseID == "" || !o.Left.Ends().IsZero() {
				t.Errorf("its end is not known, and it says %v; left %+v", o.Until, o.Left)
			}
			if outcome, err := m.Revoke(t.Context(), o.Left); err != nil || outcome != mint.DeadlineOnly {
				t.Errorf("revoking what is left: %v %v", outcome, err)
			}
			f.empty(t)
			_, err = m.Mint(t.Context(), w.desk.Permit(minttest.Order(perms, time.Hour)))
			outlives(t, err, false, "do not say when they end by themselves")
			if n := f.readCount(); n != 1 {
				t.Errorf("%d secrets were made", n)
			}
		})
	}
	t.Run("declared and seen", func(t *testing.T) {
		f := newFakeVault(t)
		w, m := f.minter(t, func(c *vault.Config) { c.Mounts = f.probe() })
		o := minttest.Order(perms, 15*time.Second)
		cred, err := m.Mint(t.Context(), w.desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		if cred.ExpiresAt().After(o.NotAfter) || !cred.Handle().VaultKills {
			t.Errorf("until %v, handle %+v", cred.ExpiresAt(), cred.Handle())
		}
		if outcome, err := m.Revoke(t.Context(), cred.Handle()); err != nil || outcome != mint.RevokedUpstream {
			t.Errorf("revoke: %v %v", outcome, err)
		}
		f.empty(t) // the probe's things too
		if _, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(perms, 15*time.Second))); err != nil {
			t.Fatal(err)
		}
		if n := f.readCount(); n != 3 {
			t.Errorf("%d secrets were made for two mintings and one probe", n)
		}
	})
	t.Run("wrapped and undeclared", func(t *testing.T) {
		f := newFakeVault(t)
		w, m := f.minter(t, nil)
		wrapping := perms
		wrapping.VaultWrap = true
		_, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(wrapping, 2*time.Hour)))
		outlives(t, err, false, "not visible")
		if n := f.readCount(); n != 0 {
			t.Errorf("%d secrets were made", n)
		}
	})
	t.Run("a lost answer of an engine that nobody saw", func(t *testing.T) {
		for name, fault := range map[string]http.HandlerFunc{"hangs": hangs, "breaks": status(http.StatusInternalServerError), "garbage": garbage, "no lease": empty} {
			f := newFakeVault(t)
			f.fault[callRead] = fault
			w, m := f.minter(t, nil)
			o := minttest.Order(perms, time.Minute)
			_, err := m.Mint(t.Context(), w.desk.Permit(o))
			if err == nil || !mint.Maybe(err) {
				t.Errorf("%s: %v, as if nothing could be left", name, err)
			}
			h := o.Handle(mint.ProviderVault)
			if outcome, err := m.Revoke(t.Context(), h); err != nil || outcome != mint.DeadlineOnly || !h.Ends().IsZero() {
				t.Errorf("%s: %v %v, ends %v; its end is not known", name, outcome, err, h.Ends())
			}
		}
	})
}

// What a probe does not see is not believed, whatever the configuration says.
func TestProbeThatSeesNoDeath(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fakeVault, *vault.Mount)
		says   string
	}{
		"revoking does nothing": {func(f *fakeVault, _ *vault.Mount) { f.immortal = true }, "after its lease was revoked"},
		"it always says yes":    {func(_ *fakeVault, m *vault.Mount) { m.Probe = []string{"true"} }, "after its lease was revoked"},
		"it always says no":     {func(_ *fakeVault, m *vault.Mount) { m.Probe = []string{"false"} }, "never saw a secret"},
		"another exit code":     {func(_ *fakeVault, m *vault.Mount) { m.Probe = []string{"sh", "-c", "exit 3"} }, "exits 3"},
		"there is no command":   {func(_ *fakeVault, m *vault.Mount) { m.Probe = []string{"/nonexistent/probe"} }, "did not run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits as long as a target may take
			f := newFakeVault(t)
			mounts := f.probe()
			mount := mounts["engine/"]
			tc.change(f, &mount)
			w, m := f.minter(t, func(c *vault.Config) { c.Mounts = map[string]vault.Mount{"engine/": mount} })
			minttest.Eventually(t, 2*time.Minute, "the probe has ended", func() bool {
				_, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: secretPath}, time.Minute)))
				if errors.Is(err, mint.ErrUnavailable) && !mint.Maybe(err) {
					return false // it runs
				}
				outlives(t, err, true, tc.says)
				return true
			})
			f.empty(t)
		})
	}
}

// What a probe starts and leaves behind, which may hold the secret, ends with it.
func TestProbeLeavesNothingRunning(t *testing.T) {
	f := newFakeVault(t)
	pid := filepath.Join(t.TempDir(), "pid")
	left := script(t, "(exec sleep 300) >/dev/null 2>&1 </dev/null & echo $! > "+pid+"\ntest -e "+f.alive)
	w, m := f.minter(t, func(c *vault.Config) { c.Mounts = map[string]vault.Mount{"engine/": {Revocable: true, Probe: left}} })
	if _, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: secretPath}, time.Minute))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	minttest.Eventually(t, 5*time.Second, "it has ended", func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n)) // a zombie where nobody waits for it
		return err != nil || strings.Contains(string(state), ") Z ")
	})
}

// The secret's own data can say more than its lease: a mount's maximum cuts the lease alone.
func TestRealEndIsInTheData(t *testing.T) {
	exp := time.Now().Add(2 * time.Hour)
	jwt := "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, exp.Unix())) + ".c2ln"
	for name, data := range map[string]map[string]any{
		"an STS session": {"ttl": 7200}, "a Google token": {"token_ttl": "2h0m0s"}, "a certificate": {"expiration": exp.Unix()},
		"an access token": {"expires_at_seconds": exp.Unix()}, "a time": {"expires_at": exp.UTC().Format(time.RFC3339)},
		"a JWT": {"service_account_token": jwt}, "further in": {"token": map[string]any{"id": jwt}},
		"for ever": {"expiration": 1e300},
	} {
		f := newFakeVault(t)
		f.lease, f.data = 60, data
		w, m := f.minter(t, nil)
		_, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: secretPath}, time.Hour)))
		if o := outlives(t, err, true, "outlives the grant"); o.Until.Before(exp.Add(-time.Minute)) {
			t.Errorf("%s: until %v", name, o.Until)
		}
	}
}

// A token may not reach what hands out secrets with a life of their own.
func TestTokenThatCouldMint(t *testing.T) {
	rules := func(path string, caps ...string) scopes.Permissions {
		return scopes.Permissions{Vault: []vaultacl.Rule{{Path: path, Capabilities: caps}}}
	}
	for name, tc := range map[string]struct {
		engine string
		perms  scopes.Permissions
		ok     bool
	}{
		"stored secrets":       {"kv", rules("secret/data/a/*", "read"), true},
		"Vault's own system":   {"system", rules("sys/policies/acl/team-*", "update"), true},
		"listing accounts":     {"database", rules("database/roles/*", "list"), true},
		"accounts":             {"database", rules("database/creds/*", "read"), false},
		"certificates":         {"pki", rules("pki/issue/web", "update"), false},
		"an engine of theirs":  {"acme-tokens", rules("acme/token", "create"), false},
		"more than one mount":  {"kv", rules("+/data/a", "read"), false},
		"everything":           {"kv", rules("*", "read"), false},
		"the start of a mount": {"kv", rules("secre*", "read"), false},
		"tokens":               {"token", rules("auth/token/create", "update"), false},
		"looking at itself":    {"token", rules("auth/token/lookup-self", "read"), true},
		"encrypting":           {"transit", rules("transit/encrypt/*", "update"), true},
		"keys by a wildcard":   {"transit", rules("transit/*", "read"), false},
		"keys by a segment":    {"transit", rules("transit/+/orders", "read"), false},
		"keys by a beginning":  {"transit", rules("transit/ex*", "read"), false},
		"keys for a key":       {"transit", rules("transit/by*", "read"), false},
		"keys by their name":   {"transit", rules("transit/export/encryption-key/a*", "read"), true}, // destructive: people saw it
		"all keys by name":     {"transit", rules("transit/export/*", "read"), true},
		"identity tokens":      {"identity", rules("identity/oidc/token/a", "read"), false},
	} {
		f := newFakeVault(t)
		f.engine = tc.engine
		w, m := f.minter(t, nil)
		cred, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(tc.perms, time.Minute)))
		if tc.ok {
			if err != nil || !cred.Valid() {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, mint.ErrOutlives) || mint.Maybe(err) {
			t.Errorf("%s: %v", name, err)
		}
		f.empty(t)
	}
}
