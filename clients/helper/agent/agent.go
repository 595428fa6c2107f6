package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Setup is what an agent needs beside its file.
type Setup struct {
	// Client is how the broker is asked. It is the caller's to close. Required.
	Client *valetkey.Client
	// Config is what it serves first.
	Config Config
	// Program is the path of the valetkey command, which profiles name; empty for
	// this program itself.
	Program string
	// Log is where warnings go; slog.Default() when nil.
	Log *slog.Logger
}

// Agent serves many tasks. It is safe for concurrent use.
type Agent struct {
	cfg     Setup
	started time.Time
	hub     *serve.Hub
	control *serve.Server
	journal *journal
	cancel  context.CancelFunc // of work
	work    sync.WaitGroup     // the tidying up after an agent before

	reload  sync.Mutex // one at a time
	mu      sync.Mutex
	closed  bool            // locked by mu
	conf    Config          // as it is served; locked by mu
	confErr error           // why the newest is not; locked by mu
	jobs    map[string]*job // by name; locked by mu
}

// New serves what cfg says, and returns once its addresses are open. Tasks are
// opened in the background, for as long as the broker takes.
func New(cfg Setup) (_ *Agent, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Program, err = files.Program(cfg.Program); err != nil {
		return nil, err
	}
	if err := cfg.Config.check(); err != nil {
		return nil, fmt.Errorf("checking the configuration: %w", err)
	}
	a := &Agent{cfg: cfg, started: time.Now(), conf: cfg.Config, jobs: map[string]*job{}}
	a.journal = newJournal(cfg.Config.Socket, a.owner())
	if a.hub, err = serve.NewHub(cfg.Config.Listen, a.peers(false), cfg.Log); err != nil {
		return nil, err
	}
	var control *listen.Local
	if cfg.Config.Socket != "" {
		if control, err = files.SharedSocket(cfg.Config.Socket, files.SocketOwn); err != nil {
			return nil, errors.Join(err, a.hub.Close())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	// The socket is ours, so that whoever wrote a journal is gone.
	left, err := a.journal.read()
	a.note(err)
	a.tidy(ctx, left)
	a.note(a.journal.serves(cfg.Config))
	for _, t := range cfg.Config.Tasks {
		a.jobs[t.Name] = a.begin(t)
	}
	if control != nil {
		// Answered last: before, there would be no task that lacks anything. Whoever
		// may have credentials is not whom the status is for.
		a.control = serve.Start(control, listen.NewPeers(nil, false), cfg.Log, a.controlHandler())
	}
	return a, nil
}

func (a *Agent) peers(must bool) listen.Peers { return listen.NewPeers(a.cfg.Config.UIDs, must) }

// others says whether users other than this one may ask.
func (a *Agent) others() bool {
	return slices.ContainsFunc(a.cfg.Config.UIDs, func(uid int) bool { return uid != os.Geteuid() })
}

// owner is whose files are: the one user's that may ask, where it is another.
func (a *Agent) owner() int {
	if len(a.cfg.Config.UIDs) == 1 && a.others() {
		return a.cfg.Config.UIDs[0]
	}
	return files.Self
}

// scopes is how many the agent was started with.
func (a *Agent) scopes() (n int) {
	for _, t := range a.cfg.Config.Tasks {
		n += len(t.Scopes)
	}
	return n
}

// ErrNeedsRestart is a change that a running agent cannot make.
var ErrNeedsRestart = errors.New("socket, listen and uids change with a restart only")

// Reload serves c from now on: what is as it was goes on, what changed is ended
// and begun again. An error leaves everything as it was, and is in the status.
func (a *Agent) Reload(c Config, err error) error {
	a.reload.Lock()
	defer a.reload.Unlock()
	if err == nil {
		err = c.check()
	}
	a.mu.Lock()
	if err == nil && (c.Socket != a.conf.Socket || c.Listen != a.conf.Listen || !slices.Equal(c.UIDs, a.conf.UIDs)) {
		err = ErrNeedsRestart
	}
	a.confErr = err
	before := a.conf
	var gone, kept []*job
	for name, j := range a.jobs {
		i := slices.IndexFunc(c.Tasks, func(t TaskConfig) bool { return t.Name == name })
		switch {
		case err != nil:
		case i < 0 || !sameTask(j.conf, c.Tasks[i]):
			gone = append(gone, j)
			delete(a.jobs, name)
		default:
			kept = append(kept, j)
		}
	}
	a.mu.Unlock()
	if err != nil {
		return fmt.Errorf("the configuration before goes on: %w", err)
	}
	// Of both until the old is gone: the agent may be killed while it ends.
	a.note(a.journal.serves(before, c))
	// Without the lock, since it takes the broker's time; and before what comes, which
	// may have the same addresses.
	ended := endAll(gone)
	for _, j := range kept {
		j.change(c.Tasks[slices.IndexFunc(c.Tasks, func(t TaskConfig) bool { return t.Name == j.conf.Name })].Scopes)
	}
	a.mu.Lock()
	for _, t := range c.Tasks {
		if a.jobs[t.Name] == nil && !a.closed {
			a.jobs[t.Name] = a.begin(t)
		}
	}
	a.conf = c
	a.mu.Unlock()
	a.note(a.journal.serves(c))
	if ended != nil {
		a.cfg.Log.WarnContext(context.Background(), "ending tasks that are not configured any more", slog.String("error", ended.Error()))
	}
	return nil
}

// sameTask says whether the broker's task is the same; its scopes may differ.
func sameTask(x, y TaskConfig) bool {
	x.Scopes, y.Scopes = nil, nil
	return reflect.DeepEqual(x, y)
}

func endAll(jobs []*job) error {
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		wg.Go(func() { errs[i] = j.end() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close ends every task and with it its grants, shuts every address and removes
// every file. After an error tasks may be open still: their credentials die at
// their deadlines.
func (a *Agent) Close() error {
	a.mu.Lock()
	jobs := make([]*job, 0, len(a.jobs))
	for _, j := range a.jobs {
		jobs = append(jobs, j)
	}
	clear(a.jobs)
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.work.Wait()
	errs := []error{endAll(jobs), a.hub.Close(), a.journal.end()}
	if a.control != nil {
		errs = append(errs, a.control.Close())
	}
	return errors.Join(errs...)
}

// Address is the container credentials endpoint's host and port.
func (a *Agent) Address() string { return a.hub.Addr() }
