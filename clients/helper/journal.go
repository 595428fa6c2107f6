package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// journal is what an agent would leave behind if it were killed, and what it could
// not tidy up, in a file beside its socket, for the next one to end. It holds no
// secret.
type journal struct {
	path string // empty for none

	mu    sync.Mutex
	tasks map[string]bool // open, by id; locked by mu
	left  leftovers       // all but its Tasks; locked by mu
	stuck []blockName     // which could not be taken out; locked by mu
}

// leftovers is the file.
type leftovers struct {
	Tasks  []string    `json:"tasks"`
	Files  []string    `json:"files"`
	Blocks []blockName `json:"blocks"`
	// Kubeconfigs are files that may be somebody's by now.
	Kubeconfigs []kubeconfigName `json:"kubeconfigs,omitempty"`
}

// blockName is a part of a file that others write too.
type blockName struct{ File, Name string }

func newJournal(socket string) *journal {
	j := &journal{tasks: map[string]bool{}}
	if socket != "" {
		j.path = socket + ".journal"
	}
	return j
}

// read is what another has left; nothing where it ended well.
func (j *journal) read() (left leftovers, err error) {
	raw, err := os.ReadFile(j.path)
	if j.path == "" || errors.Is(err, os.ErrNotExist) {
		return left, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &left)
	}
	if err != nil {
		return left, fmt.Errorf("reading what an agent before has left: %w", err)
	}
	return left, nil
}

// serves notes what c will have written.
func (j *journal) serves(c Config) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.left = leftovers{}
	for i := range c.Tasks {
		for k := range c.Tasks[i].Scopes {
			s := &c.Tasks[i].Scopes[k]
			parts := s.Outputs.shared()
			for _, p := range s.Outputs.written() {
				switch {
				case *p == "":
				case s.Outputs.Kubeconfig != nil && p == &s.Outputs.Kubeconfig.File:
					j.left.Kubeconfigs = append(j.left.Kubeconfigs, s.Outputs.Kubeconfig.name())
				case parts[p]:
					j.left.Blocks = append(j.left.Blocks, blockName{*p, blockOf(c.Tasks[i], *s)})
				default:
					j.left.Files = append(j.left.Files, *p)
				}
			}
		}
	}
	return j.saveLocked()
}

func (j *journal) opened(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tasks[id] = true
	return j.saveLocked()
}

func (j *journal) closed(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.tasks, id)
	return j.saveLocked()
}

// remove takes a block out of its file, or leaves that to the next agent: it needs
// room for the rest of the file, which a full disk does not have.
func (j *journal) remove(b blockName) error {
	err := setBlock(b.File, b.Name, nil, false)
	if err == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Contains(j.stuck, b) {
		j.stuck = append(j.stuck, b)
	}
	return errors.Join(err, j.saveLocked())
}

func (j *journal) saveLocked() error {
	if j.path == "" {
		return nil
	}
	all := j.left
	all.Tasks, all.Blocks = slices.Sorted(maps.Keys(j.tasks)), slices.Concat(all.Blocks, j.stuck)
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return writeSecret(j.path, raw, self)
}

// end removes the journal, when there is nothing left.
func (j *journal) end() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.path == "" || len(j.tasks) > 0 || len(j.stuck) > 0 {
		return nil
	}
	return removeFile(j.path)
}

// tidy ends what an agent before has left: the files now, the tasks as soon as the
// broker answers.
func (a *Agent) tidy(ctx context.Context, left leftovers) {
	var errs []error
	for _, f := range left.Files {
		errs = append(errs, removeFile(f))
	}
	for _, b := range left.Blocks {
		if _, err := os.Stat(b.File); err == nil {
			errs = append(errs, a.journal.remove(b))
		}
	}
	for _, k := range left.Kubeconfigs {
		errs = append(errs, k.remove())
	}
	if err := errors.Join(errs...); err != nil {
		a.cfg.Log.WarnContext(ctx, "removing what an agent before has left", slog.String("error", err.Error()))
	}
	for _, id := range left.Tasks {
		a.note(a.journal.opened(id))
		a.work.Go(func() {
			for n := 0; ; n++ {
				err := a.cfg.Client.Task(id).Close(ctx)
				if err == nil || errors.Is(err, valetkey.ErrTaskClosed) || errors.Is(err, valetkey.ErrTaskNotFound) {
					a.note(a.journal.closed(id))
					return
				}
				if !wait(ctx, pauseAfter(err, n)) {
					return
				}
			}
		})
	}
}

// note tells of a journal that cannot be written: the agent goes on without.
func (a *Agent) note(err error) {
	if err != nil {
		a.cfg.Log.WarnContext(context.Background(), "keeping the journal", slog.String("error", err.Error()))
	}
}
