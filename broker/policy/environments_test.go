package policy

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const withEnvironments = testSettings + `environments:
  production:
    trust_domains: [prod.example.org]
    params: {bucket: ["prod-*", "*-live"]}
  staging:
    trust_domains: [example.org]
    agent: {session: ["s*"]}
    params: {bucket: [test], keys: ["t-*"]}
`

func tryEnvironments(t *testing.T, settings, policies string) (*Engine, error) {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "policies/policy.yaml", settings)
	writeFile(t, dir, "policies/a.cedar", policies)
	return build(dir, 0, testScopes())
}

// TestEnvironmentsAreVouchedFor asks for what is in exactly staging: whatever the agent
// says, all that it touches has to be.
func TestEnvironmentsAreVouchedFor(t *testing.T) {
	e, err := tryEnvironments(t, withEnvironments, `@id("x") permit (principal, action, resource) when { context.environments == ["staging"] };`)
	if err != nil {
		t.Fatal(err)
	}
	in := func(bucket string, keys ...string) func(*question) {
		return func(q *question) {
			q.wish.params = map[string][]string{"bucket": {bucket}, "keys": keys, "count": {"1"}}
		}
	}
	for name, c := range map[string]struct {
		change func(*question)
		want   Outcome
	}{
		"all of it":              {in("test", "t-1", "t-2"), Allow},
		"a bucket of production": {in("prod-test", "t-1"), Deny},
		"the other pattern":      {in("x-live", "t-1"), Deny},
		"a bucket of nobody":     {in("tests", "t-1"), Deny},
		"one key of nobody":      {in("test", "t-1", "u-1"), Deny},
		"another session":        {func(q *question) { in("test", "t-1")(q); q.subject.Attributes["session"] = "x" }, Deny},
		"production's domain": {func(q *question) {
			in("test", "t-1")(q)
			q.subject.ID = spiffeid.RequireFromString("spiffe://prod.example.org/agent/ana/s1")
		}, Deny},
		"nobody's domain": {func(q *question) {
			in("test", "t-1")(q)
			q.subject.ID = spiffeid.RequireFromString("spiffe://other.example/agent/ana/s1")
		}, Deny},
		"saying so":                {func(q *question) { in("prod-test", "t-1")(q); q.task.Environment = "staging" }, Deny},
		"saying otherwise":         {func(q *question) { in("test", "t-1")(q); q.task.Environment = "production" }, Allow},
		"a scope without a bucket": {func(q *question) { q.wish.scope, q.wish.params = "kv-read", nil }, Allow},
	} {
		got, err := e.judge(ask(c.change))
		if err != nil || got.Outcome != c.want {
			t.Errorf("%s: %v, %v; want %v", name, got.Outcome, err, c.want)
		}
	}
	// Where nothing vouches for anything, nothing is in staging.
	e, err = tryEnvironments(t, testSettings, `@id("x") permit (principal, action, resource) when { context.environments == ["unvouched"] };`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.judge(ask(nil)); err != nil || got.Outcome != Allow {
		t.Errorf("no environments: %v, %v", got.Outcome, err)
	}
}

func TestEnvironmentsThatDoNotLoad(t *testing.T) {
	const all = `@id("x") permit (principal, action, resource);`
	for want, text := range map[string][2]string{
		"want ^[a-z]":                       {testSettings + "environments: {Prod: {trust_domains: [a]}}", all},
		"and not unvouched":                 {testSettings + "environments: {unvouched: {trust_domains: [a]}}", all},
		"nothing vouches for it":            {testSettings + "environments: {prod: {}}", all},
		"agent.team: no path":               {testSettings + "environments: {prod: {agent: {team: [a]}}}", all},
		"agent.user: no path in agent_pat":  {testSettings + "environments: {prod: {agent: {user: []}}}", all},
		"params.topic: no scope":            {testSettings + "environments: {prod: {params: {topic: [a]}}}", all},
		"unknown field":                     {testSettings + "environments: {prod: {param: {bucket: [a]}}}", all},
		`never holds "prod"`:                {withEnvironments, `@id("x") forbid (principal, action, resource) when { context.environments.contains("prod") };`},
		`environments never holds "stagin"`: {withEnvironments, `@id("x") forbid (principal, action, resource) unless { context.environments == ["stagin"] };`},
		`holds "live"`:                      {withEnvironments, `@id("x") forbid (principal, action, resource) when { context.environments.containsAny(["live", "production"]) };`},
		`holds "dev"`:                       {withEnvironments, `@id("x") forbid (principal, action, resource) unless { ["dev"].containsAll(context.environments) };`},
	} {
		if _, err := tryEnvironments(t, text[0], text[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}
