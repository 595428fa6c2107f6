package brokertest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Whoever asks what a scope gives hears where the credential works from, too, and leaves no trace.
func TestExplainNamesTheNetworks(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	h.Stop()
	file := filepath.Join(h.Catalog, "s3-prefix-write.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, "bindings: {source_cidrs: [203.0.113.0/24]}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Start()
	before := len(h.Records())
	resp, err := h.AgentClient(brokertest.Agent).ExplainScope(t.Context(), &valetkeyv1.ExplainScopeRequest{
		Scope: "s3-prefix-write", Environment: "production",
		Parameters: map[string]*valetkeyv1.Value{"bucket": vals("prod"), "prefix": vals("reports/")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(resp.GetSourceCidrs(), []string{"203.0.113.0/24"}) || len(resp.GetRegions()) != 0 {
		t.Errorf("works from %q and in %q", resp.GetSourceCidrs(), resp.GetRegions())
	}
	if !resp.GetAllowed() || resp.GetPolicySize() <= 602 || !strings.Contains(resp.GetPermissions(), "arn:aws:s3:::prod/reports/*") {
		t.Errorf("the answer is %v", resp)
	}
	if len(h.Records()) != before {
		t.Error("asking left a record")
	}
}
