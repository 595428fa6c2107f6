package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/scopes"
)

// noon is when the tests decide.
var noon = time.Date(2025, time.January, 1, 12, 0, 0, 0, time.UTC)

const testSettings = "approval_groups: [sre, security]\nagent_paths: [\"/agent/{user}/{session}\"]\n"

// testScopes are facts of scopes without a catalog behind them: what is tested here is deciding.
func testScopes() []scopeFacts {
	bucket := map[string]scopes.Param{
		"bucket": {Name: "bucket", Type: scopes.TypeS3Bucket},
		"keys":   {Name: "keys", Type: scopes.TypeIdentifier, List: true},
		"count":  {Name: "count", Type: scopes.TypeInteger},
	}
	return []scopeFacts{
		{name: "data-read", version: "v1", provider: "aws", role: "data", params: bucket},
		{name: "data-wipe", version: "v1", provider: "aws", role: "data", params: bucket},
		{name: "kv-read", version: "v1", provider: "vault", role: "kv", params: map[string]scopes.Param{}},
	}
}

// build loads policy text against facts of scopes.
func build(dir string, floor int, known []scopeFacts) (*Engine, error) {
	s, err := readSettings(filepath.Join(dir, policiesDir, settingsFile))
	if err != nil {
		return nil, err
	}
	e, err := prepare(s)
	if err != nil {
		return nil, err
	}
	for _, f := range known {
		e.scopes[f.name] = f.withEntity()
	}
	return e, e.load(dir, floor)
}

func writeFile(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tryPolicies loads one file of policies over the test scopes.
func tryPolicies(t testing.TB, text string, floor int) (*Engine, error) {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "policies/policy.yaml", testSettings)
	writeFile(t, dir, "policies/a.cedar", text)
	return build(dir, floor, testScopes())
}

func mustPolicies(t testing.TB, text string, floor int) *Engine {
	t.Helper()
	e, err := tryPolicies(t, text, floor)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// ask is a question about data-read for 15 minutes that a case then changes.
func ask(change func(*question)) question {
	q := question{
		subject: Subject{
			ID:         spiffeid.RequireFromString("spiffe://example.org/agent/ana/s1"),
			Attributes: map[string]string{"user": "ana", "session": "s1"},
		},
		wish: wish{
			scope: "data-read", version: "v1", tier: scopes.TierRead, ttl: time.Hour,
			params: map[string][]string{"bucket": {"prod"}, "keys": {"a", "b"}, "count": {"7"}},
		},
		task: Task{ID: "task_1", Environment: "production", OnBehalfOf: "ana@example.org"},
		now:  noon,
		ttl:  15 * time.Minute,
	}
	if change != nil {
		change(&q)
	}
	return q
}

func wipe(q *question) { q.wish.scope, q.wish.tier = "data-wipe", scopes.TierDestructive }

func need(pairs ...any) []Need {
	var out []Need
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Need{Group: fmt.Sprint(pairs[i]), Approvals: pairs[i+1].(int)})
	}
	return out
}
