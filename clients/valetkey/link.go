package valetkey

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
)

// ErrBrokerIdentity means that whoever answers at the broker's address is not who
// the broker must be. Nothing was sent to it.
var ErrBrokerIdentity = errors.New("the broker has another identity")

// retireAfter is how long a connection of an older SVID may finish its calls.
const retireAfter = time.Minute

// link is a connection to the broker that is made anew whenever the program has
// a new SVID: the broker checks the certificate of the connection on every call,
// and a connection keeps the one that it was made with.
type link struct {
	target   string
	identity Identity
	opts     []grpc.DialOption

	mu      sync.Mutex
	conn    *grpc.ClientConn                 // locked by mu
	leaf    []byte                           // the SVID that conn is for; nil where conn is distrusted; locked by mu
	retired map[*grpc.ClientConn]*time.Timer // locked by mu
	closed  bool                             // locked by mu
	wrong   error                            // why the last handshake was refused; locked by mu
}

func newLink(cfg config, id Identity) (*link, error) {
	svid, err := id.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("reading the SVID: %w", err)
	}
	broker := tlsconfig.AuthorizeMemberOf(svid.ID.TrustDomain())
	if !cfg.brokerID.IsZero() {
		broker = tlsconfig.AuthorizeID(cfg.brokerID)
	}
	l := &link{target: cfg.addr, identity: id, retired: map[*grpc.ClientConn]*time.Timer{}}
	conf := tlsconfig.MTLSClientConfig(id, id, broker)
	conf.MinVersion = tls.VersionTLS13
	verify := conf.VerifyPeerCertificate
	conf.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error { //nolint:gosec // without a ClientSessionCache nothing is resumed
		err := verify(raw, chains)
		l.judged(err)
		return err
	}
	l.opts = append(slices.Clone(cfg.dial),
		grpc.WithTransportCredentials(watched{credentials.NewTLS(conf), l}),
		// gRPC's own limit of two minutes would be longer than some credentials live.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
	if _, err := l.current(); err != nil {
		return nil, err
	}
	return l, nil
}

// current is a connection for the newest SVID. Where there is none the last one
// goes on for as long as the broker takes it.
func (l *link) current() (*grpc.ClientConn, error) {
	svid, err := l.identity.GetX509SVID()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case err != nil && l.conn == nil:
		return nil, fmt.Errorf("reading the SVID: %w", err)
	case err != nil || l.conn != nil && bytes.Equal(svid.Certificates[0].Raw, l.leaf):
		return l.conn, nil
	}
	conn, err := grpc.NewClient(l.target, l.opts...)
	if err != nil {
		return nil, fmt.Errorf("dialing broker %q: %w", l.target, err)
	}
	if old := l.conn; old != nil {
		l.retired[old] = time.AfterFunc(retireAfter, func() {
			_ = old.Close() // nothing to tell: no call is left on it that is not cut now
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.retired, old)
		})
	}
	l.conn, l.leaf = conn, svid.Certificates[0].Raw
	return conn, nil
}

func (l *link) id() spiffeid.ID {
	svid, err := l.identity.GetX509SVID()
	if err != nil {
		return spiffeid.ID{}
	}
	return svid.ID
}

// distrust has the next call go over a connection of its own. One that was lost
// without a word, as when a firewall has forgotten it, swallows all that is sent: TCP
// finds out after a quarter of an hour, which is longer than credentials live.
func (l *link) distrust() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaf = nil
}

// watched forgets the last verdict when a handshake begins, since the next may
// end before there is one.
type watched struct {
	credentials.TransportCredentials
	link *link
}

// ClientHandshake implements credentials.TransportCredentials.
func (w watched) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	w.link.judged(nil)
	return w.TransportCredentials.ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.link}
}

func (l *link) judged(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = err
}

// refused is why the last handshake was refused by this side; nil for none.
func (l *link) refused() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrong
}

// Invoke implements grpc.ClientConnInterface.
func (l *link) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, err := l.current()
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface. A stream is cut off a minute
// after the SVID that it was opened with has a successor.
func (l *link) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := l.current()
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

// Close cuts off what runs.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for old, timer := range l.retired {
		if timer.Stop() {
			errs = append(errs, old.Close())
		}
	}
	return errors.Join(append(errs, l.conn.Close())...)
}
