package vault_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes"
)

// marker is in every bad answer; it must reach no error.
const marker = "SECRET-IN-BODY"

// The calls that a minting makes, in their order.
const (
	callLogin  = "login"
	callPolicy = "write policy"
	callCreate = "create token"
	callRead   = "read secret"
	callLease  = "revoke lease"
	callRevoke = "revoke token"
	callDelete = "delete policy"
)

// fakeVault keeps what is left of policies and tokens, and fails where it is told to.
type fakeVault struct {
	url   string
	fault map[string]http.HandlerFunc
	// auth changes the token's answer.
	auth func(map[string]any)
	// wrap changes the wrapping's.
	wrap func(map[string]any)

	mu       sync.Mutex
	policies map[string]bool // guarded by mu
	tokens   map[string]bool // accessors; guarded by mu

	// alive is a file that is there while the newest secret works; data is more of the secret's.
	alive string
	data  map[string]any
	// immortal has revoking do nothing but say yes, as Vault's AWS engine does for STS.
	immortal bool
	lease    int // in seconds; 0 for 3600
	reads    int // guarded by mu
	// engine is the type of every mount; "" for kv.
	engine string
}

// probe is a command that sees whether the newest secret works.
func (f *fakeVault) probe() map[string]vault.Mount {
	return map[string]vault.Mount{"engine/": {Revocable: true, Probe: []string{"test", "-e", f.alive}}}
}

func newFakeVault(t *testing.T) *fakeVault {
	t.Helper()
	f := &fakeVault{fault: map[string]http.HandlerFunc{}, policies: map[string]bool{}, tokens: map[string]bool{}}
	srv := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(srv.Close)
	f.url, f.alive = srv.URL, filepath.Join(t.TempDir(), "alive")
	return f
}

