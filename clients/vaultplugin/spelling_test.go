package vaultplugin_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/logical"
)

// TestOneSpelling asks by every other way to write a parameter that the mount could be
// given, all of which Vault's own rules for parameters take for something else.
func TestOneSpelling(t *testing.T) {
	t.Parallel()
	m := newMount(t, nil)
	before := m.count("grant.granted")
	for name, data := range map[string]map[string]any{
		"named and in the map":      {"parameters": map[string]any{"bucket": "scratch"}},
		"in the map alone":          {"bucket": nil, "parameters": map[string]any{"bucket": "prod"}},
		"in the map as JSON":        {"bucket": nil, "parameters": `{"bucket":"prod"}`},
		"the map in the map":        {"parameters": map[string]any{"parameters": map[string]any{"bucket": "prod"}}},
		"in capitals":               {"Bucket": "scratch"},
		"in capitals in the map":    {"parameters": map[string]any{"Scope": "x"}},
		"a list of one":             {"bucket": []any{"prod"}},
		"a list of one of strings":  {"bucket": []string{"prod"}},
		"a number":                  {"bucket": 7},
		"a truth":                   {"bucket": true},
		"nothing":                   {"prefix": nil},
		"a value twice":             {"bucket": []any{"prod", "prod"}},
		"a number in a list":        {"bucket": []any{"prod", 7}},
		"the path's scope again":    {"scope": "s3-prefix-read"},
		"the path's scope, another": {"scope": "s3-prefix-write"},
	} {
		all := map[string]any{"bucket": "prod", "prefix": "reports/", "purpose": "a test"}
		for k, v := range data {
			if all[k] = v; v == nil && k == "bucket" {
				delete(all, k)
			}
		}
		for _, path := range []string{"creds/s3-prefix-read", "scopes/s3-prefix-read"} {
			resp, err := m.call(t.Context(), logical.ReadOperation, path, all)
			var coded logical.HTTPCodedError
			if !resp.IsError() && (!errors.As(err, &coded) || coded.Code() != http.StatusBadRequest) { // Vault makes a 400 of either
				t.Errorf("%s at %s: %v, want 400", name, path, err)
			}
		}
	}
	// What a task was opened with is not said otherwise in it.
	task := "task_" + strings.Repeat("a", 26)
	for name, value := range map[string]string{"environment": "production", "on_behalf_of": "carol"} {
		_, err := m.creds(t.Context(), map[string]any{"task": task, name: value})
		var coded logical.HTTPCodedError
		if !errors.As(err, &coded) || coded.Code() != http.StatusBadRequest || !strings.Contains(err.Error(), "the task has its") {
			t.Errorf("%s in a task: %v, want 400", name, err)
		}
	}
	if after := m.count("grant.granted"); after != before {
		t.Errorf("%d grants were made", after-before)
	}
	_, err := m.creds(t.Context(), nil)
	must(t, err)
}

