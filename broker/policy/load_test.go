package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
)

const readable = `@id("read")
permit (principal, action, resource);
`

func TestLoadRefuses(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"syntax":             {"@id(\"x\")\npermit (principal, action resource);", "a.cedar:2:35"},
		"no id":              {"permit (principal, action, resource);", "a.cedar:1:1: policy has no @id"},
		"empty id":           {"@id(\"\")\npermit (principal, action, resource);", "has no @id"},
		"strange id":         {"@id(\"A b\")\npermit (principal, action, resource);", `@id "A b"`},
		"our id":             {"@id(\"valetkey.floor\")\npermit (principal, action, resource);", "kept for valetkey"},
		"id twice":           {readable + readable, "a.cedar:3:1: @id \"read\" is taken by the policy at "},
		"hidden reason":      {"@id(\"x\")\n@reason(\"one \u3164 two\")\npermit (principal, action, resource);", "its @reason has the character U+3164"},
		"unknown annotation": {"@id(\"x\")\n@reson(\"typo\")\npermit (principal, action, resource);", "unknown annotation @reson"},
		"unknown action":     {`@id("x") permit (principal, action == Valetkey::Action::"nope", resource);`, "unrecognized action"},
		"unknown resource":   {`@id("x") permit (principal, action, resource == Valetkey::Scope::"nope");`, `the catalog has no scope "nope"`},
		"unknown in body":    {`@id("x") permit (principal, action, resource) when { resource == Valetkey::Scope::"nope" };`, `the catalog has no scope "nope"`},
		"unknown in set":     {`@id("x") permit (principal, action, resource) when { resource in [Valetkey::Scope::"nope"] };`, `the catalog has no scope "nope"`},
		"unknown type":       {`@id("x") permit (principal is Valetkey::User, action, resource);`, "unrecognized entity type"},
		"never applies":      {`@id("x") permit (principal, action == Valetkey::Action::"kv-read", resource == Valetkey::Scope::"data-read");`, "never applies"},
		"unknown attribute":  {`@id("x") permit (principal, action, resource) when { principal.team == "a" };`, "team"},
		"unknown context":    {`@id("x") permit (principal, action, resource) when { context.purpose like "*fix*" };`, "purpose"},
		"justification":      {`@id("x") permit (principal, action, resource) when { context has justification && context.justification == "" };`, "context has justification"},
		"principal has typo": {`@id("x") permit (principal, action, resource) unless { principal has usr && principal.usr == "eve" };`, "principal has usr"},
		"params has typo":    {`@id("x") permit (principal, action, resource) unless { context.params has bukket && context.params.bukket == "x" };`, "context.params has bukket"},
		"tier typo":          {`@id("x") permit (principal, action, resource) unless { context.tier == "destructve" };`, `context.tier is never "destructve"`},
		"tier typo in set":   {`@id("x") permit (principal, action, resource) unless { ["admin", "destroy"].contains(context.tier) };`, `context.tier is never "destroy"`},
		"wrong type":         {`@id("x") permit (principal, action, resource) when { context.ttl_seconds == "900" };`, "a.cedar:1:1: policy \"x\""},
		"other scope's":      {`@id("x") permit (principal, action, resource) when { context.params.bucket == "prod" };`, "bucket"},
		"integer as string":  {`@id("x") permit (principal, action == Valetkey::Action::"data-read", resource) when { context.params.count == "7" };`, ""},
		"list as string":     {`@id("x") permit (principal, action == Valetkey::Action::"data-read", resource) when { context.params.keys == "7" };`, ""},
		"undeclared group":   {`@id("x") permit (principal, action, resource) when { context.approvals.boss >= 1 };`, "boss"},
		"template":           {`@id("x") permit (principal == ?principal, action, resource);`, "a.cedar:1:"},
		"no policy":          {"// nothing\n", "no policy in"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := tryPolicies(t, c.text, DefaultFloor)
			if err == nil {
				t.Fatal("loaded")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func TestLoadSaysEveryError(t *testing.T) {
	_, err := tryPolicies(t, "permit (principal, action, resource);\n\n@id(\"y\")\nforbid (principal, action, resource) when { principal.team == \"a\" };\n", DefaultFloor)
	if err == nil || !strings.Contains(err.Error(), "a.cedar:1:1") || !strings.Contains(err.Error(), "a.cedar:3:1") {
		t.Errorf("both positions expected in %q", err)
	}
}

func TestIDsAreUniqueAcrossFiles(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "policies/a.cedar", readable)
	writeFile(t, dir, "policies/b.cedar", readable)
	if _, err := build(dir, DefaultFloor, testScopes()); err == nil || !strings.Contains(err.Error(), "b.cedar:1:1") {
		t.Errorf("got %v", err)
	}
}

func TestLoadRefusesEmptyFolder(t *testing.T) {
	if _, err := build(t.TempDir(), DefaultFloor, testScopes()); err == nil || !strings.Contains(err.Error(), "no .cedar file") {
		t.Errorf("got %v", err)
	}
}

func TestNewRefusesNoCatalogAndStrangeFloors(t *testing.T) {
	if _, err := Load(t.TempDir(), nil); !errors.Is(err, ErrLoad) {
		t.Errorf("nil catalog: %v", err)
	}
	if _, err := Load(t.TempDir(), &scopes.Catalog{}); !errors.Is(err, ErrLoad) {
		t.Errorf("empty catalog: %v", err)
	}
}

func TestSettingsRefuse(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"unknown key":         {"groups: [a]\n", "[1:1]"},
		"repeated key":        {"approval_groups: [a]\napproval_groups: [b]\n", "2:1"},
		"two documents":       {"approval_groups: [a]\n---\napproval_groups: [b]\n", "more than one YAML document"},
		"strange group":       {"approval_groups: [\"S R E\"]\n", "S R E"},
		"any":                 {"approval_groups: [any]\n", "always there"},
		"group twice":         {"approval_groups: [a, a]\n", "comes twice"},
		"relative path":       {"agent_paths: [\"agent/{user}\"]\n", "must begin with"},
		"half an attribute":   {"agent_paths: [\"/agent/{user\"]\n", "segment"},
		"part of a segment":   {"agent_paths: [\"/agent/a-{user}\"]\n", "segment"},
		"attribute twice":     {"agent_paths: [\"/agent/{user}/{user}\"]\n", "twice"},
		"built-in attribute":  {"agent_paths: [\"/agent/{path}\"]\n", "taken"},
		"strange trust":       {"agent_paths: [\"spiffe://Ex ample/agent/{user}\"]\n", "agent_paths"},
		"empty last segment":  {"agent_paths: [\"/agent/\"]\n", "segment"},
		"trust domain, alone": {"agent_paths: [\"spiffe://example.org\"]\n", "no path"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, dir, "policies/policy.yaml", c.text)
			writeFile(t, dir, "policies/a.cedar", readable)
			if _, err := build(dir, DefaultFloor, testScopes()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSchemaHasNoTextForPeople(t *testing.T) {
	e := mustPolicies(t, readable, DefaultFloor)
	text := string(e.Schema())
	for _, word := range []string{"purpose", "justification", "description", "task"} {
		if strings.Contains(text, word) {
			t.Errorf("the schema has %q:\n%s", word, text)
		}
	}
	for _, word := range []string{`action "data-read"`, "ttl_seconds", "sre", "security", "any", "session"} {
		if !strings.Contains(text, word) {
			t.Errorf("the schema lacks %q:\n%s", word, text)
		}
	}
}

func TestParametersAcrossScopes(t *testing.T) {
	e := mustPolicies(t, readable+`@id("not-prod") forbid (principal, action, resource) when { context.params has bucket && context.params.bucket == "prod" };`, 0)
	for scope, want := range map[string]Outcome{"data-read": Deny, "kv-read": Allow} {
		got, err := e.judge(ask(func(q *question) {
			if q.wish.scope = scope; scope == "kv-read" {
				q.wish.params = nil
			}
		}))
		if err != nil || got.Outcome != want {
			t.Errorf("%s: %+v, %v", scope, got, err)
		}
	}
}

func TestOptionalAttributesMustBeAskedFor(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "policies/policy.yaml", "agent_paths: [\"/agent/{user}\", \"spiffe://example.org/ci/deployer\"]\n")
	writeFile(t, dir, "policies/a.cedar", `@id("x") permit (principal, action, resource) when { principal.user == "ana" };`)
	if _, err := build(dir, DefaultFloor, testScopes()); err == nil || !strings.Contains(err.Error(), "user") {
		t.Errorf("reading an optional attribute: %v", err)
	}
	writeFile(t, dir, "policies/a.cedar", `@id("x") permit (principal, action, resource) when { principal has user && principal.user == "ana" };`)
	if _, err := build(dir, DefaultFloor, testScopes()); err != nil {
		t.Errorf("asking first: %v", err)
	}
}
