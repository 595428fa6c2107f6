package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// served accepts connections and keeps them, in order.
func served(t *testing.T, b Conns) (*gate, chan net.Conn) {
	t.Helper()
	l, err := TCP("127.0.0.1:0", b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	in := make(chan net.Conn, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in <- c
		}
	}()
	g, ok := l.(*gate)
	if !ok {
		t.Fatalf("a %T", l)
	}
	return g, in
}

func dial(t *testing.T, g *gate) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// open says whether the server has left a connection open.
func open(t *testing.T, c net.Conn, within time.Duration) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

const soon, late = 100 * time.Millisecond, 10 * time.Second

func TestTheOldestStrangerGivesWay(t *testing.T) {
	g, in := served(t, Conns{All: 10, Strangers: 4, StrangersEach: 2, Each: 1})
	first, second := dial(t, g), dial(t, g)
	<-in
	<-in
	third := dial(t, g)
	<-in
	if open(t, first, late) {
		t.Error("the oldest of a peer with two too many stays")
	}
	if !open(t, second, soon) || !open(t, third, soon) {
		t.Error("a newer one went")
	}
}

// Peers that each have as many as they may fill the listener, and one more has a single
// connection, the oldest of all.
func TestACrowdPushesNobodyElseOut(t *testing.T) {
	g := within(nil, Conns{All: 100, Strangers: 12, StrangersEach: 4, Each: 1})
	alone := &conn{gate: g, peer: "alone"}
	if in, out := g.enter(alone); !in || out != nil {
		t.Fatal("the first is not let in")
	}
	for i := range 400 {
		c := &conn{gate: g, peer: string(rune('a' + i%4))}
		switch in, out := g.enter(c); {
		case !in:
			t.Fatalf("connection %d is not let in", i)
		case out == alone:
			t.Fatalf("connection %d of the crowd pushes out who has one", i)
		}
	}
	if len(g.strangers) != 12 {
		t.Errorf("%d strangers", len(g.strangers))
	}
}

func TestWhoIsKnownStays(t *testing.T) {
	g, in := served(t, Conns{All: 3, Strangers: 3, StrangersEach: 3, Each: 2})
	known := dial(t, g)
	at := (<-in).RemoteAddr()
	if !Known(at, "a") || !Known(at, "b") {
		t.Error("nobody knows the first")
	}
	for range 10 {
		dial(t, g)
		<-in
	}
	if !open(t, known, soon) {
		t.Error("a stranger took the place of one who is known")
	}
	// Of one owner, no more than two; the third stays a stranger's.
	dial(t, g)
	if !Known((<-in).RemoteAddr(), "a") {
		t.Error("the second of a is refused")
	}
	c := dial(t, g)
	last := <-in
	if Known(last.RemoteAddr(), "a") {
		t.Error("the third of a is known")
	}
	if !Known(last.RemoteAddr(), "c") {
		t.Error("c is refused")
	}
	// All are known: there is no room, and nobody goes.
	if open(t, dial(t, g), late) {
		t.Error("one too many is served")
	}
	if !open(t, known, soon) || !open(t, c, soon) {
		t.Error("one who is known went")
	}
	if err := last.Close(); err != nil {
		t.Error(err)
	}
	dial(t, g)
	<-in
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all != 3 || len(g.strangers) != 1 || g.owners["a"] != 2 || len(g.owners) != 1 {
		t.Errorf("counted %d, %d strangers, owners %v", g.all, len(g.strangers), g.owners)
	}
}

func TestWhoAsksStaysLonger(t *testing.T) {
	g, in := served(t, Conns{All: 2, Strangers: 2, StrangersEach: 2})
	asking, idle := dial(t, g), dial(t, g)
	c, ok := (<-in).(*conn)
	if !ok {
		t.Fatal("no conn")
	}
	<-in
	g.busy(c, true)
	dial(t, g)
	<-in
	if !open(t, asking, soon) || open(t, idle, late) {
		t.Error("the one that asks went, and not the idle one")
	}
}

func TestClosingTwiceCountsOnce(t *testing.T) {
	g, in := served(t, Conns{All: 2, Strangers: 2, StrangersEach: 2})
	c := dial(t, g)
	far := <-in
	_ = far.Close()
	_ = far.Close()
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Error(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all != 0 || len(g.each) != 0 || len(g.strangers) != 0 {
		t.Errorf("counted %d, %v", g.all, g.each)
	}
}

func TestPeers(t *testing.T) {
	addr := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, tc := range []struct {
		x, y string
		same bool
	}{
		{"127.0.0.1:1", "127.0.0.1:2", true},
		{"127.0.0.1:1", "[::ffff:127.0.0.1]:2", true},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::ffff:2]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
	} {
		if got := Peer(addr(tc.x)) == Peer(addr(tc.y)); got != tc.same {
			t.Errorf("%s and %s are one peer: %v", tc.x, tc.y, got)
		}
	}
	if got := Peer(&net.UnixAddr{Net: "unix"}); got != "unix" {
		t.Errorf("a Unix socket's is %q", got)
	}
}

func TestConnectionsFitTheDescriptors(t *testing.T) {
	b := Table()
	all := []*Conns{&b.MTLS.Conns, &b.JWT.Conns, &b.Ledger.Conns, &b.Metrics.Conns}
	if fit(1<<20, all...) || b.MTLS.All != Table().MTLS.All {
		t.Error("changed where there is room")
	}
	for _, limit := range []uint64{1024, 256, 64} {
		if !fit(limit, all...) {
			t.Errorf("%d: not changed", limit)
		}
		sum := 0
		for _, c := range all {
			sum += c.All
			if c.All < 1 || c.StrangersEach < 1 || c.Strangers > c.All || c.StrangersEach > c.Strangers || c.Each > max(1, c.All/2) {
				t.Errorf("%d: %+v", limit, *c)
			}
		}
		if uint64(sum) > limit*3/4+4 {
			t.Errorf("%d descriptors, %d connections", limit, sum)
		}
	}
}
