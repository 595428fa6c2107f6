package valetkey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// ErrClosed means that the client, or the task, was closed by this program.
var ErrClosed = errors.New("closed")

// closeTimeout bounds what Close still says to the broker.
const closeTimeout = 5 * time.Second

// Client talks to one broker. It is safe for concurrent use.
type Client struct {
	// Agent has the calls of agents as the wire contract has them: nothing is
	// sent again, and no receipt is checked.
	Agent valetkeyv1.AgentServiceClient
	// Operator has the calls of operators, and Approver those of people who approve, likewise.
	Operator valetkeyv1.OperatorServiceClient
	Approver valetkeyv1.ApprovalServiceClient
	// Ledger has the calls of those who hold the record against what they were told.
	Ledger valetkeyv1.LedgerServiceClient

	cfg     config
	link    *link // nil with WithConn
	owned   io.Closer
	history *history

	ctx    context.Context // the client's life
	cancel context.CancelFunc
	work   sync.WaitGroup // refreshes in the background

	mu     sync.Mutex
	closed bool             // locked by mu
	tasks  map[string]*Task // those that this client opened, by id; locked by mu
}

// New waits for an SVID, for as long as ctx allows, and prepares a connection,
// which is made on the first call. What no option says is read from the
// environment: see EnvAddr and its neighbours. Close the client to close the
// tasks that it opened.
//
// New refuses with ErrNoLedgerKey where nothing says how to check receipts.
func New(ctx context.Context, opts ...Option) (*Client, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("making a broker client: %w", err)
	}
	c := &Client{cfg: cfg, tasks: map[string]*Task{}}
	if c.history, err = newHistory(cfg); err != nil {
		return nil, err
	}
	conn := cfg.conn
	if conn == nil {
		if err := c.connect(ctx); err != nil {
			return nil, err
		}
		conn = c.link
	}
	c.Agent, c.Operator = valetkeyv1.NewAgentServiceClient(conn), valetkeyv1.NewOperatorServiceClient(conn)
	c.Approver, c.Ledger = valetkeyv1.NewApprovalServiceClient(conn), valetkeyv1.NewLedgerServiceClient(conn)
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return c, nil
}

func (c *Client) connect(ctx context.Context) error {
	id := c.cfg.identity
	if id == nil {
		var opts []workloadapi.X509SourceOption
		if c.cfg.workloadAPI != "" {
			opts = append(opts, workloadapi.WithClientOptions(workloadapi.WithAddr(c.cfg.workloadAPI)))
		}
		source, err := workloadapi.NewX509Source(ctx, opts...)
		if err != nil {
			return fmt.Errorf("fetching an SVID from the Workload API: %w", err)
		}
		id, c.owned = source, source
	}
	var err error
	if c.link, err = newLink(c.cfg, id); err != nil && c.owned != nil {
		err = errors.Join(err, c.owned.Close())
	}
	return err
}

// ID is the program's own SPIFFE ID as its SVID has it now; zero with WithConn.
func (c *Client) ID() spiffeid.ID {
	if c.link == nil {
		return spiffeid.ID{}
	}
	return c.link.id()
}

// Close closes the tasks that this client opened, which ends their grants and
// with them their credentials; then it ends the connection and stops following
// the SVID. It takes 5 seconds at most. An error says that tasks may be open
// still: their credentials die at their deadlines. A second Close does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	tasks, again := c.tasks, c.closed
	c.closed, c.tasks = true, nil
	c.mu.Unlock()
	if again {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), closeTimeout)
	defer cancel()
	errs := make([]error, len(tasks))
	var wg sync.WaitGroup
	i := 0
	for _, t := range tasks {
		at := i
		wg.Go(func() { errs[at] = t.Close(ctx) })
		i++
	}
	wg.Wait()
	c.cancel()
	c.work.Wait()
	err := errors.Join(errs...)
	if c.link != nil {
		err = errors.Join(err, c.link.Close())
	}
	if c.owned != nil {
		err = errors.Join(err, c.owned.Close())
	}
	return err
}

// keep remembers a task for Close, which may have come first.
func (c *Client) keep(t *Task) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.tasks[t.id] = t
	return true
}

func (c *Client) forget(t *Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tasks, t.id)
}

// goDo runs fn in the background until the client is closed; false when it is.
func (c *Client) goDo(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(fn)
	return true
}

// NewIdempotencyKey returns a key that no other call has: 26 random characters,
// 130 bits. Send the same key again only to repeat the same call.
func NewIdempotencyKey() string { return rand.Text() }

var _ grpc.ClientConnInterface = (*link)(nil)
