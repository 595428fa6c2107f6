package scopes_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
)

// A scope that hands out what no deadline reaches says so in its file, or does not load.
func TestOutlives(t *testing.T) {
	dir := t.TempDir()
	load := func(text string) (*scopes.Scope, error) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte("name: x\ndescription: Of the test.\nprovider: aws\nrole: r\nttl: {default: 5m, max: 15m}\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		cat, err := scopes.Load(dir)
		if err != nil {
			return nil, err
		}
		s, _ := cat.Scope("x")
		return s, nil
	}
	const ecr = "statements: [{actions: [\"ecr:GetAuthorizationToken\", \"ecr:BatchGetImage\"], resources: [\"*\"]}]\n"
	if _, err := load(ecr); err == nil || !strings.Contains(err.Error(), "ecr:GetAuthorizationToken: a registry login for 12h") {
		t.Errorf("a login of 12h without a word: %v", err)
	}
	s, err := load(ecr + "outlives: [ecr:GetAuthorizationToken]\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Outlives(); len(got) != 1 || !strings.HasPrefix(got[0], "ecr:GetAuthorizationToken: ") {
		t.Errorf("it outlives by %v", got)
	}
	for name, text := range map[string]string{
		"by a wildcard":   "statements: [{actions: [\"rds-db:*\"], resources: [\"*\"]}]\n",
		"one of two":      "statements: [{actions: [\"sts:GetSessionToken\", \"sts:GetFederationToken\"], resources: [\"*\"]}]\noutlives: [sts:GetSessionToken]\n",
		"by another case": "statements: [{actions: [\"STS:assumerole\"], resources: [\"*\"]}]\n",
		"what it has not": "statements: [{actions: [\"ecr:BatchGetImage\"], resources: [\"*\"]}]\noutlives: [ecr:GetAuthorizationToken]\n",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), "outlive") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
