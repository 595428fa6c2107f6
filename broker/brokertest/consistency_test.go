package brokertest_test

import (
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/logverify/proof"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestProveConsistency has an agent hold the checkpoints of its receipts against
// each other, under the key that the broker names.
func TestProveConsistency(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	named, err := c.GetLedgerKey(t.Context(), &valetkeyv1.GetLedgerKeyRequest{})
	if err != nil || named.GetVerifierKey() != h.Key.VerifierKey() {
		t.Fatalf("the key is %q: %v", named.GetVerifierKey(), err)
	}
	verifier, err := note.NewVerifier(named.GetVerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	task := openTask(t, c, "consistency-task")
	var trees []tlog.Tree
	for _, key := range []string{"consistency-1", "consistency-2", "consistency-3"} {
		resp, err := c.RequestGrant(t.Context(), ask(task, key))
		if err != nil {
			t.Fatal(err)
		}
		tree, err := proof.Checkpoint([]byte(resp.GetReceipt().GetCheckpoint()), verifier)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree)
	}
	for i, older := range trees {
		for _, newer := range trees[i:] {
			resp, err := c.ProveConsistency(t.Context(), &valetkeyv1.ProveConsistencyRequest{OldSize: older.N, NewSize: newer.N})
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.Growth(older, newer, resp.GetProof()); err != nil {
				t.Error(err)
			}
		}
	}
	last := trees[len(trees)-1].N
	_, err = c.ProveConsistency(t.Context(), &valetkeyv1.ProveConsistencyRequest{OldSize: last, NewSize: last + 1})
	wantReason(t, err, codes.NotFound, "RECORD_NOT_FOUND")
	_, err = c.ProveConsistency(t.Context(), &valetkeyv1.ProveConsistencyRequest{OldSize: last, NewSize: 1})
	wantReason(t, err, codes.NotFound, "RECORD_NOT_FOUND")
	_, err = c.ProveConsistency(t.Context(), &valetkeyv1.ProveConsistencyRequest{NewSize: last})
	wantReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	stranger := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/batch/nightly")
	_, err = stranger.ProveConsistency(t.Context(), &valetkeyv1.ProveConsistencyRequest{OldSize: 1, NewSize: last})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
}
