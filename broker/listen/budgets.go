// Package listen opens every listener of this module, and has the one table of what
// those may cost who come to it.
//
// Laws:
//   - A listener comes out of TCP or out of a Local, and nothing else listens: lint
//     holds it. TCP is for networks and has a budget of connections. A Local is for
//     one machine's users, and serves nobody before its Peers are named.
//   - Whoever is not known yet is a stranger. Strangers have a budget a listener and a
//     peer; where it is used up the oldest stranger gives way, so that a flood holds
//     nobody up, not even from the same address.
//   - What a stranger can have is counted in connections, bytes and seconds, and each
//     number is in Table.
//   - It knows nothing of SVIDs, methods and grants: who is known is said by Known.
package listen

import "time"

// Conns is how many connections a listener has at once. Where it is for more than the
// process has file descriptors for, Fit makes it less.
type Conns struct {
	// All is the most, of known and unknown. When all are of known callers, one more
	// is closed at once.
	All int
	// Strangers is how many may be of callers that are not known: in a handshake, or
	// without one accepted call.
	Strangers int
	// StrangersEach is how many of those one peer has: an IPv4 address, the /64 of an
	// IPv6 address, or all of a Unix socket.
	StrangersEach int
	// Each is how many one known caller has, over all its addresses and sessions. 0
	// where nobody becomes known.
	Each int
}

// GRPC is the budget of a gRPC listener.
type GRPC struct {
	Conns
	// Handshake is how long TLS, the HTTP/2 preface and the first SETTINGS take at most.
	Handshake time.Duration
	// HeaderBytes is the most of one call's headers once HPACK has unpacked them (RFC
	// 9113, section 6.5.2: 32 bytes more for each field than its name and value have).
	HeaderBytes uint32
	// TableBytes is the most of HPACK's table, which a connection keeps.
	TableBytes uint32
	// Streams is how many calls one connection has open.
	Streams uint32
	// MessageBytes is the most of one message. A request that is over 64 KiB does not fit
	// a record, so that nobody needs more than its encoding's overhead.
	MessageBytes int
	// FirstMessage is how long the first message of a call may take from its headers on.
	FirstMessage time.Duration
	// Unheard is how many calls without their first message a listener has, and
	// UnheardEach how many one known caller has. Callers that are not known have none.
	Unheard, UnheardEach int
	// Health and HealthEach are likewise of open calls to grpc.health.v1, which asks
	// nobody who they are, by peer, where the oldest ends for one more; HealthBytes is
	// the most of their headers.
	Health, HealthEach, HealthBytes int
	// Idle ends a connection without calls; Age any, so that an SVID is looked at
	// again, with Grace for the calls that are open; 0 for never.
	Idle, Age, Grace time.Duration
	// Ping is how often a silent client is asked whether it is there, and Pong how
	// long it has to answer.
	Ping, Pong time.Duration
	// PingsApart is how often a client may ask the same. One that does so more often
	// is sent off with ENHANCE_YOUR_CALM.
	PingsApart time.Duration
}

// HTTP is the budget of an HTTP listener, on which everybody is a stranger.
type HTTP struct {
	Conns
	// Header is how long a request's headers take at most; on Read the whole request,
	// on Write its answer, and Idle how long a connection waits for the next.
	Header, Read, Write, Idle time.Duration
	// HeaderBytes is the most of one request's headers.
	HeaderBytes int
}

// Budgets are those of all listeners.
type Budgets struct {
	// MTLS is where agents, operators and approvers come with SVIDs.
	MTLS GRPC
	// JWT is where agents come through a proxy that ends TLS. All that the proxy's
	// clients do comes from its one address.
	JWT GRPC
	// Workload is the Workload API of dev mode, on Unix sockets of one user.
	Workload GRPC
	// Ledger serves tiles and checkpoints; Metrics, probes too.
	Ledger, Metrics HTTP
	// Local is whatever serves one machine's users: the sidecar's addresses and
	// sockets, the proxy for Vault, MCP. Answers may wait for people, so Write is 0
	// (none), and Read too.
	Local HTTP
}

// Table is the budget of every listener.
func Table() Budgets {
	agents := GRPC{
		Conns:     Conns{All: 4096, Strangers: 512, StrangersEach: 128, Each: 256},
		Handshake: 5 * time.Second, HeaderBytes: 16 << 10, TableBytes: 4 << 10, Streams: 256, MessageBytes: 256 << 10,
		FirstMessage: 10 * time.Second, Unheard: 1024, UnheardEach: 256, Health: 256, HealthEach: 64, HealthBytes: 4 << 10,
		Idle: 15 * time.Minute, Age: 30 * time.Minute, Grace: time.Minute,
		Ping: 2 * time.Minute, Pong: 20 * time.Second, PingsApart: time.Minute,
	}
	workload := agents
	workload.Conns = Conns{All: 256, Strangers: 256, StrangersEach: 256}
	workload.Streams = 64
	workload.Age, workload.Grace = 0, 0 // who watches its SVID has nothing to show again
	side := HTTP{
		Conns:  Conns{All: 128, Strangers: 128, StrangersEach: 64},
		Header: 5 * time.Second, Read: 10 * time.Second, Write: 30 * time.Second, Idle: 30 * time.Second, HeaderBytes: 8 << 10,
	}
	return Budgets{
		MTLS: agents, JWT: agents, Workload: workload, Ledger: side, Metrics: side,
		Local: HTTP{
			Conns:  Conns{All: 512, Strangers: 512, StrangersEach: 512},
			Header: 10 * time.Second, Idle: 2 * time.Minute, HeaderBytes: 64 << 10,
		},
	}
}

// reserved is the share of file descriptors, one in this many, that no listener
// takes: the store, upstreams and files need them.
const reserved = 4

// fit makes the most connections of listeners no more than limit has room for, each by
// the same factor.
func fit(limit uint64, all ...*Conns) (changed bool) {
	sum := uint64(0)
	for _, c := range all {
		sum += uint64(max(c.All, 0))
	}
	room := limit - limit/reserved
	if sum <= room {
		return false
	}
	for _, c := range all {
		c.All = max(1, int(uint64(c.All)*room/sum)) //nolint:gosec // less than c.All
		c.Strangers = max(1, min(c.Strangers, c.All/2))
		c.StrangersEach = max(1, min(c.StrangersEach, c.Strangers))
		*c = c.Shared()
	}
	return true
}

// Shared is c with no caller that may have more than half of all connections: one alone
// could else lock the others out.
func (c Conns) Shared() Conns {
	if c.Each > 0 {
		c.Each = max(1, min(c.Each, c.All/2))
	}
	return c
}

// Fit makes the connections of listeners fit the process's limit of file
// descriptors, and says whether it had to.
func Fit(all ...*Conns) (changed bool) {
	limit, known := descriptors()
	return known && fit(limit, all...)
}
