package mcp_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/mcp"
)

// TestTask is what an agent does, from looking to closing.
func TestTask(t *testing.T) {
	each(t, func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession) {
		s := newSite(t, nil)
		c := connect(s, t)
		scopes := ask[mcp.ListScopesOut](t, c, "list_scopes", map[string]any{}).Scopes
		if !slices.ContainsFunc(scopes, func(s mcp.Scope) bool {
			return s.Name == "s3-prefix-read" && s.ReadOnly && !s.Destructive && s.Tier == "read" && len(s.Parameters) == 2
		}) {
			t.Errorf("scopes are %+v", scopes)
		}
		if one := ask[mcp.ListScopesOut](t, c, "list_scopes", map[string]any{"contains": "REBUILD"}).Scopes; len(one) != 1 || !one[0].Destructive {
			t.Errorf("filtered to %+v", one)
		}
		task := openTask(t, c)
		said := ask[mcp.ExplainOut](t, c, "explain", map[string]any{"task": task, "scope": "s3-prefix-read", "parameters": prod})
		if !said.Allowed || said.Tier != "read" || !strings.Contains(said.Permissions, "s3:GetObject") {
			t.Errorf("explain says %+v", said)
		}
		got := ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-prefix-read", prod))
		if got.State != "ready" || got.Tier != "read" || got.SecondsLeft < 600 || !got.Renewed ||
			got.Environment["AWS_PROFILE"] != got.Profile || got.Environment["AWS_CONFIG_FILE"] != got.ConfigFile {
			t.Errorf("access is %+v", got)
		}
		if config, err := os.ReadFile(got.ConfigFile); err != nil || !strings.Contains(string(config), "[profile "+got.Profile+"]\ncredential_process = ") {
			t.Errorf("the config file has %q (%v)", config, err)
		}
		if s.h.Minter.Live() != 1 {
			t.Errorf("%d live upstream", s.h.Minter.Live())
		}
		again := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": got.Access})
		if again.State != "ready" || again.GrantID != got.GrantID || !maps.Equal(again.Environment, got.Environment) {
			t.Errorf("then it is %+v", again)
		}
		ask[mcp.ReleaseOut](t, c, "release", map[string]any{"access": got.Access})
		brokertest.Eventually(t, "the credential is revoked", func() bool { return s.h.Minter.Live() == 0 })
		if config, err := os.ReadFile(got.ConfigFile); err != nil || len(config) != 0 {
			t.Errorf("after the release the config file has %q (%v)", config, err)
		}
		if r := refused(t, c, "access_status", map[string]any{"access": got.Access}); r.Reason != mcp.ReasonUnknownHandle {
			t.Errorf("a released handle: %+v", r)
		}
		second := ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-prefix-read", prod))
		closed := ask[mcp.CloseTaskOut](t, c, "close_task", map[string]any{"task": task})
		if !closed.Closed || !slices.Equal(closed.Released, []string{second.Access}) {
			t.Errorf("closing says %+v", closed)
		}
		brokertest.Eventually(t, "closing revokes", func() bool { return s.h.Minter.Live() == 0 })
		if r := refused(t, c, "request_access", request(task, "s3-prefix-read", prod)); r.Reason != mcp.ReasonUnknownHandle {
			t.Errorf("a closed task: %+v", r)
		}
	})
}

// TestApproval is a request that people have to approve.
func TestApproval(t *testing.T) {
	each(t, func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession) {
		s := newSite(t, func(c *mcp.Config) { c.Approvals = "https://approvals.example.org" })
		c := connect(s, t)
		task := openTask(t, c)
		got := ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-bucket-rebuild", map[string]any{"bucket": "prod"}))
		if got.State != "needs_approval" || !slices.Equal(got.Needs, []mcp.Need{{Group: "sre", Approvals: 2}}) || got.Where != "https://approvals.example.org" ||
			got.GrantID == "" || got.Tier == "" || got.Tier == "read" || len(got.Environment) != 0 || got.Next == "" {
			t.Errorf("a rebuild: %+v", got)
		}
		if look := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": got.Access, "wait_seconds": 1}); look.State != "needs_approval" || look.GrantID != got.GrantID {
			t.Errorf("looking again: %+v", look)
		}
		again := ask[mcp.AccessOut](t, c, "request_access", map[string]any{"again": got.Access})
		if again.State != "needs_approval" || again.Access != got.Access || again.GrantID == got.GrantID {
			t.Errorf("asking again: %+v", again)
		}
		// The agent goes on meanwhile.
		ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-prefix-read", prod))
		ask[mcp.ReleaseOut](t, c, "release", map[string]any{"access": got.Access})
	})
}

// TestSessionEnd is a client that leaves without a word.
func TestSessionEnd(t *testing.T) {
	each(t, func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession) {
		s := newSite(t, nil)
		c := connect(s, t)
		got := ask[mcp.AccessOut](t, c, "request_access", request(openTask(t, c), "s3-prefix-read", prod))
		must(t, c.Close())
		brokertest.Eventually(t, "the session's credentials are revoked", func() bool { return s.h.Minter.Live() == 0 })
		brokertest.Eventually(t, "its profile is gone", func() bool {
			config, err := os.ReadFile(got.ConfigFile)
			return err == nil && len(config) == 0
		})
	})
}

