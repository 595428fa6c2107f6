package mcp

import (
	"context"
	"log/slog"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// OpenTaskIn says what a task is.
type OpenTaskIn struct {
	Purpose     string `json:"purpose" jsonschema:"why, for the people who read the record; at most 2048 bytes"`
	Environment string `json:"environment" jsonschema:"where, such as staging or production"`
	OnBehalfOf  string `json:"on_behalf_of,omitempty" jsonschema:"who asked for it"`
}

// OpenTaskOut is an open task.
type OpenTaskOut struct {
	Task   string `json:"task" jsonschema:"the handle, for this session only"`
	TaskID string `json:"task_id" jsonschema:"the broker's id, for people who look it up; not a handle"`
}

func (x *session) openTask(ctx context.Context, in OpenTaskIn) (out OpenTaskOut, err error) {
	if err := x.room(); err != nil {
		return out, err
	}
	ctx, cancel := x.during(ctx, askFor)
	defer cancel()
	spec := valetkey.TaskSpec{Purpose: in.Purpose, Environment: in.Environment, OnBehalfOf: in.OnBehalfOf}
	opened, err := x.s.cfg.Client.OpenTask(ctx, spec)
	if err != nil {
		return out, err
	}
	t := &task{handle: newHandle("task"), t: opened, spec: spec}
	// Before anything is granted in it.
	if err := x.s.guarded(t); err != nil {
		return out, closing(err, opened.Close)
	}
	if err := x.hold(t); err != nil {
		return out, closing(err, func(ctx context.Context) error { return x.s.closeTask(ctx, t) })
	}
	return OpenTaskOut{Task: t.handle, TaskID: opened.ID()}, nil
}

// closing undoes what came too late, and says err.
func closing(err error, undo func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_ = undo(ctx) // it dies at its deadline otherwise
	return err
}

// CloseTaskIn names a task.
type CloseTaskIn struct {
	Task string `json:"task" jsonschema:"the task's handle"`
}

// CloseTaskOut says what ended.
type CloseTaskOut struct {
	Closed   bool     `json:"closed"`
	Released []string `json:"released" jsonschema:"the handles of the accesses that ended with it"`
}

func (x *session) closeTask(ctx context.Context, in CloseTaskIn) (out CloseTaskOut, err error) {
	t, err := x.task(in.Task)
	if err != nil {
		return out, err
	}
	// The grants end first at the broker: while that fails, what is there stays
	// usable and the handle good to try again.
	ctx, cancel := x.during(ctx, askFor)
	defer cancel()
	if err := x.s.closeTask(ctx, t); err != nil {
		return out, err
	}
	out.Closed, out.Released = true, []string{}
	for _, a := range x.dropTask(t) {
		a.takeDown()
		out.Released = append(out.Released, a.handle)
	}
	return out, nil
}

// guarded has the guard know of a task.
func (s *Server) guarded(t *task) error {
	if s.cfg.Guard == nil {
		return nil
	}
	if err := s.cfg.Guard.Opened(t.t.ID()); err != nil {
		return refuse(ReasonUnavailable, "opening a task: %v", err)
	}
	return nil
}

// closeTask closes a task at the broker, and has the guard know.
func (s *Server) closeTask(ctx context.Context, t *task) error {
	if err := t.t.Close(ctx); err != nil {
		return err
	}
	if s.cfg.Guard == nil {
		return nil
	}
	if err := s.cfg.Guard.Closed(t.t.ID()); err != nil {
		s.cfg.Log.WarnContext(ctx, "a task is closed, and the guard does not know", slog.String("task", t.t.ID()), slog.String("error", err.Error()))
	}
	return nil
}

// stamp is a time as the answers have it; empty for none.
func stamp(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
