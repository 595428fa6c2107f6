package brokertest_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// blind writes, and while it is armed cannot be read, nor says what proves a write.
type blind struct {
	store.Store
	armed atomic.Bool
}

func (b *blind) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	h, err := b.Store.Update(ctx, fn)
	if b.armed.Load() {
		h.Hashes = nil
	}
	return h, err
}

func (b *blind) View(ctx context.Context, fn func(store.Reader) error) error {
	if b.armed.Load() {
		return errDisk
	}
	return b.Store.View(ctx, fn)
}

// TestUndeliveredIsTakenBack: the record says issued, and the agent got nothing,
// since the proof could not be read, or the write was taken for a failed one. The
// credential is revoked while its grant lives on.
func TestUndeliveredIsTakenBack(t *testing.T) {
	for _, lost := range []string{"proof", "write's answer", "write's answer, for longer"} {
		t.Run(lost, func(t *testing.T) {
			var unread *blind
			var unsure *failing
			h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store {
				unread = &blind{Store: s}
				unsure = &failing{Store: unread}
				return unsure
			}})
			c := h.AgentClient(brokertest.Agent)
			task := openTask(t, c, "task-key-1")
			fault := &unread.armed
			if lost != "proof" {
				fault = &unsure.after
			}
			h.Minter.Set(func(m *brokertest.Minter) {
				m.AfterMint = func(mint.Order) error { fault.Store(true); return nil }
			})
			_, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
			wantReason(t, err, codes.Unavailable, "LEDGER_UNAVAILABLE")
			if lost == "write's answer, for longer" {
				brokertest.Eventually(t, "the first try fails", func() bool { return strings.Contains(h.Logs(), "which was not delivered") })
			}
			fault.Store(false)
			h.Minter.Set(func(m *brokertest.Minter) { m.AfterMint = nil })
			brokertest.Eventually(t, "nothing works upstream", func() bool { return h.Minter.Live() == 0 })
			wantRecord(t, h, "issuance.issued", "")
			brokertest.Eventually(t, "its end is on the record", func() bool { return has(t, h, "revocation.concluded", "") })
			if n := strings.Count(typesOf(t, h), "issuance.orphaned"); n != 1 {
				t.Errorf("%d records say that it was not delivered", n)
			}
			list, err := h.OperatorClient().ListGrants(t.Context(), &valetkeyv1.OperatorServiceListGrantsRequest{})
			if err != nil || len(list.GetGrants()) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			again, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{
				IdempotencyKey: "mint-key-1", GrantId: list.GetGrants()[0].GetId(),
			})
			if err != nil || again.GetCredential() == nil || h.Minter.Live() != 1 {
				t.Errorf("minting again from the grant: %v", err)
			}
			if err := h.Key.Check(t.Context(), h.Store); err != nil {
				t.Error(err)
			}
		})
	}
}
