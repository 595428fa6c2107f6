package grant

import (
	"context"

	"github.com/valetkey/valetkey/broker/store"
)

// Viewer reads rows.
type Viewer interface {
	View(ctx context.Context, fn func(store.Reader) error) error
}

// Own is the caller's own grant. Another's is an ErrGrantNotFound: ids tell nothing.
func Own(ctx context.Context, v Viewer, who Caller, id string) (store.Grant, error) {
	if err := who.Check(); err != nil {
		return store.Grant{}, err
	}
	g, err := read(ctx, v, id)
	if err == nil && !who.Owns(g.Agent) {
		err = ErrGrantNotFound
	}
	if err != nil {
		return store.Grant{}, err
	}
	return g, nil
}

// Any is a grant of whatever agent, for an operator.
func Any(ctx context.Context, v Viewer, operator Operator, id string) (store.Grant, error) {
	if err := operator.Check(); err != nil {
		return store.Grant{}, err
	}
	return read(ctx, v, id)
}

func read(ctx context.Context, v Viewer, id string) (g store.Grant, err error) {
	err = v.View(ctx, func(r store.Reader) error {
		if g, err = r.Grant(id); err != nil {
			return err
		}
		g, err = Minted(r, g)
		return err
	})
	return g, NotFound(err, ErrGrantNotFound)
}

// Minted is g as it is shown: active once a credential was minted from it. Its row says so only
// where it was written again since: the outcome of a minting writes the issuance alone.
func Minted(r store.Reader, g store.Grant) (store.Grant, error) {
	if g.State != store.GrantCleared {
		return g, nil
	}
	minted, err := r.Minted(g.ID)
	if minted {
		g.State = store.GrantActive
	}
	return g, err
}

// OwnTask is the caller's own task. Another's is an ErrTaskNotFound.
func OwnTask(ctx context.Context, v Viewer, who Caller, id string) (task store.Task, err error) {
	if err := who.Check(); err != nil {
		return task, err
	}
	err = v.View(ctx, func(r store.Reader) error {
		task, err = r.Task(id)
		return err
	})
	if err == nil && !who.Owns(task.Agent) {
		err = store.ErrNotFound // another's task is no task: ids tell nothing
	}
	return task, NotFound(err, ErrTaskNotFound)
}

// OpenTask is OwnTask, which must be open.
func OpenTask(ctx context.Context, v Viewer, who Caller, id string) (store.Task, error) {
	t, err := OwnTask(ctx, v, who, id)
	if err == nil && !t.ClosedAt.IsZero() {
		err = ErrTaskClosed
	}
	return t, err
}
