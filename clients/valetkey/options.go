package valetkey

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
)

// The environment that New reads where no option says otherwise.
const (
	// EnvAddr is the broker's host:port.
	EnvAddr = "VALETKEY_ADDR"
	// EnvBrokerID is the SPIFFE ID the broker must have.
	EnvBrokerID = "VALETKEY_BROKER_ID"
	// EnvLedgerKey is the ledger's verifier key, "name+hash+key", or the name of
	// a file that holds it.
	EnvLedgerKey = "VALETKEY_LEDGER_KEY"
	// EnvWorkloadAPI is the SPIFFE standard's name for the Workload API's address.
	EnvWorkloadAPI = "SPIFFE_ENDPOINT_SOCKET"
)

// ErrNoLedgerKey means that New was not told how to check receipts.
var ErrNoLedgerKey = errors.New("no ledger key: set " + EnvLedgerKey + " to what \"valetkeyd keygen\" printed, or say " +
	"WithLedgerTrustOnFirstUse or WithoutReceiptChecks")

// Identity gives the program's own SVID, and the bundles that the broker's is
// checked with, fresh on every call. It is safe for concurrent use.
type Identity interface {
	x509svid.Source
	x509bundle.Source
}

// Option changes what New makes.
type Option func(*config)

// ledgerMode says how receipts are checked.
type ledgerMode int

const (
	ledgerUnsaid ledgerMode = iota
	ledgerPinned
	ledgerFirstUse
	ledgerUnchecked
)

type config struct {
	addr, workloadAPI string
	brokerID          spiffeid.ID
	identity          Identity
	conn              grpc.ClientConnInterface
	mode              ledgerMode
	ledgerKey         string
	checkpointFile    string
	log               *slog.Logger
	dial              []grpc.DialOption
	now               func() time.Time
	retryFor, tryFor  time.Duration
}

// WithAddr names the broker, host:port, in place of VALETKEY_ADDR.
func WithAddr(addr string) Option { return func(c *config) { c.addr = addr } }

// WithBrokerID names the SPIFFE ID that the broker must have, in place of
// VALETKEY_BROKER_ID. Without either any member of the program's own trust domain
// passes for the broker.
func WithBrokerID(id spiffeid.ID) Option { return func(c *config) { c.brokerID = id } }

// WithWorkloadAPI names the Workload API, such as "unix:///run/spire/api.sock", in
// place of SPIFFE_ENDPOINT_SOCKET.
func WithWorkloadAPI(addr string) Option { return func(c *config) { c.workloadAPI = addr } }

// WithIdentity takes SVID and bundles from id and not from the Workload API. The
// caller closes what it has opened.
func WithIdentity(id Identity) Option { return func(c *config) { c.identity = id } }

// WithConn takes a connection that the caller has made, secured and closes; no
// address and no identity is needed then.
func WithConn(conn grpc.ClientConnInterface) Option { return func(c *config) { c.conn = conn } }

// WithLedgerKey pins the ledger's verifier key, in place of VALETKEY_LEDGER_KEY:
// the key itself, or the name of a file that holds it.
func WithLedgerKey(key string) Option {
	return func(c *config) { c.mode, c.ledgerKey = ledgerPinned, key }
}

// WithLedgerTrustOnFirstUse takes the ledger's key from the broker itself when it
// is first needed, and holds the broker to it from then on: for as long as the
// client lives, or with WithCheckpointFile from one process to the next. Who can
// replace the broker before its first use can show a log of their own.
func WithLedgerTrustOnFirstUse() Option {
	return func(c *config) { c.mode, c.ledgerKey = ledgerFirstUse, "" }
}

// WithoutReceiptChecks takes the broker's word that what it issues is on the
// record. Receipts still come, with Verified false.
func WithoutReceiptChecks() Option {
	return func(c *config) { c.mode, c.ledgerKey = ledgerUnchecked, "" }
}

// WithCheckpointFile keeps the last checkpoint in a file of mode 0600, so that a
// history is refused that was forked or rolled back between two runs. It is the
// file of "valetkey ledger verify --checkpoint". Use one for each process.
func WithCheckpointFile(name string) Option { return func(c *config) { c.checkpointFile = name } }

// WithLogger is where failures go that no call returns, such as those of a
// refresh in the background; slog.Default() when not given.
func WithLogger(log *slog.Logger) Option { return func(c *config) { c.log = log } }

// WithDialOptions are gRPC's own, for the connections to the broker, such as
// OpenTelemetry's of google.golang.org/grpc/stats/opentelemetry, which makes a span
// for each call and sends its context along. The SDK's own options come after them,
// transport credentials among them; an interceptor, a balancer or a dialer is the
// program's own code, though, and can answer in the broker's place.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(c *config) { c.dial = append(c.dial, opts...) }
}

// WithClock replaces time.Now for deadlines and refreshing, in tests.
func WithClock(now func() time.Time) Option { return func(c *config) { c.now = now } }

// WithRetryFor bounds how long a call whose answer was lost is sent again; 15
// seconds when not given. A call's context bounds it too.
func WithRetryFor(d time.Duration) Option { return func(c *config) { c.retryFor = d } }

func newConfig(opts []Option) (config, error) {
	c := config{
		log: slog.Default(),
		now: time.Now, retryFor: 15 * time.Second, tryFor: 30 * time.Second,
	}
	for _, o := range opts {
		o(&c)
	}
	if c.mode == ledgerUnsaid {
		if c.ledgerKey = os.Getenv(EnvLedgerKey); c.ledgerKey == "" {
			return c, ErrNoLedgerKey
		}
		c.mode = ledgerPinned
	}
	if c.mode == ledgerPinned {
		key, err := readKey(c.ledgerKey)
		switch {
		case err != nil:
			return c, err
		case key == "" && c.ledgerKey == "":
			return c, ErrNoLedgerKey
		case key == "":
			return c, fmt.Errorf("%w; %s is empty", ErrNoLedgerKey, c.ledgerKey)
		}
		c.ledgerKey = key
	}
	if c.conn != nil {
		return c, nil
	}
	if c.addr == "" {
		c.addr = os.Getenv(EnvAddr)
	}
	if c.addr == "" {
		return c, errors.New("no broker: set " + EnvAddr + " or say WithAddr")
	}
	if id := os.Getenv(EnvBrokerID); c.brokerID.IsZero() && id != "" {
		var err error
		if c.brokerID, err = spiffeid.FromString(id); err != nil {
			return c, fmt.Errorf("parsing %s %q: %w", EnvBrokerID, id, err)
		}
	}
	if c.identity == nil && c.workloadAPI == "" && os.Getenv(EnvWorkloadAPI) == "" {
		return c, errors.New("no identity: set " + EnvWorkloadAPI + " or say WithWorkloadAPI or WithIdentity")
	}
	return c, nil
}

// readKey reads the key from the file of that name, where there is one.
func readKey(arg string) (string, error) {
	info, err := os.Stat(arg) //nolint:gosec // the operator's own setting
	if err != nil || !info.Mode().IsRegular() {
		return arg, nil
	}
	raw, err := os.ReadFile(arg) //nolint:gosec // the operator's own setting
	if err != nil {
		return "", fmt.Errorf("reading the ledger key: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
