package vault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// aclWorld is a real Vault that answers what scopes/vaultacl claims it would.
type aclWorld struct {
	t    *testing.T
	addr string
	root *api.Client
	rng  *rand.Rand
	n    int
}

func newACLWorld(t *testing.T) *aclWorld {
	server := servers.Vault(t)
	root, err := api.NewClient(&api.Config{Address: server.Addr})
	if err != nil {
		t.Fatal(err)
	}
	root.SetToken(server.RootToken)
	w := &aclWorld{t: t, addr: server.Addr, root: root, rng: rand.New(rand.NewPCG(1, 2))}
	w.write("sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	return w
}

func (w *aclWorld) write(path string, data map[string]any) *api.Secret {
	w.t.Helper()
	s, err := w.root.Logical().WriteWithContext(w.t.Context(), path, data)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *aclWorld) one(words ...string) string { return words[w.rng.IntN(len(words))] }

// path makes a path, or a pattern, of few segments, so that they meet often.
func (w *aclWorld) path(pattern bool) string {
	segs := []string{"kv"}
	if w.rng.IntN(8) == 0 {
		segs[0] = "kw"
	}
	if pattern && w.rng.IntN(8) == 0 {
		segs[0] = "+"
	}
	for range w.rng.IntN(4) {
		s := w.one("a", "b", "ab", "abc")
		if pattern && w.rng.IntN(3) == 0 {
			s = w.one("+", "+", "+a", "a+")
		}
		segs = append(segs, s)
	}
	p := strings.Join(segs, "/")
	if w.rng.IntN(5) == 0 {
		p += "/"
	}
	if pattern && w.rng.IntN(3) == 0 && !strings.HasSuffix(p, "+") {
		p += "*"
	}
	return p
}

// values makes a set of parameters for a rule, or none.
func (w *aclWorld) values() map[string][]any {
	if w.rng.IntN(3) > 0 {
		return nil
	}
	out := map[string][]any{}
	for range 1 + w.rng.IntN(2) {
		list := []any{}
		for range w.rng.IntN(3) {
			list = append(list, []any{"a", "a*", "*b", "*c*", "*", "a,b", true, vaultacl.Number("5")}[w.rng.IntN(8)])
		}
		out[w.one("x", "y", "*")] = list
	}
	return out
}

func (w *aclWorld) rule(parameters bool) vaultacl.PathRule {
	r := vaultacl.PathRule{Path: w.path(true)}
	for _, c := range []string{"create", "delete", "list", "patch", "read", "sudo", "update", "recover", "subscribe"} {
		if w.rng.IntN(2) == 0 {
			r.Capabilities = append(r.Capabilities, c)
		}
	}
	if w.rng.IntN(8) == 0 {
		r.Capabilities = []string{"deny"}
	}
	if parameters {
		r.Allowed, r.Denied = w.values(), w.values()
		if w.rng.IntN(6) == 0 {
			r.Required = []string{w.one("x", "y")}
		}
		if w.rng.IntN(8) == 0 {
			r.MinWrap = time.Duration(1+w.rng.IntN(2)) * time.Minute
		}
		if w.rng.IntN(8) == 0 {
			r.MaxWrap = time.Duration(2+w.rng.IntN(2)) * time.Minute
		}
	}
	return r
}

// policies writes some policies to Vault and returns them as Vault has them.
func (w *aclWorld) policies(parameters bool) (set []vaultacl.Policy, names []string) {
	w.t.Helper()
	for range 1 + w.rng.IntN(3) {
		p := vaultacl.Policy{}
		rules := 1 + w.rng.IntN(6)
		if parameters {
			rules = 1
		}
		for range rules {
			p.Paths = append(p.Paths, w.rule(parameters))
		}
		set, names = append(set, p), append(names, w.policy(p))
	}
	return set, names
}

func (w *aclWorld) policy(p vaultacl.Policy) string {
	w.t.Helper()
	text, err := p.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.n++
	name := fmt.Sprintf("p%d", w.n)
	w.write("sys/policies/acl/"+name, map[string]any{"policy": string(text)})
	return name
}

func (w *aclWorld) token(policies []string) *api.SecretAuth {
	w.t.Helper()
	s, err := w.root.Auth().Token().CreateWithContext(w.t.Context(), &api.TokenCreateRequest{Policies: policies, NoDefaultPolicy: true, TTL: "10m"})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Auth
}

// capabilities asks Vault for many paths at once, by the token or by its accessor.
func (w *aclWorld) capabilities(auth *api.SecretAuth, paths []string) map[string][]string {
	w.t.Helper()
	out := map[string][]string{}
	for _, by := range []struct {
		path string
		data map[string]any
	}{
		{"sys/capabilities", map[string]any{"token": auth.ClientToken, "paths": paths}},
		{"sys/capabilities-accessor", map[string]any{"accessor": auth.Accessor, "paths": paths}},
	} {
		s := w.write(by.path, by.data)
		for _, p := range paths {
			var got []string
			list, _ := s.Data[p].([]any)
			for _, c := range list {
				got = append(got, fmt.Sprint(c))
			}
			if old, ok := out[p]; ok && !slices.Equal(old, got) {
				w.t.Fatalf("Vault says %v and %v of %q", old, got, p)
			}
			out[p] = got
		}
	}
	return out
}

func texts(t *testing.T, set []vaultacl.Policy) string {
	t.Helper()
	var b strings.Builder
	for _, p := range set {
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("# policy\n" + string(text))
	}
	return b.String()
}

// call makes the request and tells whether Vault let it pass.
func (w *aclWorld) call(token string, r vaultacl.Request) bool {
	w.t.Helper()
	method, target := map[vaultacl.Operation]string{
		vaultacl.OpRead: http.MethodGet, vaultacl.OpList: "LIST", vaultacl.OpDelete: http.MethodDelete,
		vaultacl.OpCreate: http.MethodPost, vaultacl.OpUpdate: http.MethodPut,
	}[r.Operation], w.addr+"/v1/"+r.Path
	var body []byte
	if r.Operation == vaultacl.OpRead {
		q := url.Values{}
		for k, v := range r.Data {
			q.Set(k, fmt.Sprint(v))
		}
		target += "?" + q.Encode()
	} else if r.Data != nil {
		var err error
		if body, err = json.Marshal(r.Data); err != nil {
			w.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	if r.WrapTTL > 0 {
		req.Header.Set("X-Vault-Wrap-TTL", r.WrapTTL.String())
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusNotFound:
		return true
	case http.StatusForbidden:
		return false
	}
	var text bytes.Buffer
	_, _ = text.ReadFrom(resp.Body)
	w.t.Fatalf("%s: status %d: %s", r, resp.StatusCode, text.String())
	return false
}

// request makes a call to the KV mount.
func (w *aclWorld) request() vaultacl.Request {
	r := vaultacl.Request{
		Operation: []vaultacl.Operation{vaultacl.OpCreate, vaultacl.OpRead, vaultacl.OpUpdate, vaultacl.OpDelete, vaultacl.OpList}[w.rng.IntN(5)],
		Path:      "kv/" + w.one("a", "b", "ab", "abc", "a+", "+a"),
	}
	for range w.rng.IntN(3) {
		r.Path += "/" + w.one("a", "b", "ab", "abc")
	}
	if r.Operation == vaultacl.OpList {
		r.Path += "/"
	}
	if r.Operation != vaultacl.OpList && r.Operation != vaultacl.OpDelete {
		for range w.rng.IntN(3) {
			if r.Data == nil {
				r.Data = map[string]any{}
			}
			v := []any{"a", "ab", "b", "xcx", "*", "a,b", "q", "", true, 5, []any{"a", "b"}, []any{}, nil}[w.rng.IntN(13)]
			if r.Operation == vaultacl.OpRead {
				v = w.one("a", "ab", "b", "a,b", "")
			}
			r.Data[w.one("x", "y", "X", "z")] = v
		}
	}
	if w.rng.IntN(4) == 0 {
		r.WrapTTL = time.Duration(1+w.rng.IntN(4)) * time.Minute
	}
	return r
}
