package listen

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// TCP listens on a network for whoever comes, within the budget.
func TCP(address string, b Conns) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	return within(l, b), nil
}

// Unix listens on a socket, within the budget. Who may open it is up to its folder and
// mode, which are the caller's to set.
func Unix(path string, b Conns) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return within(l, b), nil
}

func within(l net.Listener, b Conns) *gate {
	return &gate{Listener: l, budget: b, each: map[string]int{}, owners: map[string]int{}}
}

// gate counts the connections of a listener. It is safe for concurrent use.
type gate struct {
	net.Listener
	budget Conns

	mu        sync.Mutex
	all       int            // guarded by mu
	strangers []*conn        // the oldest first; guarded by mu
	each      map[string]int // strangers by peer, none of 0; guarded by mu
	owners    map[string]int // of those that are known; guarded by mu
}

// conn is one connection.
type conn struct {
	net.Conn
	gate *gate
	peer string

	// Guarded by gate.mu:
	owner string // empty for a stranger
	busy  bool   // a request is being answered
	gone  bool
}

// address lets Known find the connection of a call by its peer.
type address struct {
	net.Addr
	conn *conn
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		raw, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, gate: g, peer: peerOf(raw.RemoteAddr())}
		in, out := g.enter(c)
		if out != nil {
			_ = out.Conn.Close() // a stranger's, who is told no more than that
		}
		if in {
			return c, nil
		}
		_ = raw.Close() // there is no room
	}
}

// enter says whether there is room for c, and who gives way to it.
func (g *gate) enter(c *conn) (in bool, out *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.each[c.peer] >= g.budget.StrangersEach:
		out = g.oldestLocked(c.peer)
	case len(g.strangers) >= g.budget.Strangers, g.all >= g.budget.All:
		out = g.oldestLocked(g.crowdLocked())
	}
	if out != nil {
		g.leaveLocked(out)
	}
	if g.all >= g.budget.All {
		return false, out
	}
	g.all++
	g.each[c.peer]++
	g.strangers = append(g.strangers, c)
	return true, out
}

// crowdLocked is the peer that has most strangers, and of several the one with the
// oldest: a few peers that fill the listener push nobody else out of it.
func (g *gate) crowdLocked() (peer string) {
	for _, c := range g.strangers {
		if g.each[c.peer] > g.each[peer] {
			peer = c.peer
		}
	}
	return peer
}

// oldestLocked is the oldest stranger of a peer: one that asks nothing where there is
// such a one.
func (g *gate) oldestLocked(peer string) (oldest *conn) {
	for _, c := range g.strangers {
		switch {
		case c.peer != peer:
		case !c.busy:
			return c
		case oldest == nil:
			oldest = c
		}
	}
	return oldest
}

func (g *gate) leaveLocked(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	g.all--
	if c.owner == "" {
		g.knowLocked(c)
		return
	}
	if g.owners[c.owner]--; g.owners[c.owner] == 0 {
		delete(g.owners, c.owner)
	}
}

// knowLocked takes c from the strangers.
func (g *gate) knowLocked(c *conn) {
	if at := slices.Index(g.strangers, c); at >= 0 {
		g.strangers = slices.Delete(g.strangers, at, at+1)
	}
	if g.each[c.peer]--; g.each[c.peer] == 0 {
		delete(g.each, c.peer)
	}
}

func (g *gate) busy(c *conn, busy bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.busy = busy
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.gate.mu.Lock()
	c.gate.leaveLocked(c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return address{c.Conn.RemoteAddr(), c} }

// Known says that the caller at the other end of a listener's connection, by the
// address of its peer, is owner. It is false where owner has as many connections as it
// may: this one then stays a stranger's. Who comes second on a connection, as through
// a proxy, is not counted.
func Known(peer net.Addr, owner string) bool {
	a, ok := peer.(address)
	if !ok {
		return true
	}
	g := a.conn.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case a.conn.gone, a.conn.owner != "":
		return true
	case g.owners[owner] >= g.budget.Each:
		return false
	}
	g.knowLocked(a.conn)
	a.conn.owner = owner
	g.owners[owner]++
	return true
}

// Peer names who is at the other end by address: see Conns.StrangersEach.
func Peer(a net.Addr) string { return peerOf(a) }

// of64 is how much of an IPv6 address names a peer: who has one has the others.
const of64 = 64

func peerOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.Network()
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(of64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
