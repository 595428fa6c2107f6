package vault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
)

const (
	// seenFor is how long a probe's answer stands: an engine's role can be changed in Vault.
	seenFor = time.Hour
	// unseenFor is how long a probe that did not see a secret die is not repeated. Each leaves a
	// live credential behind where the engine does not kill.
	unseenFor = 5 * time.Minute
	// downFor is how long one stands that Vault did not answer.
	downFor = 5 * time.Second
	// longFor is how long a path whose secrets live too long is not read again, for the same reason.
	longFor = time.Minute
	// maxPaths bounds what is remembered; scopes can have parameters in their paths.
	maxPaths = 10_000
	// endless is the life of secrets that do not say when they end by themselves.
	endless = time.Duration(math.MaxInt64)
)

// Mount declares what revoking does at one secrets engine of Vault.
type Mount struct {
	// Revocable says that a secret of this mount stops working when its lease is revoked or is
	// over. It is believed only of a path where Probe has seen it.
	Revocable bool
	// Probe is a command, with its arguments, that tries a secret: it gets the secret's data as
	// one JSON object on its standard input, and exits 0 where the secret works and 1 where its
	// target refuses it. Any other end says nothing. Required with Revocable. Its environment is
	// PATH and VALETKEY_PROBE_PATH, the secret's path; what it prints is thrown away.
	Probe []string
}

// CheckMounts finds every fault of a declaration.
func CheckMounts(mounts map[string]Mount) (errs []error) {
	for path, m := range mounts {
		for other := range mounts {
			if path != other && strings.HasPrefix(path, other) {
				errs = append(errs, fmt.Errorf("mount %q is inside of mount %q, and Vault has no such mounts", path, other))
			}
		}
		switch {
		case !strings.HasSuffix(path, "/") || strings.HasPrefix(path, "/") || strings.ContainsAny(path, "+*"):
			errs = append(errs, fmt.Errorf("mount %q is not a path like \"database/\"", path))
		case m.Revocable != (len(m.Probe) > 0):
			errs = append(errs, fmt.Errorf("mount %q: revocable needs a probe, and a probe needs revocable", path))
		}
	}
	return errs
}

// mountOf is what the configuration says of the mount that path is at.
func (c Config) mountOf(path string) (Mount, bool) {
	for at, m := range c.Mounts {
		if strings.HasPrefix(path, at) {
			return m, true
		}
	}
	return Mount{}, false
}

// engines is what was seen of each path's secrets. Laws:
//
//  1. A path's secrets count as killed by a revocation only after a probe saw one work, and saw
//     its target refuse it after its lease was revoked: a role of the same engine can do otherwise.
//  2. What is not known to be killed is held to its real end, which its data has to say: a lease's
//     end is a revocation too.
type engines struct {
	mu    sync.Mutex
	paths map[string]*engine // guarded by mu
}

// engine is one path's. Its fields are guarded by engines.mu.
type engine struct {
	probed time.Time     // when the last probe ended; zero for never
	fault  error         // why it saw no death; nil where it saw one
	going  chan struct{} // closed when the probe that runs has ended; nil for none
	life   time.Duration // of the last secret that lived too long
	long   time.Time     // when that was
}

// atLocked is a path's engine. The caller holds mu.
func (e *engines) atLocked(path string) *engine {
	if e.paths == nil || len(e.paths) >= maxPaths {
		e.paths = map[string]*engine{} // seen anew
	}
	if e.paths[path] == nil {
		e.paths[path] = &engine{}
	}
	return e.paths[path]
}

// kills says whether revoking ends a secret that is read at path: nil, or why that is not known.
// It probes where no answer stands, and waits for that as long as ctx allows; the probe goes on.
func (m *Minter) kills(ctx context.Context, path string) error {
	mount, declared := m.cfg.mountOf(path)
	if !declared || !mount.Revocable {
		return errNotDeclared
	}
	for {
		m.engines.mu.Lock()
		e := m.engines.atLocked(path)
		stands := seenFor
		switch {
		case errors.Is(e.fault, mint.ErrUnavailable):
			stands = downFor
		case e.fault != nil:
			stands = unseenFor
		}
		if !e.probed.IsZero() && m.cfg.Now().Sub(e.probed).Abs() < stands {
			fault := e.fault
			m.engines.mu.Unlock()
			return fault
		}
		if e.going == nil {
			e.going = make(chan struct{})
			go m.look(context.WithoutCancel(ctx), path, mount, e)
		}
		going := e.going
		m.engines.mu.Unlock()
		select {
		case <-going:
		case <-ctx.Done():
			return fmt.Errorf("probing whether revoking ends secrets of %q: %w: %w", path, mint.ErrUnavailable, ctx.Err())
		}
	}
}

var errNotDeclared = errors.New("its mount is not declared revocable in the broker's configuration")

// look runs one probe and keeps its answer.
func (m *Minter) look(ctx context.Context, path string, mount Mount, e *engine) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	fault := m.probe(ctx, path, mount.Probe)
	m.engines.mu.Lock()
	defer m.engines.mu.Unlock()
	e.probed, e.fault = m.cfg.Now(), fault
	close(e.going)
	e.going = nil
}

// tooLong refuses without a read where the last secret of this path, a moment ago, lived longer
// than the order may: each such read would make another that nobody can end.
func (m *Minter) tooLong(pl plan, path string) error {
	m.engines.mu.Lock()
	defer m.engines.mu.Unlock()
	e := m.engines.atLocked(path)
	switch {
	case m.cfg.Now().Sub(e.long).Abs() >= longFor:
	case e.life == endless:
		return &mint.OutlivesError{Why: fmt.Sprintf("secrets of %q do not say when they end by themselves, and %v", path, pl.unseen)}
	case e.life > pl.ttl+time.Second:
		return &mint.OutlivesError{Why: fmt.Sprintf("secrets of %q live %v, and the grant has %v left", path, e.life, pl.ttl)}
	}
	return nil
}

func (m *Minter) wasLong(path string, life time.Duration) {
	m.engines.mu.Lock()
	defer m.engines.mu.Unlock()
	e := m.engines.atLocked(path)
	e.life, e.long = life.Round(time.Second), m.cfg.Now()
}
