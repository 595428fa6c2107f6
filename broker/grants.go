package broker

import (
	"context"
	"log/slog"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/scopes"
)

// Catalog is the catalog that serves now.
func (b *Broker) Catalog() *scopes.Catalog { return b.rules.Load().Catalog }

// Explain says what a request would give and need. It mints and records nothing.
func (b *Broker) Explain(ctx context.Context, who Caller, q scopes.Query, environment string) (policy.Decision, error) {
	return b.decide(ctx, who, store.Task{Environment: environment}, q, approval.Tally{})
}

// Grant returns the agent's grant; an empty agent is an operator's look.
func (b *Broker) Grant(ctx context.Context, agent, id string) (g store.Grant, err error) {
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		g, err = r.Grant(id)
		return err
	})
	if err == nil && agent != "" && g.Agent != agent {
		err = store.ErrNotFound // another's grant is no grant: ids tell nothing
	}
	if err != nil {
		return store.Grant{}, notFound(err, ErrGrantNotFound)
	}
	return g, nil
}

// Grants lists grants, newest first.
func (b *Broker) Grants(ctx context.Context, f store.GrantFilter) (gs []store.Grant, err error) {
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		gs, err = r.Grants(f)
		return err
	})
	return gs, err
}

// SetFreeze stops or resumes all grants of one agent. key may be empty.
func (b *Broker) SetFreeze(ctx context.Context, operator Caller, key, agent string, frozen bool, cause string) error {
	content := contentOf("set freeze", agent, frozen, cause)
	_, err := b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		p := passage{tx: t, who: operator}
		if known, err := p.recall(key, content, &struct{}{}); err != nil || known {
			return err
		}
		if err := p.keep(key, content, "", struct{}{}); err != nil {
			return err
		}
		if err := t.SetFrozen(agent, cause, frozen); err != nil {
			return err
		}
		kind := ledger.AgentUnfrozen
		if frozen {
			kind = ledger.AgentFrozen
		}
		_, err := t.Record(ledger.Record{Type: kind, Correlation: operator.Correlation, Operator: operator.id(), Agent: agent, Cause: cause})
		return err
	})
	return err
}

// Reload loads the catalog and the policies again. On an error the old ones go
// on serving. The change is on the record before it takes effect. key may be
// empty; one that has reloaded before does not again.
func (b *Broker) Reload(ctx context.Context, operator Caller, key string) (version string, err error) {
	b.reload.Lock()
	defer b.reload.Unlock()
	content, known := contentOf("reload catalog"), false
	rules, err := b.cfg.Load()
	loaded := err
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) (err error) {
		p := passage{tx: t, who: operator}
		if known, err = p.recall(key, content, &version); err != nil || known {
			return err
		}
		if loaded != nil {
			return loaded
		}
		version = rules.Catalog.Version()
		if err := p.keep(key, content, "", version); err != nil {
			return err
		}
		_, err = t.Record(ledger.Record{
			Type: ledger.CatalogReloaded, Correlation: operator.Correlation, Operator: operator.id(), Catalog: version,
		})
		return err
	})
	if err != nil {
		return "", err
	}
	if !known {
		b.rules.Store(&rules)
	}
	return version, nil
}

func slogErr(err error) slog.Attr { return slog.String("error", err.Error()) }
