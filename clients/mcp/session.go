package mcp

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// session is what one client has. Its handles mean nothing in another session.
type session struct {
	s      *Server
	number int             // in order of their beginning
	ctx    context.Context // ends with the session
	cut    context.CancelFunc

	mu       sync.Mutex
	over     bool               // locked by mu
	tasks    map[string]*task   // by handle; locked by mu
	accesses map[string]*access // by handle; locked by mu
	asking   int                // requests under way, which count as held; locked by mu
	commands sync.WaitGroup     // that run; added to under mu while the session is not over
}

// task is a task of the broker that this session opened.
type task struct {
	handle string
	t      *valetkey.Task
	spec   valetkey.TaskSpec
}

func newSession(s *Server, number int) *session {
	ctx, cut := context.WithCancel(context.Background())
	return &session{s: s, number: number, ctx: ctx, cut: cut, tasks: map[string]*task{}, accesses: map[string]*access{}}
}

// newHandle is 130 random bits.
func newHandle(kind string) string { return kind + "-" + valetkey.NewIdempotencyKey() }

func (x *session) task(handle string) (*task, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tasks[handle]
	if t == nil {
		return nil, refuse(ReasonUnknownHandle, "this session has no such task")
	}
	return t, nil
}

func (x *session) access(handle string) (*access, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.accesses[handle]
	if a == nil {
		return nil, refuse(ReasonUnknownHandle, "this session has no such access")
	}
	return a, nil
}

// idle says whether the session holds nothing.
func (x *session) idle() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.tasks)+len(x.accesses)+x.asking == 0
}

// hold adds a task, unless the session is over or full.
func (x *session) hold(t *task) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return refuse(ReasonUnavailable, "the session is over")
	}
	x.tasks[t.handle] = t
	return nil
}

// room says whether another task fits.
func (x *session) room() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.tasks) >= maxTasks {
		return refuse(ReasonLimit, "%d tasks are open", maxTasks)
	}
	return nil
}

// ask reserves room for one more access; done gives the reservation back.
func (x *session) ask() (done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.over:
		return nil, refuse(ReasonUnavailable, "the session is over")
	case len(x.accesses)+x.asking >= maxAccess:
		return nil, refuse(ReasonLimit, "%d accesses are held", maxAccess)
	}
	x.asking++
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.asking--
	}, nil
}

// keep adds an access, unless the session or its task ended meanwhile.
func (x *session) keep(a *access) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.over:
		return refuse(ReasonUnavailable, "the session is over")
	case x.tasks[a.task.handle] != a.task:
		return refuse("TASK_CLOSED", "the task was closed meanwhile")
	}
	x.accesses[a.handle] = a
	return nil
}

// dropAccess takes an access out. It is false where somebody else has.
func (x *session) dropAccess(a *access) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.accesses[a.handle] != a {
		return false
	}
	delete(x.accesses, a.handle)
	return true
}

// dropTask takes a task and its accesses out.
func (x *session) dropTask(t *task) (of []*access) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.tasks, t.handle)
	for h, a := range x.accesses {
		if a.task == t {
			of = append(of, a)
			delete(x.accesses, h)
		}
	}
	return of
}

// begin says that a command runs until done.
func (x *session) begin() (done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return nil, refuse(ReasonUnavailable, "the session is over")
	}
	x.commands.Add(1)
	return x.commands.Done, nil
}

// end takes down what is left, and waits for the commands to be ended. Closing a task ends its grants at the broker.
func (x *session) end() {
	x.mu.Lock()
	x.over = true
	accesses, tasks := x.accesses, x.tasks
	x.accesses, x.tasks = map[string]*access{}, map[string]*task{}
	x.mu.Unlock()
	x.cut()
	for _, a := range accesses {
		a.takeDown()
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() {
			if err := x.s.closeTask(ctx, t); err != nil {
				x.s.cfg.Log.WarnContext(ctx, "closing a task of a session that is over failed; its credentials die at their deadlines",
					slog.String("task", t.t.ID()), slog.String("error", err.Error()))
			}
		})
	}
	wg.Go(x.commands.Wait) // cut has ended them, or proc.EndTime does
	wg.Wait()
}

// during bounds a call by the session's life and by d.
func (x *session) during(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(x.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
