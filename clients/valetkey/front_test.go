package valetkey_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// front is an address that stays while brokers come and go behind it.
type front struct {
	listener net.Listener

	mu    sync.Mutex
	to    string            // empty for nobody; locked by mu
	conns map[net.Conn]bool // whether bytes pass; locked by mu
	tries int               // connections taken; locked by mu
}

func newFront(t *testing.T, to string) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &front{listener: l, to: to, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.point("")
		wg.Wait()
	})
	return f
}

func (f *front) addr() string { return f.listener.Addr().String() }

func (f *front) serve(in net.Conn) {
	defer func() { _ = in.Close() }()
	f.mu.Lock()
	to := f.to
	f.tries++
	f.mu.Unlock()
	if to == "" {
		return
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	f.mu.Lock()
	f.conns[in], f.conns[out] = true, true
	f.mu.Unlock()
	go func() {
		_, _ = io.Copy(passing{out, in, f}, in)
		_ = out.Close()
	}()
	_, _ = io.Copy(passing{in, out, f}, out)
	f.mu.Lock()
	delete(f.conns, in)
	delete(f.conns, out)
	f.mu.Unlock()
}

// point cuts every connection, and leads those to come to another server.
func (f *front) point(to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
	for c := range f.conns {
		_ = c.Close()
	}
}

// stall has every connection that there is swallow what is sent on it.
func (f *front) stall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		f.conns[c] = false
	}
}

// passing writes to a connection what comes from another, unless that is stalled.
type passing struct {
	io.Writer
	from net.Conn
	f    *front
}

func (p passing) Write(b []byte) (int, error) {
	p.f.mu.Lock()
	passes := p.f.conns[p.from]
	p.f.mu.Unlock()
	if !passes {
		return len(b), nil
	}
	return p.Writer.Write(b)
}

// meddler is a connection that changes what comes back.
type meddler struct {
	grpc.ClientConnInterface

	mu sync.Mutex
	// before and after may be nil. An error of theirs is the call's. Locked by mu.
	before func(method string, request proto.Message) error
	after  func(method string, reply proto.Message) error
}

func (m *meddler) set(fn func(*meddler)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn(m)
}

// Invoke implements grpc.ClientConnInterface.
func (m *meddler) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m.mu.Lock()
	before, after := m.before, m.after
	m.mu.Unlock()
	if before != nil {
		if err := before(method, args.(proto.Message)); err != nil {
			return err
		}
	}
	if err := m.ClientConnInterface.Invoke(ctx, method, args, reply, opts...); err != nil {
		return err
	}
	if after != nil {
		return after(method, reply.(proto.Message))
	}
	return nil
}
