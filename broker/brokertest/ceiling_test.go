package brokertest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// edit changes one scope of the catalog on disk.
func edit(t *testing.T, h *brokertest.Harness, scope string, change func(string) string) {
	t.Helper()
	file := filepath.Join(h.Catalog, scope+".yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := change(string(raw))
	if changed == string(raw) {
		t.Fatalf("%s is as it was", scope)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A scope that was widened over its role is not served: the catalog of before goes on, and the operator is told what
// the scope could do.
func TestReloadOverTheCeiling(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	before := h.Broker.Catalog().Version()
	edit(t, h, "s3-prefix-read", func(s string) string { return strings.Replace(s, "[s3:GetObject]", `["s3:GetObject*"]`, 1) })
	_, err := h.OperatorClient().ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
	wantReason(t, err, codes.FailedPrecondition, "INVALID_CATALOG")
	for _, want := range []string{"s3-prefix-read.yaml", "s3:GetObjectAcl on arn:aws:s3:::aaa/a/", "s3-role.json"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if after := h.Broker.Catalog().Version(); after != before {
		t.Errorf("catalog %s serves", after)
	}
	// What the role has been given since, it is proven with.
	file := filepath.Join(h.Catalog, "ceilings", "s3-role.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(raw), `"s3:GetObject"`, `"s3:GetObject*"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.OperatorClient().ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{}); err != nil {
		t.Error(err)
	}
}

// A scope's Regions reach the order to mint, and a grant of before they changed is not minted from again.
func TestRegionsReachTheOrder(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	var orders []mint.Order
	h.Minter.Set(func(m *brokertest.Minter) {
		m.BeforeMint = func(o mint.Order) error { orders = append(orders, o); return nil }
	})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	first, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	edit(t, h, "s3-prefix-write", func(s string) string { return s + "bindings: {regions: [eu-west-2, eu-west-1]}\n" })
	if _, err := h.OperatorClient().ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: first.GetGrant().GetId()})
	wantReason(t, err, codes.FailedPrecondition, "STALE_SCOPE_VERSION")
	second, err := c.RequestGrant(t.Context(), ask(task, "grant-key-2"))
	if err != nil {
		t.Fatal(err)
	}
	if len(orders) != 2 || len(orders[0].Regions) != 0 || !slices.Equal(orders[1].Regions, []string{"eu-west-1", "eu-west-2"}) {
		t.Errorf("orders %+v", orders)
	}
	if a, b := first.GetGrant(), second.GetGrant(); a.GetEnvelopeDigest() == b.GetEnvelopeDigest() || a.GetPermissionsDigest() != b.GetPermissionsDigest() {
		t.Errorf("envelopes %s and %s, permissions %s and %s", a.GetEnvelopeDigest(), b.GetEnvelopeDigest(), a.GetPermissionsDigest(), b.GetPermissionsDigest())
	}
}
