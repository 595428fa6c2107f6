package valetkey

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Config says which broker to reach, and as whom.
type Config struct {
	// Address is the broker's host:port. Required.
	Address string
	// BrokerID is the SPIFFE ID the broker must have. The zero ID accepts any
	// member of the caller's own trust domain.
	BrokerID spiffeid.ID
	// WorkloadAPI is the address of the Workload API, "unix:///run/spire/api.sock".
	// Empty reads SPIFFE_ENDPOINT_SOCKET.
	WorkloadAPI string
}

// Client is a connection to one broker. It is safe for concurrent use.
type Client struct {
	// Agent has the calls of agents.
	Agent valetkeyv1.AgentServiceClient
	// Operator has the calls of operators.
	Operator valetkeyv1.OperatorServiceClient

	close func() error
}

// Dial waits for an SVID, for as long as ctx allows, and prepares a connection,
// which is made on the first call. Close gives back both.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Address == "" {
		return nil, errors.New("dialing broker: no address")
	}
	var opts []workloadapi.X509SourceOption
	if cfg.WorkloadAPI != "" {
		opts = append(opts, workloadapi.WithClientOptions(workloadapi.WithAddr(cfg.WorkloadAPI)))
	}
	source, err := workloadapi.NewX509Source(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("fetching an SVID from the Workload API: %w", err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the SVID: %w", err), source.Close())
	}
	broker := tlsconfig.AuthorizeMemberOf(svid.ID.TrustDomain())
	if !cfg.BrokerID.IsZero() {
		broker = tlsconfig.AuthorizeID(cfg.BrokerID)
	}
	conf := tlsconfig.MTLSClientConfig(source, source, broker)
	conf.MinVersion = tls.VersionTLS13
	conn, err := grpc.NewClient(cfg.Address, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dialing broker %q: %w", cfg.Address, err), source.Close())
	}
	c := New(conn)
	c.close = func() error { return errors.Join(conn.Close(), source.Close()) }
	return c, nil
}

// New returns a client on a connection that the caller has made and closes.
func New(conn grpc.ClientConnInterface) *Client {
	return &Client{
		Agent:    valetkeyv1.NewAgentServiceClient(conn),
		Operator: valetkeyv1.NewOperatorServiceClient(conn),
		close:    func() error { return nil },
	}
}

// Close ends the connection and stops following the SVID.
func (c *Client) Close() error { return c.close() }

// NewIdempotencyKey returns a key that no other call has: 26 random characters,
// 130 bits. Send the same key again only to repeat the same call.
func NewIdempotencyKey() string { return rand.Text() }
