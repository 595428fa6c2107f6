package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-json-experiment/json/jsontext"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// The tools' names.
const (
	toolListScopes    = "list_scopes"
	toolExplain       = "explain"
	toolCan           = "can"
	toolOpenTask      = "open_task"
	toolRequestAccess = "request_access"
	toolAccessStatus  = "access_status"
	toolRelease       = "release"
	toolCloseTask     = "close_task"
	toolRunCommand    = "run_command"
)

// These methods are the protocol's.
const (
	methodCallTool  = "tools/call"
	methodListTools = "tools/list"
	methodHello     = "initialize"
)

func yes(b bool) *bool { return &b }

// looks are the hints of a tool that changes nothing.
func looks(title string) *sdk.ToolAnnotations {
	return &sdk.ToolAnnotations{Title: title, ReadOnlyHint: true, IdempotentHint: true, DestructiveHint: yes(false), OpenWorldHint: yes(false)}
}

// acts are those of one that does. What giving access can do depends on the
// catalog; see receive.
func acts(title string, again, destructive, open bool) *sdk.ToolAnnotations {
	return &sdk.ToolAnnotations{Title: title, IdempotentHint: again, DestructiveHint: yes(destructive), OpenWorldHint: yes(open)}
}

func (s *Server) addTools() error {
	err := errors.Join(
		add(s, toolListScopes, "List what access may be asked for, with parameters, tier and lives.", looks("List scopes"), (*session).listScopes),
		add(s, toolExplain, "Say what a request would give and whom it would need. Grants nothing and records nothing.", looks("Explain a request"), (*session).explain),
		add(s, toolCan, "Say whether a requested credential would allow an action on a resource. Grants nothing.", looks("Ask what access would allow"), (*session).can),
		add(s, toolOpenTask, "Open a task: what all access is asked for in. Closing it ends its access.", acts("Open a task", false, false, false), (*session).openTask),
		add(s, toolRequestAccess, "Ask for access for one purpose. Gives a handle, and the profile or address that tools in your shell use; never a secret. "+
			"Where people have to approve, gives a handle to come back with.", acts("Request access", false, true, true), (*session).requestAccess),
		add(s, toolAccessStatus, "Look at access, or wait a while for people to approve it.", looks("Look at access"), (*session).accessStatus),
		add(s, toolRelease, "Give access back. Its credential stops working.", acts("Release access", true, false, false), (*session).release),
		add(s, toolCloseTask, "Close a task, which gives back all its access.", acts("Close a task", true, false, false), (*session).closeTask),
	)
	if s.cfg.Run != nil {
		err = errors.Join(err, add(s, toolRunCommand, "Run a program with access and give its output. There is no shell: argv is the program and its arguments. "+
			s.cfg.Run.describe(), acts("Run a command with access", false, true, true), (*session).runCommand))
	}
	return err
}

// add adds a tool whose schemas come from its types.
func add[In, Out any](s *Server, name, description string, hints *sdk.ToolAnnotations, do func(*session, context.Context, In) (Out, error)) error {
	in, err := schemaOf[In]()
	if err != nil {
		return fmt.Errorf("making the input schema of tool %s: %w", name, err)
	}
	out, err := schemaOf[Out]()
	if err != nil {
		return fmt.Errorf("making the output schema of tool %s: %w", name, err)
	}
	sdk.AddTool(s.mcp, &sdk.Tool{Name: name, Title: hints.Title, Description: description, Annotations: hints, InputSchema: in, OutputSchema: out},
		func(ctx context.Context, req *sdk.CallToolRequest, in In) (_ *sdk.CallToolResult, out Out, err error) {
			x, err := s.session(req.Session)
			if err == nil {
				out, err = do(x, ctx, in)
			}
			if err != nil {
				return nil, out, &fault{err}
			}
			return nil, out, nil
		})
	return nil
}

// fault marks an error of a tool, which the SDK's own about its arguments are not.
type fault struct{ error }

func (f *fault) Unwrap() error { return f.error }

// receive stands before every call of a client: it refuses what no tool should
// see, and makes refusals of all errors after.
func (s *Server) receive(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		switch method {
		case methodHello:
			// It counts from here on: one that calls no tool is there, too.
			if ss, ok := req.GetSession().(*sdk.ServerSession); ok {
				if _, err := s.session(ss); err != nil {
					return nil, err
				}
			}
		case methodCallTool:
			call, ok := req.(*sdk.CallToolRequest)
			if !ok {
				break
			}
			if r := s.unfit(call); r != nil {
				return r.result(), nil
			}
			res, err := next(ctx, method, req)
			if err != nil {
				return nil, err // of the protocol, such as a tool that does not exist
			}
			return s.said(ctx, call.Params.Name, res), nil
		case methodListTools:
			res, err := next(ctx, method, req)
			if all, ok := res.(*sdk.ListToolsResult); err == nil && ok {
				s.hint(ctx, all)
			}
			return res, err
		}
		return next(ctx, method, req)
	}
}

func (s *Server) unfit(call *sdk.CallToolRequest) *Refusal {
	p := call.Params
	switch {
	case len(p.Arguments) > maxArguments:
		return refuse(ReasonTooLarge, "the arguments have %d bytes; %d at most", len(p.Arguments), maxArguments)
	case len(p.Arguments) > 0 && !jsontext.Value(p.Arguments).IsValid(): // RFC 7493, section 2.3
		return refuse(ReasonInvalidArgument, "the arguments are no JSON, or name one thing twice")
	case p.RequestState != "" || len(p.InputResponses) > 0:
		// This server asks clients nothing, and keeps no state with them.
		return refuse(ReasonInvalidArgument, "the call answers a question that this server has not asked")
	case p.Name == toolRunCommand && s.cfg.Run == nil:
		return refuse(ReasonDisabled, "the operator has not turned %s on", toolRunCommand)
	}
	return nil
}

// said makes the SDK's own form of an error into a refusal.
func (s *Server) said(ctx context.Context, tool string, res sdk.Result) sdk.Result {
	out, ok := res.(*sdk.CallToolResult)
	if !ok || !out.IsError {
		return res
	}
	var ours *fault
	if err := out.GetError(); err != nil && !errors.As(err, &ours) {
		return refuse(ReasonInvalidArgument, "%v", err).result()
	}
	if ours == nil {
		ours = &fault{errors.New("an error without a cause")}
	}
	r, known := refusalOf(ours.error)
	if !known {
		s.cfg.Log.ErrorContext(ctx, "a tool failed", slog.String("tool", tool), slog.String("error", ours.Error()))
	}
	return r.result()
}

// hint gives the tools that give access the hints of the worst that the catalog
// has. The tools themselves are shared, and stay.
func (s *Server) hint(ctx context.Context, all *sdk.ListToolsResult) {
	for i, t := range all.Tools {
		if t.Name != toolRequestAccess && t.Name != toolRunCommand {
			continue
		}
		copied, hints := *t, *t.Annotations
		hints.DestructiveHint = yes(s.worst(ctx))
		copied.Annotations = &hints
		all.Tools[i] = &copied
	}
}
