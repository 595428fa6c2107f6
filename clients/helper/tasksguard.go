package helper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// What a guard of tasks is told, a line each.
const (
	saysOpened = "opened "
	saysClosed = "closed "
)

// TasksGuard guards tasks that come and go, as a session's guard does its one: should
// this process be killed, it closes those that are open. It is safe for concurrent
// use.
type TasksGuard struct {
	mu   sync.Mutex
	g    *guard
	open map[string]bool // by task id; locked by mu
}

// StartTasksGuard starts cmd, which is to call AbandonedTasks on its standard input.
func StartTasksGuard(cmd *exec.Cmd) (*TasksGuard, error) {
	g, err := startGuard(cmd)
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
		return t.g.dismiss()
	}
	return t.g.leave()
}

// AbandonedTasks waits until the process at the other end of r is gone, and gives the
// tasks that it has left open. abandoned is false where it said that all is well.
func AbandonedTasks(r io.Reader) (tasks []string, abandoned bool) {
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

// letGoWithin bounds how long the lock of a killed process stays after its pipes are
// closed: the kernel closes one after the other. letGoPause is between two looks.
const (
	letGoWithin = 2 * time.Second
	letGoPause  = 20 * time.Millisecond
)

// RemoveShelf removes what a killed shelf has left in dir, and dir. It leaves a
// folder alone that has other files in it, or that the next shelf uses already.
func RemoveShelf(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // it was removed before the kill
	}
	ctx, cancel := context.WithTimeout(context.Background(), letGoWithin)
	defer cancel()
	found, free, err := shelfDir(dir)
	for errors.Is(err, errInUse) && wait(ctx, letGoPause) {
		found, free, err = shelfDir(dir)
	}
	switch {
	case errors.Is(err, errInUse):
		return nil
	case err != nil:
		return fmt.Errorf("removing what a killed server left: %w", err)
	}
	return errors.Join(os.Remove(found), free())
}
