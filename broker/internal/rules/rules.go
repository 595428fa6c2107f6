// Package rules is the catalog and the policies that serve now.
//
// Laws:
//   - They change together, and the change is on the record before it takes effect.
//   - What does not load changes nothing.
package rules

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/scopes"
)

// Rules are a catalog and the policies over it, which change together.
type Rules struct {
	Catalog *scopes.Catalog
	Policy  *policy.Engine
}

// Live is what serves. It is safe for concurrent use.
type Live struct {
	load   func() (Rules, error)
	ledger *ledger.Ledger
	now    atomic.Pointer[Rules]
	reload sync.Mutex // held from the load to the swap, so that the newest record names what serves
}

// New loads the rules, and again at each Reload.
func New(l *ledger.Ledger, load func() (Rules, error)) (*Live, error) {
	rules, err := load()
	if err != nil {
		return nil, err
	}
	live := &Live{load: load, ledger: l}
	live.now.Store(&rules)
	return live, nil
}

// Now is what serves now.
func (l *Live) Now() Rules { return *l.now.Load() }

// Catalog is the catalog that serves now, for an agent to read.
func (l *Live) Catalog(who grant.Caller) (*scopes.Catalog, error) {
	if err := who.Check(); err != nil {
		return nil, err
	}
	return l.Now().Catalog, nil
}

// Reload loads the catalog and the policies again. On an error the old ones go
// on serving. The change is on the record before it takes effect. key may be
// empty; one that has reloaded before does not again.
func (l *Live) Reload(ctx context.Context, operator grant.Operator, key string) (version string, err error) {
	if err := operator.Check(); err != nil {
		return "", err
	}
	l.reload.Lock()
	defer l.reload.Unlock()
	used, known := repeats.Key{Who: operator, Key: key, Content: grant.Content("reload catalog")}, false
	rules, err := l.load()
	loaded := err
	_, err = l.ledger.Commit(ctx, func(t *ledger.Tx) (err error) {
		if known, err = used.Recall(t, &version); err != nil || known {
			return err
		}
		if loaded != nil {
			return loaded
		}
		version = rules.Catalog.Version()
		if err := used.Keep(t, "", version); err != nil {
			return err
		}
		return t.Change(grant.Reloaded(operator, version))
	})
	if err != nil {
		return "", err
	}
	if !known {
		l.now.Store(&rules)
	}
	return version, nil
}
