package mcp

import (
	"context"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// watched are the accesses of a command, whose credentials are watched while it
// runs: what is taken out of its output is every value that they have had.
type watched struct {
	env     map[string]string
	sources []*valetkey.Source

	mu   sync.Mutex
	seen map[string][]string // the secrets of each credential, by its id; locked by mu
}

func (x *session) watch(ctx context.Context, handles []string) (*watched, error) {
	w := &watched{env: map[string]string{}, seen: map[string][]string{}}
	for _, h := range handles {
		a, err := x.access(h)
		if err != nil {
			return nil, err
		}
		// Looked at again at the broker: a grant may have been revoked since.
		out, err := x.look(ctx, a)
		if err != nil {
			return nil, err
		}
		a.mu.Lock()
		place, src := a.place, a.src
		a.mu.Unlock()
		if out.State != stateReady || place == nil || src == nil {
			return nil, refuse(ReasonNotReady, "access to scope %s is %s", a.scope, out.State)
		}
		for k, v := range place.Alone {
			if was, twice := w.env[k]; twice && was != v {
				return nil, refuse(ReasonInvalidArgument, "two of these accesses need %s; give the command one of them", k)
			}
			w.env[k] = v
		}
		w.sources = append(w.sources, src)
		if err := w.see(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// see remembers what the sources hold now.
func (w *watched) see(ctx context.Context) error {
	for _, src := range w.sources {
		cred, err := src.Credential(ctx)
		if err != nil {
			return err
		}
		w.mu.Lock()
		if _, ok := w.seen[cred.ID()]; !ok {
			w.seen[cred.ID()] = secretsOf(cred)
		}
		w.mu.Unlock()
	}
	return nil
}

// follow looks every second, and once more at the end: a credential is renewed in
// far longer.
func (w *watched) follow(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = w.see(ctx) // one that is gone has nothing new
		case <-done:
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = w.see(last)
			return
		}
	}
}

func (w *watched) secrets() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		out = append(out, s...)
	}
	return out
}
