package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
)

// outlet is one scope of a task, with where its credential is to be found.
type outlet struct {
	a       *Agent
	task    TaskConfig
	taskID  string
	conf    ScopeConfig
	src     *valetkey.Source
	db      *database.Database
	addr    *addresses
	cancel  context.CancelFunc
	done    chan struct{} // closed when keep has ended
	refresh chan struct{} // asks keep to write again

	mu     sync.Mutex
	err    error // why an output is not there; locked by mu
	served bool  // whether the outputs have been there once; locked by mu
}

// open makes an outlet of an open task.
func (j *job) open(conf ScopeConfig) *outlet {
	ctx, cancel := context.WithCancel(context.Background())
	spec := conf.spec()
	var pending func(*valetkey.Grant)
	if spec.Wait { // otherwise the first look is a failure that is told
		pending = j.pending(spec.Called())
	}
	src := j.task.Source(spec.Scope, spec.Params, spec.Options(j.a.scopes(), pending)...)
	o := &outlet{
		a: j.a, task: j.conf, taskID: j.task.ID(), conf: conf, src: src, db: database.New(src),
		cancel: cancel, done: make(chan struct{}), refresh: make(chan struct{}, 1),
	}
	o.addr = &addresses{o: o, gone: map[string]func() error{}}
	go func() {
		defer close(o.done)
		o.keep(ctx)
	}()
	return o
}

// pending tells the log of a scope's grants that wait for people.
func (j *job) pending(scope string) func(*valetkey.Grant) {
	return func(g *valetkey.Grant) {
		j.a.cfg.Log.InfoContext(context.Background(), "waiting for people to approve", slog.String("task", j.conf.Name), slog.String("scope", scope),
			slog.String("grant", g.ID()), slog.Time("until", g.DecideBy()))
	}
}

func (o *outlet) name() string { return o.conf.spec().Called() }

func (o *outlet) fail(ctx context.Context, err error) {
	o.mu.Lock()
	same := err != nil && o.err != nil && o.err.Error() == err.Error()
	o.err = err
	o.mu.Unlock()
	if err != nil && !same {
		o.a.cfg.Log.WarnContext(ctx, "serving a credential failed",
			slog.String("task", o.task.Name), slog.String("scope", o.name()), slog.String("error", err.Error()))
	}
}

// again has the files written again.
func (o *outlet) again() {
	select {
	case o.refresh <- struct{}{}:
	default: // it is about to
	}
}

// keep opens the addresses, gets the first credential, and writes the files anew
// whenever it changes. Where there are none, whoever asks is what renews.
func (o *outlet) keep(ctx context.Context) {
	for n := 0; ; n++ {
		err := o.addr.open()
		o.fail(ctx, err)
		if err == nil {
			break
		}
		if !wait(ctx, pauseAfter(err, n)) {
			return
		}
	}
	written, failed, asked := "", 0, true
	for {
		cred, err := o.look(ctx, asked)
		switch {
		case ctx.Err() != nil:
			return
		case serve.Over(err):
			// The task is over: what is in the files is dead, and goes.
			o.fail(ctx, errors.Join(err, o.addr.removeFiles()))
			return
		case err == nil && cred.ID() != written:
			if err = o.addr.write(ctx, cred); err == nil {
				written = cred.ID()
			}
			o.fail(ctx, err)
			o.mu.Lock()
			o.served = o.served || err == nil
			o.mu.Unlock()
		}
		if failed++; err == nil {
			failed = 0
		}
		pause := o.pause(err, failed)
		if pause == 0 {
			pause = 24 * time.Hour // nothing to keep fresh
		}
		asked = false
		select {
		case <-o.refresh:
			written, asked = "", true
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// look is what a fetch gets. But a file is no reason to ask people once more who
// have let a request lapse: who fetches is, and a reload.
func (o *outlet) look(ctx context.Context, asked bool) (valetkey.Credential, error) {
	if st := o.src.Status(); !asked && errors.Is(st.Err, valetkey.ErrLapsed) {
		return valetkey.Credential{}, st.Err
	}
	return o.src.Credential(ctx)
}

const (
	approvalPause = 5 * time.Second
	// lookPause is between two looks at what is in memory, for the files.
	lookPause = 3 * time.Second
	// deniedPause is after a decision, which stays one: each try is a record.
	// Whoever fetches is a reason to ask sooner, and so is a reload.
	deniedPause = 10 * time.Minute
)

// pause is until there may be something to do; zero for never.
func (o *outlet) pause(err error, failed int) time.Duration {
	refused, no := valetkey.RefusalOf(err)
	switch {
	case errors.Is(err, valetkey.ErrNeedsApproval):
		return approvalPause // which looks at the grant there is
	case errors.Is(err, valetkey.ErrLapsed):
		return lookPause // at what is in memory
	case no && refused.RetryAfter > 0:
		return refused.RetryAfter
	case no && !valetkey.Passing(err):
		return deniedPause
	case err != nil:
		return min(firstPause<<min(failed, 10), longPause)
	}
	if !o.conf.Outputs.fresh() {
		return 0
	}
	st := o.src.Status()
	if st.Renewing {
		return 100 * time.Millisecond
	}
	// Sooner than it is to be renewed: an operator may have revoked it.
	return max(min(time.Until(st.RenewAt), lookPause), firstPause)
}

// fresh says whether a file holds the credential itself.
func (o *Outputs) fresh() bool { return o.VaultSink != nil || o.PGPass != nil || len(o.Templates) > 0 }

// end shuts the addresses and removes the files. No broker is asked.
func (o *outlet) end() {
	o.cancel()
	<-o.done
	o.tidied(errors.Join(o.addr.close(), o.addr.removeFiles()))
}

// release gives back what was granted, which takes 5 seconds at most.
func (o *outlet) release() {
	ctx, cancel := context.WithTimeout(context.Background(), serve.CloseTimeout)
	defer cancel()
	o.tidied(o.src.Release(ctx))
}

func (o *outlet) tidied(err error) {
	if err != nil {
		o.a.cfg.Log.WarnContext(context.Background(), "tidying up after a scope failed",
			slog.String("task", o.task.Name), slog.String("scope", o.name()), slog.String("error", err.Error()))
	}
}

// base is what templates know before there is a credential.
func (o *outlet) base() TemplateData {
	return TemplateData{Task: o.task.Name, TaskID: o.taskID, Scope: o.conf.Scope, Params: o.conf.spec().Params}
}

// block is the name of what it keeps in files of others.
func (o *outlet) block() string { return blockOf(o.task, o.conf) }

func blockOf(t TaskConfig, s ScopeConfig) string { return t.Name + "/" + s.spec().Called() }