// testSpellings holds Vault's own rules for parameters, on a real Vault.
func testSpellings(t *testing.T, w *world, _, _ *api.Client) {
	w.write(t, w.root, "sys/policies/acl/ruled", map[string]any{"policy": `
path "valetkey/creds/s3-prefix-read" {
  capabilities = ["read", "update"]
  allowed_parameters = { "bucket" = ["prod"], "*" = [] }
}
path "valetkey/tasks*" { capabilities = ["update"] }
path "valetkey/tasks"  { capabilities = ["deny"] }
path "valetkey/scopes/s3-prefix-read" {
  capabilities = ["read", "update"]
  denied_parameters = { "bucket" = ["scratch"] }
}`})
	w.write(t, w.root, "auth/userpass/users/carol", map[string]any{"password": "p-carol", "token_policies": "ruled"})
	carol := w.login(t, "carol")
	s, err := read(t, carol, "valetkey/creds/s3-prefix-read", reports...)
	must(t, err)
	w.revoke(t, s)
	for _, path := range []string{"creds", "scopes"} {
		_, err := read(t, carol, "valetkey/"+path+"/s3-prefix-read", "bucket=scratch", "prefix=reports/", "purpose=a test")
		refused(t, err, http.StatusForbidden, "permission denied")
		if path == "scopes" {
			continue // is read, and not written
		}
		for _, data := range []map[string]any{
			{"bucket": "prod", "parameters": map[string]any{"bucket": "scratch"}},
			{"parameters": map[string]any{"bucket": "scratch"}},
			{"parameters": `{"bucket":"scratch"}`},
		} {
			data["prefix"], data["purpose"] = "reports/", "a test"
			_, err := carol.Logical().WriteWithContext(t.Context(), "valetkey/creds/s3-prefix-read", data)
			refused(t, err, http.StatusBadRequest, "parameters")
		}
	}
	// A rule for a path is not passed by a slash behind it: Vault itself takes no such write.
	for path, code := range map[string]int{"tasks": http.StatusForbidden, "tasks/": http.StatusBadRequest} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.vault.Addr+"/v1/valetkey/"+path, strings.NewReader(`{"purpose":"a test"}`))
		must(t, err)
		r.Header.Set("X-Vault-Token", carol.Token())
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != code {
			t.Errorf("%s: %s, want %d", path, resp.Status, code)
		}
	}
	for _, query := range []string{`parameters={"bucket":"scratch"}`, "Bucket=scratch", "scope=x"} {
		if _, err := read(t, carol, "valetkey/scopes/s3-prefix-read", append([]string{query}, reports...)...); err == nil {
			t.Errorf("%s is read", query)
		} else if !strings.Contains(err.Error(), "400") && !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// testNoAgent has callers whose identity makes no agent: that will not get better, so
// Vault's clients are not to ask again.
func testNoAgent(t *testing.T, w *world, _, _ *api.Client) {
	for _, user := range []string{"dave", "erin"} {
		w.write(t, w.root, "auth/userpass/users/"+user, map[string]any{"password": "p-" + user, "token_policies": "user"})
	}
	dave, erin := w.login(t, "dave"), w.login(t, "erin")
	// An alias is renamed, and one deleted, while their tokens live.
	alias := func(c *api.Client) (id, entity string) {
		_, err := c.Logical().ListWithContext(t.Context(), "valetkey/scopes")
		must(t, err)
		self, err := c.Auth().Token().LookupSelfWithContext(t.Context())
		must(t, err)
		entity, _ = self.Data["entity_id"].(string)
		known, err := w.root.Logical().ReadWithContext(t.Context(), "identity/entity/id/"+entity)
		must(t, err)
		id, _ = known.Data["aliases"].([]any)[0].(map[string]any)["id"].(string)
		return id, entity
	}
	id, entity := alias(dave)
	w.write(t, w.root, "identity/entity-alias/id/"+id, map[string]any{"name": "d@ve", "canonical_id": entity, "mount_accessor": w.accessor})
	id, _ = alias(erin)
	_, err := w.root.Logical().DeleteWithContext(t.Context(), "identity/entity-alias/id/"+id)
	must(t, err)
	for name, c := range map[string]*api.Client{"no SPIFFE ID": dave, "no alias": erin} {
		for _, path := range []string{"valetkey/scopes/s3-prefix-read", "valetkey/creds/s3-prefix-read", "valetkey/requests/grant_" + strings.Repeat("a", 26)} {
			data := reports
			if strings.Contains(path, "requests") {
				data = nil
			}
			_, err := read(t, c, path, data...)
			if err == nil {
				t.Errorf("%s: %s is read", name, path)
				continue
			}
			refused(t, err, http.StatusForbidden, "makes no agent")
		}
		_, err := c.Logical().WriteWithContext(t.Context(), "valetkey/tasks", map[string]any{"purpose": "a test"})
		refused(t, err, http.StatusForbidden, "makes no agent")
	}
}
