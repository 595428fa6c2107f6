package vaultplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
)

const (
	// callLimit bounds every request, whatever it asks of the broker and of Vault. It is
	// less than the 60 s that Vault's clients wait.
	callLimit = 30 * time.Second
	// mintLimit is how much of callLimit has to be left before a credential that people
	// approved is minted.
	mintLimit = 10 * time.Second
	// rollbackAge is well past callLimit, so that a rollback never meets the request
	// that wrote the entry.
	rollbackAge = time.Minute
	// retryFor is how long a broker that does not answer is asked again; Vault's own
	// clients come again after that.
	retryFor = 5 * time.Second
	// connectLimit bounds waiting for the plugin's own SVID.
	connectLimit = 5 * time.Second
)

// backend is one mount. It is safe for concurrent use.
type backend struct {
	*framework.Backend

	mu   sync.Mutex
	link *link // nil for none; locked by mu

	// handing are held, by grant, while a request that waited is handed over or ended.
	handing []*locksutil.LockEntry
	// asking are held while people may come to be asked, but for what is direct; see asking.go.
	// Who holds one may take one of handing, and never the other way round.
	asking []*locksutil.LockEntry
	direct direct
}

// Factory makes mounts of the plugin. version is what Vault shows, such as "v1.2.3".
func Factory(version string) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := newBackend(version)
		if err := b.Setup(ctx, conf); err != nil {
			return nil, fmt.Errorf("setting up the mount: %w", err)
		}
		return b, nil
	}
}

func newBackend(version string) *backend {
	b := &backend{handing: locksutil.CreateLocks(), asking: locksutil.CreateLocks()}
	b.Backend = &framework.Backend{
		BackendType:    logical.TypeLogical,
		RunningVersion: version,
		Help:           "The valetkey secrets engine gives credentials that can do one declared task, for minutes. A broker decides, records and mints; see the paths below.",
		PathsSpecial:   &logical.Paths{SealWrapStorage: []string{configKey}},
		Paths: []*framework.Path{
			b.pathConfig(), b.pathScopes(), b.pathScope(), b.pathCreds(), b.pathRequest(), b.pathTasks(), b.pathTask(),
		},
		Secrets:           []*framework.Secret{b.secretCredential(), b.secretTask()},
		PeriodicFunc:      b.sweep,
		WALRollback:       b.rollback,
		WALRollbackMinAge: rollbackAge,
		Clean:             func(context.Context) { b.forget(false) },
		Invalidate: func(_ context.Context, key string) {
			if key == configKey {
				b.forget(true)
			}
		},
	}
	b.limitAll()
	return b
}

// limitAll holds every operation that there is to callLimit.
func (b *backend) limitAll() {
	for _, p := range b.Paths {
		for _, h := range p.Operations {
			if op, ok := h.(*framework.PathOperation); ok {
				op.Callback = limited(op.Callback)
			}
		}
	}
	for _, s := range b.Secrets {
		s.Renew, s.Revoke = limited(s.Renew), limited(s.Revoke)
	}
}

func limited(f framework.OperationFunc) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		return f(ctx, req, d)
	}
}

// errNotConfigured is answered until somebody has written the config.
var errNotConfigured = errors.New("this mount is not configured: write its broker and identity to config first (vault path-help MOUNT/config)")

// link is a client of the broker, and what it was made of. Who has it from open
// says done when the calls are over.
type link struct {
	cfg      *config
	client   *valetkey.Client
	identity valetkey.Identity // the plugin's own
	owned    io.Closer         // what client stands on, if we opened it
	users    sync.WaitGroup
}

func (l *link) done() { l.users.Done() }

func (l *link) close() error {
	err := l.client.Close()
	if l.owned != nil {
		err = errors.Join(err, l.owned.Close())
	}
	return err
}

// open returns the mount's link, which it makes when there is none. It fails with
// errOwnSVID where the broker would refuse the plugin itself. ctx must end.
func (b *backend) open(ctx context.Context, s logical.Storage) (*link, error) {
	if err := hold(ctx, &b.mu); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	if b.link == nil {
		cfg, err := loadConfig(ctx, s)
		if err != nil {
			return nil, err
		}
		if cfg == nil {
			return nil, errNotConfigured
		}
		if b.link, err = cfg.connect(ctx); err != nil {
			return nil, err
		}
	}
	if err := b.link.identified(time.Now()); err != nil {
		return nil, err
	}
	b.link.users.Add(1)
	return b.link, nil
}

// caller is who a request is for.
type caller struct {
	*link
	agent string
}

// caller opens the link, and has calls with the context speak for the agent that
// the request's caller is.
func (b *backend) caller(ctx context.Context, req *logical.Request) (context.Context, caller, error) {
	l, err := b.open(ctx, req.Storage)
	if err != nil {
		return ctx, caller{}, err
	}
	agent, err := l.cfg.agentOf(req, b.System())
	if err != nil {
		l.done()
		return ctx, caller{}, err
	}
	return valetkey.SpeakFor(ctx, agent), caller{agent: agent.String(), link: l}, nil
}

// forget drops the link, so that the next request makes another. Calls that run on
// it come to their end first, unless the mount goes away: then they are cut off, and
// what they may leave is rolled back.
func (b *backend) forget(wait bool) {
	b.mu.Lock()
	l := b.link
	b.link = nil
	b.mu.Unlock()
	if l == nil {
		return
	}
	end := func() {
		if wait {
			l.users.Wait()
		}
		if err := l.close(); err != nil {
			b.Logger().Warn("closing the broker's client", "error", err)
		}
	}
	if !wait {
		end()
		return
	}
	go end() // no longer than callLimit
}

// quiet is for the SDK: what it would log, calls return here.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
