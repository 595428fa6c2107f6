package valetkey_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A program that uses the SDK's core builds few modules beside it: Vault's client, the AWS SDK and OpenTelemetry are for
// those who ask for them.
func TestFewModules(t *testing.T) {
	const limit = 15 // all, less than
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	if modules = slices.Compact(modules); len(modules) == 0 || len(modules) >= limit {
		t.Errorf("%d modules, and should be under %d:\n%s", len(modules), limit, strings.Join(modules, "\n"))
	}
}
