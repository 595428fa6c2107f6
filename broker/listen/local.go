package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// Local is a listener for users of this machine. It accepts nobody by itself: Admit
// says who may ask, and there is no other way to what it listens on.
type Local struct {
	lis   net.Listener
	close func() error // once

	mu     sync.Mutex
	before []func() error // locked by mu
}

func local(lis net.Listener) *Local {
	l := &Local{lis: lis}
	l.close = sync.OnceValue(func() error {
		l.mu.Lock()
		before := l.before
		l.mu.Unlock()
		var errs []error
		for _, f := range before {
			errs = append(errs, f())
		}
		return errors.Join(append(errs, lis.Close())...)
	})
	return l
}

// Loopback listens on a loopback address with a port, and on no other; an empty one is
// any port of 127.0.0.1. A port that somebody holds is an error that says whose process
// it is, so that nothing is told to anybody who waits there for it: what is secret is
// made, written or sent only after Loopback has returned.
func Loopback(address string) (*Local, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	if !OnLoopback(address) {
		return nil, fmt.Errorf("%q is no loopback address with a port, such as 127.0.0.1:0: credentials are served on loopback only", address)
	}
	lis, err := net.Listen("tcp", address)
	if err != nil {
		at, _ := netip.ParseAddrPort(address) // it is one: see above
		if uid, found := holder(at); found && errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: a process of user %d listens there: what clients send to that address, it gets; end it, or listen elsewhere", err, uid)
		}
		return nil, fmt.Errorf("listening: %w", err)
	}
	return local(lis), nil
}

// OnLoopback says whether an address is a number and a port of this machine alone. What
// a name means is others' to say.
func OnLoopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().IsLoopback()
}

// Socket listens on a Unix socket. Its folder and mode are the caller's to see to, and
// to remove it: see OnClose.
func Socket(path string) (*Local, error) {
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	lis.SetUnlinkOnClose(false)
	return local(lis), nil
}

// Addr is where it listens.
func (l *Local) Addr() net.Addr { return l.lis.Addr() }

// OnClose has Close call f first.
func (l *Local) OnClose(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = append(l.before, f)
}

// Close ends the listener, once.
func (l *Local) Close() error { return l.close() }

// Admit is a listener of those alone that p lets in, before a byte of theirs is read: a
// stranger takes no place of a friend. refused is given each stranger's connection,
// which is its to close, and must not block.
func (l *Local) Admit(p Peers, refused func(net.Conn, error)) net.Listener {
	return &admission{Local: l, peers: p, refused: refused}
}

type admission struct {
	*Local
	peers   Peers
	refused func(net.Conn, error)
}

// Accept implements net.Listener.
func (a *admission) Accept() (net.Conn, error) {
	for {
		c, err := a.lis.Accept()
		if err != nil {
			return nil, err
		}
		why := a.peers.Check(c)
		if why == nil {
			return c, nil
		}
		a.refused(c, why)
	}
}
