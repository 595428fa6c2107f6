package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// What a guard of tasks is told, a line each.
const (
	saysOpened = "opened "
	saysClosed = "closed "
)

// TasksGuard guards tasks that come and go, as a Guard does its one: should
// this process be killed, it closes those that are open. It is safe for concurrent
// use.
type TasksGuard struct {
	mu   sync.Mutex
	g    *Guard
	open map[string]bool // by task id; locked by mu
}

// StartTasksGuard starts cmd, which is to call GuardTasks on its standard input.
func StartTasksGuard(cmd *exec.Cmd) (*TasksGuard, error) {
	g, err := StartGuard(cmd)
	if err != nil {
		return nil, err
	}
	return &TasksGuard{g: g, open: map[string]bool{}}, nil
}

// Opened has a task guarded. Where it fails the guard is gone, and the task is better
// closed.
func (t *TasksGuard) Opened(id string) error { return t.say(saysOpened, id, true) }

// Closed has a task guarded no more.
func (t *TasksGuard) Closed(id string) error { return t.say(saysClosed, id, false) }

func (t *TasksGuard) say(what, id string, open bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := io.WriteString(t.g.pipe, what+id+"\n"); err != nil {
		return fmt.Errorf("telling the guard: it is gone (%w); start this process anew", err)
	}
	if open {
		t.open[id] = true
	} else {
		delete(t.open, id)
	}
	return nil
}

// Dismiss ends the guard where no task is open. Where one is, closing it has failed:
// the guard is left to try, and not waited for.
func (t *TasksGuard) Dismiss() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) == 0 {
		return t.g.Dismiss()
	}
	return t.g.Leave()
}

// GuardTasks guards tasks until the process at the other end of r is gone. Where that was
// killed it calls tidy, and closes those that are open. It is the whole of a process of its
// own, which is told to end by r alone.
func GuardTasks(r io.Reader, tidy func() error, closeTasks func(ids ...string) error) error {
	ignoreSignals()
	tasks, killed := abandonedTasks(r)
	if !killed {
		return nil
	}
	left := tidy()
	if len(tasks) == 0 {
		return left
	}
	if err := errors.Join(left, closeTasks(tasks...)); err != nil {
		return fmt.Errorf("ending what a killed server left: %w", err)
	}
	return nil
}

// abandonedTasks waits until the process at the other end of r is gone, and gives the
// tasks that it has left open. killed is false where it said that all is well.
func abandonedTasks(r io.Reader) (tasks []string, killed bool) {
	open := map[string]bool{}
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if line == allIsWell {
			return nil, false
		}
		// Half a line is of a kill in the middle of it: what it would have said is not known.
		if id, ok := strings.CutPrefix(line, saysOpened); ok && err == nil {
			open[strings.TrimSuffix(id, "\n")] = true
		} else if id, ok := strings.CutPrefix(line, saysClosed); ok && err == nil {
			delete(open, strings.TrimSuffix(id, "\n"))
		}
		if err != nil {
			for id := range open {
				tasks = append(tasks, id)
			}
			return tasks, true
		}
	}
}
