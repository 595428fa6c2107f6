package clienttest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Tap is an address in front of a broker that can be shut: connections are taken
// then, and nothing passes on them or on those there are, until it is opened.
type Tap struct {
	lis  net.Listener
	done chan struct{}

	mu   sync.Mutex
	pass chan struct{} // closed while it is open; locked by mu
}

// NewTap opens one in front of an address.
func NewTap(t *testing.T, to string) *Tap {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err)
	p := &Tap{lis: lis, done: make(chan struct{}), pass: make(chan struct{})}
	close(p.pass)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close() // nobody is there
				continue
			}
			wg.Go(func() { p.pump(out, in) })
			wg.Go(func() { p.pump(in, out) })
		}
	})
	t.Cleanup(func() {
		close(p.done)
		_ = lis.Close() // once
		wg.Wait()
	})
	return p
}

// Addr is where it listens.
func (p *Tap) Addr() string { return p.lis.Addr().String() }

// pump closes both when either is.
func (p *Tap) pump(to, from net.Conn) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.done:
		case <-stop:
		}
		_, _ = to.Close(), from.Close() // the other pump may have
	}()
	for buf := make([]byte, 32<<10); ; {
		n, err := from.Read(buf)
		p.mu.Lock()
		pass := p.pass
		p.mu.Unlock()
		select {
		case <-pass:
		case <-p.done:
			return
		}
		if _, lost := to.Write(buf[:n]); err != nil || lost != nil {
			return
		}
	}
}

// Shut has nothing pass.
func (p *Tap) Shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass = make(chan struct{})
}

// Open has all pass.
func (p *Tap) Open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.pass: // it is
	default:
		close(p.pass)
	}
}

// Clock is a client's own, ahead of the broker's. The zero value is not.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration // locked by mu
}

// Now is its time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Add moves it on.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}
