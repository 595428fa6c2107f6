package scopes_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
)

func TestLoadCeilingRefuses(t *testing.T) {
	const policy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`
	dir := t.TempDir()
	for name, x := range map[string]struct {
		provider scopes.Provider
		files    []string // their texts; "-" is a file that is not there
		want     string
	}{
		"no file":                    {scopes.ProviderAWS, nil, "without a policy"},
		"an empty list":              {scopes.ProviderAWS, []string{"[]"}, "without a policy"},
		"a missing file":             {scopes.ProviderAWS, []string{policy, "-"}, "no such file"},
		"an empty file":              {scopes.ProviderAWS, []string{""}, "f0"},
		"a second that is no policy": {scopes.ProviderAWS, []string{policy, `{"Statement":"x"}`}, "f1"},
		"one of a list":              {scopes.ProviderAWS, []string{"[" + policy + `, {"Effect":"Allow"}]`}, "f0"},
		"a list that is open":        {scopes.ProviderAWS, []string{"[" + policy}, "f0"},
		"too large":                  {scopes.ProviderAWS, []string{policy + strings.Repeat(" ", 1<<20)}, "at most 1048576 bytes"},
		"HCL that is none":           {scopes.ProviderVault, []string{`path "a" {`}, "f0"},
		"a folder":                   {scopes.ProviderVault, []string{"/"}, "no regular file"},
	} {
		var files []string
		for i, text := range x.files {
			f := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"), "f"+string(rune('0'+i)))
			if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
			var err error
			switch text {
			case "-":
			case "/":
				err = os.Mkdir(f, 0o700)
			default:
				err = os.WriteFile(f, []byte(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		c, err := scopes.LoadCeiling(x.provider, files...)
		if !errors.Is(err, scopes.ErrCatalog) || !strings.Contains(err.Error(), x.want) || c.Files() != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A role with nothing holds no scope: an empty ceiling is no ceiling that is not looked at.
func TestEmptyCeilingHoldsNothing(t *testing.T) {
	for _, name := range []string{"s3", "vault"} {
		err := example(t).ProveCeilings(map[string]scopes.RoleCeiling{name: {}})
		if !errors.Is(err, scopes.ErrCeiling) || !errors.Is(err, scopes.ErrCatalog) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := example(t).ProveCeilings(nil); err != nil {
		t.Errorf("no role was named: %v", err)
	}
}

// The copy of the example role that the catalog embeds is the one that other tests use.
func TestExampleRoleIsOne(t *testing.T) {
	a, err := os.ReadFile("../testdata/catalog/ceilings/s3-role.json")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("../testdata/iam/policies/s3-role.json")
	if err != nil || string(a) != string(b) {
		t.Errorf("the two files differ, %v", err)
	}
}