// TestAtOnce has many calls of one session at the same time, with closing among
// them: nothing lives on that no handle stands for.
func TestAtOnce(t *testing.T) {
	s := newSite(t, nil)
	c := s.http(t)
	var wg sync.WaitGroup
	for range 4 {
		task := openTask(t, c)
		for i := range 4 {
			wg.Go(func() {
				res, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: "request_access", Arguments: request(task, "s3-prefix-read", prod)})
				over := slices.ContainsFunc([]string{"TASK_CLOSED", "GRANT_ENDED", "UNKNOWN_HANDLE", "UNAVAILABLE"}, func(reason string) bool {
					return err == nil && strings.HasPrefix(textOf(res), reason)
				})
				if err != nil || res.IsError && !over {
					t.Errorf("asking: %v, %s", err, textOf(res))
				}
			})
			if i == 2 {
				wg.Go(func() {
					if _, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: "close_task", Arguments: map[string]any{"task": task}}); err != nil {
						t.Errorf("closing: %v", err)
					}
				})
			}
		}
	}
	wg.Wait()
	brokertest.Eventually(t, "all of it is revoked", func() bool { return s.h.Minter.Live() == 0 })
	brokertest.Eventually(t, "no profile is left", func() bool {
		config, err := os.ReadFile(s.shelf.ConfigFile())
		return err == nil && len(config) == 0
	})
}

func TestCan(t *testing.T) {
	s := newSite(t, nil)
	c := s.stdio(t)
	team := map[string]any{"team": "web"}
	for _, tt := range []struct {
		scope            string
		params           map[string]any
		action, resource string
		answer           string
	}{
		{"s3-prefix-read", prod, "s3:GetObject", "arn:aws:s3:::prod/reports/q3.csv", "yes"},
		{"s3-prefix-read", prod, "s3:GetObject", "arn:aws:s3:::prod/other", "no"},
		{"s3-prefix-read", prod, "s3:PutObject", "arn:aws:s3:::prod/reports/q3.csv", "no"},
		{"vault-kv-read", team, "read", "secret/data/web/db", "yes"},
		{"vault-kv-read", team, "read", "secret/data/ads/db", "no"},
		{"vault-kv-read", team, "delete", "secret/data/web/db", "no"},
		{"db-creds", map[string]any{"role": "app"}, "read", "secret/data/web/db", "no"},
	} {
		got := ask[mcp.CanOut](t, c, "can", map[string]any{
			"scope": tt.scope, "parameters": tt.params, "environment": "staging", "action": tt.action, "resource": tt.resource,
		})
		if got.Answer != tt.answer || got.Why == "" {
			t.Errorf("%s %s of %s: %+v, want %s", tt.action, tt.resource, tt.scope, got, tt.answer)
		}
	}
}

// TestHints are what clients show people before a call.
func TestHints(t *testing.T) {
	s := newSite(t, nil)
	c := s.stdio(t)
	all, err := c.ListTools(t.Context(), nil)
	must(t, err)
	var names []string
	for _, tool := range all.Tools {
		names = append(names, tool.Name)
		a := tool.Annotations
		if a == nil || a.DestructiveHint == nil || a.Title == "" || tool.OutputSchema == nil || tool.InputSchema == nil {
			t.Errorf("%s lacks hints or schemas", tool.Name)
			continue
		}
		wantRead := slices.Contains([]string{"list_scopes", "explain", "can", "access_status"}, tool.Name)
		// The example catalog has a destructive scope.
		if a.ReadOnlyHint != wantRead || *a.DestructiveHint != (tool.Name == "request_access") {
			t.Errorf("%s: read-only %v, destructive %v", tool.Name, a.ReadOnlyHint, *a.DestructiveHint)
		}
	}
	want := []string{"access_status", "can", "close_task", "explain", "list_scopes", "open_task", "release", "request_access"}
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("the tools are %v", names)
	}
}

// TestHintsOfAMildCatalog has nothing destructive to give.
func TestHintsOfAMildCatalog(t *testing.T) {
	s := &site{h: brokertest.NewRunning(t, brokertest.Config{})}
	must(t, os.WriteFile(s.h.Catalog+"/s3-bucket-rebuild.yaml", []byte(`name: s3-bucket-rebuild
description: Nothing of the kind.
provider: aws
role: s3
params:
  bucket: {type: s3_bucket, description: The bucket.}
statements:
  - actions: [s3:GetObject]
    resources: ["arn:aws:s3:::{bucket}/*"]
ttl: {default: 15m, max: 1h}
`), 0o600))
	s.h.Stop()
	s.h.Start()
	s.serve(t, nil)
	all, err := s.stdio(t).ListTools(t.Context(), nil)
	must(t, err)
	for _, tool := range all.Tools {
		if tool.Name == "request_access" && *tool.Annotations.DestructiveHint {
			t.Error("request_access says that it can be destructive")
		}
	}
}
