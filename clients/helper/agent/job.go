package agent

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Pauses between tries of what did not work.
const (
	firstPause = 500 * time.Millisecond
	longPause  = 30 * time.Second
	// refusedPause is after a refusal, which is an answer.
	refusedPause = time.Minute
)

// job is a task of an agent, from before it is opened until after it is closed.
type job struct {
	a      *Agent
	conf   TaskConfig // its Scopes are of outlets
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	mu      sync.Mutex
	scopes  []ScopeConfig      // locked by mu
	task    *valetkey.Task     // nil until it is open, and once it is ended; locked by mu
	err     error              // why it is not open; locked by mu
	outlets map[string]*outlet // by name; locked by mu

	releases sync.WaitGroup // of outlets that are gone; begun under mu
}

// errNoAnswer is why a task is not open when nothing has failed.
var errNoAnswer = errors.New("the broker has not answered yet")

func (a *Agent) begin(conf TaskConfig) *job {
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{a: a, conf: conf, cancel: cancel, done: make(chan struct{}), scopes: conf.Scopes, err: errNoAnswer, outlets: map[string]*outlet{}}
	go func() {
		defer close(j.done)
		j.run(ctx)
	}()
	return j
}

// run opens the task, however long that takes.
func (j *job) run(ctx context.Context) {
	for failed := 0; ; failed++ {
		task, err := j.a.cfg.Client.OpenTask(ctx, j.conf.task())
		if err == nil {
			j.opened(task)
			return
		}
		if ctx.Err() != nil {
			return
		}
		j.a.cfg.Log.WarnContext(ctx, "opening a task failed", slog.String("task", j.conf.Name), slog.String("error", err.Error()))
		j.mu.Lock()
		j.err = err
		j.mu.Unlock()
		if !wait(ctx, pauseAfter(err, failed)) {
			return
		}
	}
}

// pauseAfter is how long to wait after the nth failure in a row.
func pauseAfter(err error, n int) time.Duration {
	if refused, no := valetkey.RefusalOf(err); no {
		return max(refused.RetryAfter, refusedPause)
	}
	return min(firstPause<<min(n, 10), longPause)
}

// wait is false when ctx is over first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (j *job) opened(task *valetkey.Task) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.task, j.err = task, nil
	j.a.note(j.a.journal.opened(task.ID()))
	for _, s := range j.scopes {
		j.outlets[s.spec().Called()] = j.open(s)
	}
}

// change takes other scopes, or other outputs of them. What is as it was is
// written again, since its templates may be others. What is gone is given back in
// the background: mu is also what the status waits for.
func (j *job) change(scopes []ScopeConfig) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.scopes = scopes
	if j.task == nil {
		return
	}
	for name, o := range j.outlets {
		i := slices.IndexFunc(scopes, func(s ScopeConfig) bool { return s.spec().Called() == name })
		if i < 0 || !reflect.DeepEqual(o.conf, scopes[i]) {
			o.end()
			j.releases.Go(o.release)
			delete(j.outlets, name)
		}
	}
	for _, s := range scopes {
		name := s.spec().Called()
		if o, ok := j.outlets[name]; ok {
			o.again()
			continue
		}
		j.outlets[name] = j.open(s)
	}
}

// end ends the task and all that was made for it.
func (j *job) end() error {
	j.cancel()
	<-j.done
	j.mu.Lock()
	task := j.task
	j.task = nil
	for _, o := range j.outlets {
		o.end()
	}
	clear(j.outlets)
	j.mu.Unlock()
	defer j.releases.Wait()
	if task == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), serve.CloseTimeout)
	defer cancel()
	if err := task.Close(ctx); err != nil && !serve.Over(err) {
		return err
	}
	j.a.note(j.a.journal.closed(task.ID()))
	return nil
}