func (f *fakeVault) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	name, isPolicy := strings.CutPrefix(path, "sys/policies/acl/")
	call := map[string]string{
		"auth/jwt/login": callLogin, "auth/token/create-orphan": callCreate, "engine/creds/r": callRead,
		"sys/leases/revoke": callLease, "auth/token/revoke-accessor": callRevoke,
	}[path]
	if isPolicy {
		call = callPolicy
		if r.Method == http.MethodDelete {
			call = callDelete
		}
	}
	var body struct {
		Policies []string
		TTL      string
		Accessor string
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault := f.fault[call]; fault != nil {
		f.mu.Unlock()
		fault(w, r)
		f.mu.Lock()
		return
	}
	answer := map[string]any{}
	switch call {
	case callLogin:
		answer["auth"] = map[string]any{"client_token": "broker", "lease_duration": 3600}
	case callPolicy:
		f.policies[name] = true
	case callDelete:
		delete(f.policies, name)
	case callRevoke:
		delete(f.tokens, body.Accessor)
	case callLease:
		if !f.immortal {
			_ = os.Remove(f.alive)
		}
	case callCreate:
		life, _ := time.ParseDuration(body.TTL)
		auth := map[string]any{
			"client_token": "hvs." + marker, "accessor": "acc", "lease_duration": int(life.Seconds()),
			"renewable": false, "policies": body.Policies,
		}
		if f.auth != nil {
			f.auth(auth)
		}
		f.tokens["acc"] = true
		answer["auth"] = auth
	case callRead:
		if asked, err := time.ParseDuration(r.Header.Get("X-Vault-Wrap-TTL")); err == nil {
			info := map[string]any{"token": "hvs." + marker, "accessor": "wrap", "ttl": int(asked.Seconds())}
			f.tokens["wrap"] = true
			f.wrap(info)
			answer["wrap_info"] = info
			break
		}
		f.reads++
		_ = os.WriteFile(f.alive, nil, 0o600)
		data := map[string]any{"p": marker}
		maps.Copy(data, f.data)
		answer["lease_id"], answer["lease_duration"], answer["data"] = "engine/creds/r/1", cmp.Or(f.lease, 3600), data
	default:
		if at, ok := strings.CutPrefix(path, "sys/internal/ui/mounts/"); ok {
			mount, _, _ := strings.Cut(at, "/")
			answer["data"] = map[string]any{"type": cmp.Or(f.engine, "kv"), "path": mount + "/"}
		}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// empty fails the test where something is left.
func (f *fakeVault) empty(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.policies) != 0 || len(f.tokens) != 0 {
		t.Errorf("left: policies %v, tokens %v", f.policies, f.tokens)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"errors":["%s"]}`, marker)
	}
}

func garbage(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<"+marker) }

func empty(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "{}") }

func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// TestFailures is the failure table over every call a minting makes: what the caller is
// told, whether a credential may exist, and what is left.
func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		call  string
		how   string
		fault http.HandlerFunc
		want  error
		maybe bool
	}{
		{callLogin, "refuses", status(http.StatusForbidden), mint.ErrRefused, false},
		{callLogin, "throttles", status(http.StatusTooManyRequests), mint.ErrUnavailable, false},
		{callLogin, "sealed", status(http.StatusServiceUnavailable), mint.ErrUnavailable, false},
		{callLogin, "hangs", hangs, mint.ErrUnavailable, false},
		{callLogin, "garbage", garbage, mint.ErrInvalid, false},
		{callLogin, "no token", empty, mint.ErrInvalid, false},
		{callPolicy, "refuses", status(http.StatusForbidden), mint.ErrRefused, false},
		{callPolicy, "throttles", status(http.StatusTooManyRequests), mint.ErrUnavailable, false},
		{callPolicy, "breaks", status(http.StatusInternalServerError), mint.ErrUnavailable, false},
		{callPolicy, "hangs", hangs, mint.ErrUnavailable, false},
		{callCreate, "refuses", status(http.StatusBadRequest), mint.ErrRefused, false},
		{callCreate, "throttles", status(http.StatusTooManyRequests), mint.ErrUnavailable, false},
		{callCreate, "breaks", status(http.StatusInternalServerError), mint.ErrUnavailable, false},
		{callCreate, "hangs", hangs, mint.ErrUnavailable, false},
		{callCreate, "garbage", garbage, mint.ErrInvalid, false},
		{callCreate, "no token", empty, mint.ErrInvalid, false},
		{callRead, "refuses", status(http.StatusForbidden), mint.ErrRefused, false},
		{callRead, "breaks", status(http.StatusInternalServerError), mint.ErrUnavailable, false},
		{callRead, "hangs", hangs, mint.ErrUnavailable, false},
		{callRead, "garbage", garbage, mint.ErrInvalid, false},
		{callRead, "no lease", empty, mint.ErrInvalid, false},
	} {
		t.Run(tc.call+" "+tc.how, func(t *testing.T) {
			f := newFakeVault(t)
			f.fault[tc.call] = tc.fault
			checkMint(t, f, false, tc.want, tc.maybe)
			f.empty(t)
		})
	}
	for name, change := range map[string]func(map[string]any){
		"longer life":    func(a map[string]any) { a["lease_duration"] = 7200 },
		"endless":        func(a map[string]any) { a["lease_duration"] = 0 },
		"renewable":      func(a map[string]any) { a["renewable"] = true },
		"more policies":  func(a map[string]any) { a["policies"] = []string{"default", "root"} },
		"no token":       func(a map[string]any) { a["client_token"] = "" },
		"identity's too": func(a map[string]any) { a["identity_policies"] = []string{"admin"} },
	} {
		t.Run("token with "+name, func(t *testing.T) {
			f := newFakeVault(t)
			f.auth = change
			checkMint(t, f, false, mint.ErrInvalid, false)
			f.empty(t)
		})
	}
	for name, change := range map[string]func(map[string]any){
		"longer life": func(w map[string]any) { w["ttl"] = 3600 },
		"endless":     func(w map[string]any) { w["ttl"] = 0 },
		"no token":    func(w map[string]any) { w["token"] = "" },
	} {
		t.Run("wrapping with "+name, func(t *testing.T) {
			f := newFakeVault(t)
			f.wrap = change
			checkMint(t, f, true, mint.ErrInvalid, false)
			f.empty(t)
		})
	}
	t.Run("wrapping that cannot be ended", func(t *testing.T) {
		f := newFakeVault(t)
		f.wrap = func(w map[string]any) { w["accessor"] = "" }
		checkMint(t, f, true, mint.ErrInvalid, false)
	})
	// What cannot be taken back is said to be there, whatever the cause was.
	for _, undo := range []string{callRevoke, callDelete} {
		t.Run("taking back fails: "+undo, func(t *testing.T) {
			f := newFakeVault(t)
			f.fault[callRead], f.fault[undo] = status(http.StatusBadRequest), status(http.StatusInternalServerError)
			checkMint(t, f, false, mint.ErrRefused, true)
		})
	}
}

// minter logs in to f by a JWT that nobody looks at.
func (f *fakeVault) minter(t *testing.T, change func(*vault.Config)) (*world, *vault.Minter) {
	t.Helper()
	w := &world{address: f.url, desk: minttest.NewDesk(t)}
	return w, w.minter(t, func(c *vault.Config) {
		c.Timeout, c.Settle = 300*time.Millisecond, time.Second
		c.Auth.JWT = func(context.Context, string) (string, error) { return "svid", nil }
		if change != nil {
			change(c)
		}
	})
}

func checkMint(t *testing.T, f *fakeVault, wrap bool, want error, maybe bool) {
	t.Helper()
	w, m := f.minter(t, func(c *vault.Config) { c.Mounts = f.probe() })
	m.Seen("engine/creds/r")
	cred, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: "engine/creds/r", VaultWrap: wrap}, time.Minute)))
	check(t, err, want, maybe)
	if err != nil && strings.Contains(err.Error(), marker) {
		t.Errorf("the error holds a secret: %v", err)
	}
	if cred.Valid() {
		t.Error("a credential together with an error")
	}
}

// An order that Vault could not keep is refused before anything is sent.
func TestLimitsThatVaultHasNot(t *testing.T) {
	for name, change := range map[string]func(*mint.Order){
		"networks": func(o *mint.Order) { o.SourceCIDRs = []string{"203.0.113.0/24"} },
		"Regions":  func(o *mint.Order) { o.Regions = []string{"eu-west-1"} },
	} {
		f := newFakeVault(t)
		f.fault[callLogin] = func(http.ResponseWriter, *http.Request) { t.Errorf("%s: Vault was called", name) }
		w := &world{address: f.url, desk: minttest.NewDesk(t)}
		m := w.minter(t, func(c *vault.Config) {
			c.Auth.JWT = func(context.Context, string) (string, error) { return "svid", nil }
		})
		o := minttest.Order(scopes.Permissions{VaultRead: "engine/creds/r"}, time.Minute)
		change(&o)
		_, err := m.Mint(t.Context(), w.desk.Permit(o))
		check(t, err, mint.ErrPermit, false)
	}
}
