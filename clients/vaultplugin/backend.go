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
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
)

const (
	// callLimit bounds what one request asks the broker.
	callLimit = 45 * time.Second
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

	mu     sync.Mutex
	cfg    *config          // what client was made of; nil for none; locked by mu
	client *valetkey.Client // locked by mu
	owned  io.Closer        // what client stands on, if we opened it; locked by mu
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
	b := &backend{}
	b.Backend = &framework.Backend{
		BackendType:    logical.TypeLogical,
		RunningVersion: version,
		Help:           "The valetkey secrets engine gives credentials that can do one declared task, for minutes. A broker decides, records and mints; see the paths below.",
		PathsSpecial:   &logical.Paths{SealWrapStorage: []string{configKey}},
		Paths: []*framework.Path{
			b.pathConfig(), b.pathScopes(), b.pathScope(), b.pathCreds(), b.pathRequest(), b.pathTasks(), b.pathTask(),
		},
		Secrets:           []*framework.Secret{b.secretCredential(), b.secretTask()},
		WALRollback:       b.rollback,
		WALRollbackMinAge: rollbackAge,
		Clean:             func(context.Context) { b.forget() },
		Invalidate: func(_ context.Context, key string) {
			if key == configKey {
				b.forget()
			}
		},
	}
	return b
}

// errNotConfigured is answered until somebody has written the config.
var errNotConfigured = errors.New("this mount is not configured: write its broker and identity to config first (vault path-help MOUNT/config)")

// open returns the configuration, and a client that stands on it.
func (b *backend) open(ctx context.Context, s logical.Storage) (*config, *valetkey.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client != nil {
		return b.cfg, b.client, nil
	}
	cfg, err := loadConfig(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if cfg == nil {
		return nil, nil, errNotConfigured
	}
	client, owned, err := cfg.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	b.cfg, b.client, b.owned = cfg, client, owned
	return cfg, client, nil
}

// caller is who a request is for.
type caller struct {
	agent  string
	cfg    *config
	client *valetkey.Client
}

// caller opens the client, and has calls with the context speak for the agent that
// the request's caller is.
func (b *backend) caller(ctx context.Context, req *logical.Request) (context.Context, caller, error) {
	cfg, client, err := b.open(ctx, req.Storage)
	if err != nil {
		return ctx, caller{}, err
	}
	agent, err := cfg.agentOf(req, b.System())
	if err != nil {
		return ctx, caller{}, err
	}
	return valetkey.SpeakFor(ctx, agent), caller{agent: agent.String(), cfg: cfg, client: client}, nil
}

// forget drops the client; the next request makes another. Calls that run on it
// are cut off, and what they may leave is rolled back.
func (b *backend) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := closeBoth(b.client, b.owned); err != nil {
		b.Logger().Warn("closing the broker's client", "error", err)
	}
	b.cfg, b.client, b.owned = nil, nil, nil
}

func closeBoth(client *valetkey.Client, owned io.Closer) error {
	var errs []error
	if client != nil {
		errs = append(errs, client.Close())
	}
	if owned != nil {
		errs = append(errs, owned.Close())
	}
	return errors.Join(errs...)
}

// quiet is for the SDK: what it would log, calls return here.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
