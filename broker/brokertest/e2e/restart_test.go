package e2e_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestWatcherOfAKilledBroker kills the broker under two watchers and starts it
// again at the same address: what ended meanwhile has ended, what lives goes on.
func TestWatcherOfAKilledBroker(t *testing.T) {
	l := newLocal(t)
	d := l.start(t)
	l.edit(t, "valetkeyd.yaml", "listen: 127.0.0.1:0\ncatalog:", "listen: "+d.grpc+"\ncatalog:")
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	long, err := c.Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	brief := ask(task)
	brief.Ttl = durationpb.New(3 * time.Second)
	short, err := c.Agent.RequestGrant(t.Context(), brief)
	must(t, err)
	w := watch(t, c, long)
	if state := next(t, w); state != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Errorf("before the kill it is %v", state)
	}
	d.kill()
	if _, err := w.Recv(); !gone(err) {
		t.Errorf("a killed broker's watcher got %v, want a lost connection", err)
	}
	over := time.NewTimer(time.Until(short.GetGrant().GetExpiresAt().AsTime()))
	defer over.Stop()
	<-over.C

	// The same connection finds the new broker.
	d = l.start(t)
	eventually(t, 2*time.Minute, "what ended while no broker ran is expired", func() bool {
		return next(t, watch(t, c, short)) == valetkeyv1.GrantState_GRANT_STATE_EXPIRED
	})
	w = watch(t, c, long)
	if state := next(t, w); state != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Errorf("after the restart it is %v", state)
	}
	_, err = c.Agent.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: long.GetGrant().GetId()})
	must(t, err)
	if state := next(t, w); state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("after the release it is %v", state)
	}
	if _, err := w.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last state the watcher got %v, want the end", err)
	}
	eventually(t, revocationLimit, "both sessions are revoked at the STS", func() bool {
		l.sts.mu.Lock()
		defer l.sts.mu.Unlock()
		return len(l.sts.revoked) == 2
	})
	raw, _ := readLog(t, l.site, d.log)
	for _, resp := range []*valetkeyv1.RequestGrantResponse{long, short} {
		recorded(t, resp.GetReceipt(), raw)
	}
	verify(t, l.site, d.log)
}

func watch(t *testing.T, c *valetkey.Client, of *valetkeyv1.RequestGrantResponse) grpc.ServerStreamingClient[valetkeyv1.WatchGrantResponse] {
	t.Helper()
	w, err := c.Agent.WatchGrant(t.Context(), &valetkeyv1.WatchGrantRequest{GrantId: of.GetGrant().GetId()}, grpc.WaitForReady(true))
	must(t, err)
	return w
}

func next(t *testing.T, w grpc.ServerStreamingClient[valetkeyv1.WatchGrantResponse]) valetkeyv1.GrantState {
	t.Helper()
	resp, err := w.Recv()
	must(t, err)
	return resp.GetGrant().GetState()
}

// TestTwoBrokersOneStore starts a second broker beside the first. It must say
// whose the store is, and touch nothing; a killed one holds it no longer.
func TestTwoBrokersOneStore(t *testing.T) {
	l := newLocal(t)
	d := l.start(t)
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	before, _ := readLog(t, l.site, d.log)
	out, code := run(t, awsEnv(), program(t, "valetkeyd"), l.args()...)
	if code != 1 {
		t.Errorf("the second broker exits %d, want 1", code)
	}
	for _, want := range []string{"store unavailable", l.path("valetkey.db"), "another broker's", "stop that one first"} {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("the second broker says %q, which lacks %q", out.stderr, want)
		}
	}
	if strings.Contains(out.stdout+out.stderr, "serv") {
		t.Errorf("the second broker served: %s%s", out.stdout, out.stderr)
	}
	if after, _ := readLog(t, l.site, d.log); len(after) != len(before) {
		t.Errorf("the second broker left %d records", len(after)-len(before))
	}
	_, err := c.Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	d.kill()
	d = l.start(t)
	_, err = l.dial(t, d, "alice").Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	verify(t, l.site, d.log)
}
