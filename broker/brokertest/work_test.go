package brokertest_test

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
)

// An intent that looked stale is revoked by its session's name. The handle that its
// late outcome brings, with what an upstream revokes by, is not lost to the answer
// of the revocation that was under way, whatever that is.
func TestLateHandleIsRevokedToo(t *testing.T) {
	for name, answer := range map[string]error{"answered": nil, "failed": mint.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.New(t, brokertest.Config{})
			c := h.AgentClient(brokertest.Agent)
			task := openTask(t, c, "task-key-1")
			minted, revoking := make(chan struct{}), make(chan struct{})
			mintOn, revokeOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			byKey := make(chan struct{}, 8)
			h.Minter.Set(func(m *brokertest.Minter) {
				m.AfterMint = func(mint.Order) error { close(minted); <-mintOn; return nil }
				m.OnRevoke = func(got mint.Handle) (err error) {
					once.Do(func() { close(revoking); <-revokeOn; err = answer })
					if got.AccessKeyID != "" {
						byKey <- struct{}{}
					}
					return err
				}
			})
			asked := make(chan error)
			go func() {
				req := ask(task, "grant-key-1")
				req.Ttl = durationpb.New(15 * time.Minute)
				_, err := c.RequestGrant(t.Context(), req)
				asked <- err
			}()
			<-minted
			h.Clock.Add(time.Minute) // the clock is put right, or the machine was suspended
			<-revoking
			close(mintOn)
			if err := <-asked; err == nil {
				t.Error("a credential of a closed intent was delivered")
			}
			close(revokeOn)
			brokertest.Eventually(t, "the handle with the key's id is revoked", func() bool {
				h.Clock.Add(time.Second)
				select {
				case <-byKey:
					return true
				default:
					return false
				}
			})
		})
	}
}
