package agent

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

	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// journal is what an agent would leave behind if it were killed, and what it could
// not tidy up, in a file beside its socket, for the next one to end. It holds no
// secret.
type journal struct {
	path  string // empty for none
	owner int    // whose the files are

	mu    sync.Mutex
	tasks map[string]bool // open, by id; locked by mu
	left  leftovers       // all but its Tasks; locked by mu
	stuck []blockName     // which could not be taken out; locked by mu
}

// leftovers is the file.
type leftovers struct {
	// Owner is whose the files are; nil for self.
	Owner  *int        `json:"owner,omitempty"`
	Tasks  []string    `json:"tasks"`
	Files  []string    `json:"files"`
	Blocks []blockName `json:"blocks"`
	// Kubeconfigs are files that may be somebody's by now.
	Kubeconfigs []files.KubeconfigFile `json:"kubeconfigs,omitempty"`
}

// blockName is a part of a file that others write too.
type blockName struct{ File, Name string }

func newJournal(socket string, owner int) *journal {
	j := &journal{owner: owner, tasks: map[string]bool{}}
	if socket != "" {
		j.path = socket + ".journal"
	}
	return j
}

// read is what another has left; nothing where it ended well. What is not this
// user's own, 0600 and no link, was left by nobody who is to be believed: its files
// would be removed.
func (j *journal) read() (left leftovers, err error) {
	if j.path == "" {
		return left, nil
	}
	defer func() {
		if err != nil {
			left, err = leftovers{}, fmt.Errorf("reading what an agent before has left: %w", err)
		}
	}()
	f, err := files.OpenPrivate(j.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return left, nil
	case err != nil:
		return left, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return left, json.NewDecoder(f).Decode(&left)
}

// serves notes what all of them will have written.
func (j *journal) serves(all ...Config) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.left = leftovers{}
	for _, c := range all {
		j.left.add(c)
	}
	return j.saveLocked()
}

func (l *leftovers) add(c Config) {
	for _, t := range c.Tasks {
		for i := range t.Scopes {
			s := &t.Scopes[i]
			parts := s.Outputs.shared()
			for _, p := range s.Outputs.written() {
				switch {
				case *p == "":
				case s.Outputs.Kubeconfig != nil && p == &s.Outputs.Kubeconfig.File:
					l.Kubeconfigs = append(l.Kubeconfigs, s.Outputs.Kubeconfig.file())
				case parts[p]:
					l.Blocks = append(l.Blocks, blockName{*p, blockOf(t, *s)})
				default:
					l.Files = append(l.Files, *p)
				}
			}
		}
	}
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
func (j *journal) remove(b blockName, owner int) error {
	err := files.SetBlock(b.File, b.Name, nil, false, owner)
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
	if j.owner != files.Self {
		all.Owner = &j.owner
	}
	all.Tasks, all.Blocks = slices.Sorted(maps.Keys(j.tasks)), slices.Concat(all.Blocks, j.stuck)
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return files.Write(j.path, raw, files.Self)
}

// end removes the journal, when there is nothing left.
func (j *journal) end() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.path == "" || len(j.tasks) > 0 || len(j.stuck) > 0 {
		return nil
	}
	return files.Remove(j.path, files.Self)
}

// tidy ends what an agent before has left: the files now, the tasks as soon as the
// broker answers.
func (a *Agent) tidy(ctx context.Context, left leftovers) {
	owner := files.Self
	if left.Owner != nil {
		owner = *left.Owner
	}
	errs := []error{}
	if a.journal.path != "" {
		errs = append(errs, files.Sweep(a.journal.path, files.Self))
	}
	for _, f := range left.Files {
		errs = append(errs, files.Remove(f, owner), files.Sweep(f, owner))
	}
	for _, b := range left.Blocks {
		if _, err := os.Stat(b.File); err == nil {
			errs = append(errs, a.journal.remove(b, owner))
		}
		errs = append(errs, files.Sweep(files.TargetOf(b.File, owner), owner))
	}
	for _, k := range left.Kubeconfigs {
		errs = append(errs, k.Remove(owner), files.Sweep(k.File, owner))
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
