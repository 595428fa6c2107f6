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

// TestTheRecordIsShownToWhoeverIsKnown has an agent and an operator hold the checkpoints of an agent's receipts
// against each other and against the newest, under the key that the broker names.
func TestTheRecordIsShownToWhoeverIsKnown(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "consistency-task")
	verifier, err := note.NewVerifier(h.Key.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
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
	for _, id := range []string{brokertest.Agent, brokertest.Operator} {
		l := h.LedgerClient(id)
		named, err := l.GetLedgerKey(t.Context(), &valetkeyv1.GetLedgerKeyRequest{})
		if err != nil || named.GetVerifierKey() != h.Key.VerifierKey() {
			t.Fatalf("the key is %q: %v", named.GetVerifierKey(), err)
		}
		for i, older := range trees {
			for _, newer := range trees[i:] {
				resp, err := l.GetConsistencyProof(t.Context(), &valetkeyv1.GetConsistencyProofRequest{OldSize: older.N, NewSize: newer.N})
				if err != nil || resp.GetCheckpoint() != "" {
					t.Fatal(resp.GetCheckpoint(), err)
				}
				if err := proof.Growth(older, newer, resp.GetProof()); err != nil {
					t.Error(err)
				}
			}
			resp, err := l.GetConsistencyProof(t.Context(), &valetkeyv1.GetConsistencyProofRequest{OldSize: older.N})
			if err != nil {
				t.Fatal(err)
			}
			newest, err := proof.Checkpoint([]byte(resp.GetCheckpoint()), verifier)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.Growth(older, newest, resp.GetProof()); err != nil {
				t.Error(err)
			}
		}
		head, err := l.GetCheckpoint(t.Context(), &valetkeyv1.GetCheckpointRequest{})
		if err != nil {
			t.Fatal(err)
		}
		tree, err := proof.Checkpoint([]byte(head.GetCheckpoint()), verifier)
		if err != nil || tree.N < trees[len(trees)-1].N {
			t.Errorf("the newest has %d records: %v", tree.N, err)
		}
		last := tree.N
		_, err = l.GetConsistencyProof(t.Context(), &valetkeyv1.GetConsistencyProofRequest{OldSize: last, NewSize: last + 1})
		wantReason(t, err, codes.NotFound, "RECORD_NOT_FOUND")
		_, err = l.GetConsistencyProof(t.Context(), &valetkeyv1.GetConsistencyProofRequest{OldSize: last, NewSize: 1})
		wantReason(t, err, codes.NotFound, "RECORD_NOT_FOUND")
		_, err = l.GetConsistencyProof(t.Context(), &valetkeyv1.GetConsistencyProofRequest{NewSize: last})
		wantReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	}
	// What a record says is of others too.
	_, err = h.LedgerClient(brokertest.Agent).GetRecord(t.Context(), &valetkeyv1.GetRecordRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	if r, err := h.LedgerClient(brokertest.Operator).GetRecord(t.Context(), &valetkeyv1.GetRecordRequest{}); err != nil || len(r.GetReceipt().GetRecord()) == 0 {
		t.Errorf("an operator reads %v: %v", r, err)
	}
	stranger := h.LedgerClient("spiffe://" + brokertest.TrustDomain + "/batch/nightly")
	_, err = stranger.GetCheckpoint(t.Context(), &valetkeyv1.GetCheckpointRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
}
