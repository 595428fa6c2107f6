package brokertest_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// stuck is a store whose writes wait while somebody has its disk, as one that hangs.
type stuck struct {
	store.Store
	disk chan struct{} // of one place
}

func (s *stuck) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	select {
	case s.disk <- struct{}{}:
		defer func() { <-s.disk }()
		return s.Store.Update(ctx, fn)
	case <-ctx.Done():
		return store.Head{}, ctx.Err()
	}
}

// TestAStrangerStallsNobody has a stranger share a connection with an agent, as behind a
// proxy, while nothing can be written: its refusals wait for their records, and the
// agent's calls, which need none, do not.
func TestAStrangerStallsNobody(t *testing.T) {
	var disk *stuck
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { disk = &stuck{s, make(chan struct{}, 1)}; return disk }})
	c := valetkeyv1.NewAgentServiceClient(h.DialJWT())
	token, err := h.Authority.JWTSVID(spiffeid.RequireFromString(brokertest.Agent), []string{brokertest.Audience}, h.Clock.Now().Add(-time.Second), h.Clock.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	alice := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	if _, err := c.ListScopes(alice, &valetkeyv1.ListScopesRequest{}); err != nil {
		t.Fatal(err)
	}
	disk.disk <- struct{}{}
	began := time.Now()
	var strangers sync.WaitGroup
	for range 10 {
		strangers.Go(func() {
			if _, err := c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{}); reasonOf(err) != "UNAUTHENTICATED" {
				t.Errorf("a stranger: %v", err)
			}
		})
	}
	strangers.Wait()
	if _, err := c.ListScopes(alice, &valetkeyv1.ListScopesRequest{}); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second { // 50 where each answer waits for as long as its record is tried
		t.Errorf("ten strangers hold up a connection for %v", took)
	}
	<-disk.disk
	brokertest.Eventually(t, "the refusals are on the record", func() bool { return strings.Count(strings.Join(h.Records(), "\n"), `"refusal.recorded"`) >= 10 })
}
