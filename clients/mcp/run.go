package mcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/helper/proc"
)

// AnyProgram in Run.Programs allows every program.
const AnyProgram = "*"

// Run says what run_command may do. The zero value of each field but the first is
// a default.
type Run struct {
	// Programs may be run, each by the name that agents use: a plain one is looked
	// up in PATH when the server is made, and that file is what runs. AnyProgram
	// allows all. Empty: none, which is an error.
	Programs []string
	// Dir is where commands run; this process's own when empty.
	Dir string
	// Environment are names of this process's variables that commands get too,
	// besides PATH, USER, LANG, LC_ALL, TERM, TZ and TMPDIR. With HOME among them
	// commands read and write what the user keeps there. A name by which tools would
	// find a credential that was not granted is an error.
	Environment []string
	// Timeout is the longest; 2 minutes when zero.
	Timeout time.Duration
	// Output is how many bytes of each stream are given; 64 KiB when zero.
	Output int
	// AtOnce is how many commands run at the same time; 4 when zero.
	AtOnce int

	// Keeper is the command line of a program that calls proc.Keep with the arguments that
	// come after: the file of a program, and its argument list. Commands run under it,
	// so that all they have started ends with them. Empty: what leaves a command's
	// process group stays.
	Keeper []string

	found map[string]string // the file of each program
	slots chan struct{}
}

// Limits on a command.
const (
	maxArgs   = 256
	maxOutput = 1 << 20
)

// prepared fills in defaults and finds the programs.
func (r Run) prepared() (Run, error) {
	if len(r.Programs) == 0 {
		return r, errors.New("run_command is on, and no program is allowed")
	}
	if i := slices.IndexFunc(r.Environment, environ.Ambient); i >= 0 {
		return r, fmt.Errorf("%s for run_command: by it tools would find a credential that was not granted", r.Environment[i])
	}
	if r.Timeout <= 0 {
		r.Timeout = 2 * time.Minute
	}
	if r.Output <= 0 {
		r.Output = 64 << 10
	}
	r.Output = min(r.Output, maxOutput)
	if r.AtOnce <= 0 {
		r.AtOnce = 4
	}
	r.slots = make(chan struct{}, r.AtOnce)
	r.found = map[string]string{}
	for _, name := range r.Programs {
		if name == AnyProgram {
			continue
		}
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return r, fmt.Errorf("finding program %q for run_command: %w", name, err)
		}
		r.found[name] = path
	}
	return r, nil
}

func (r Run) any() bool { return slices.Contains(r.Programs, AnyProgram) }

// describe tells agents what is allowed.
func (r Run) describe() string {
	if r.any() {
		return "Any program is allowed."
	}
	return "These programs are allowed: " + strings.Join(slices.Sorted(maps.Keys(r.found)), ", ") + "."
}

// program is the file that a name stands for.
func (r Run) program(name string) (string, error) {
	if path, ok := r.found[name]; ok {
		return path, nil
	}
	if !r.any() {
		return "", refuse(ReasonDisabled, "the operator does not allow the program %q", line(name, 64))
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", refuse(ReasonNotStarted, "there is no program %q", line(name, 64))
	}
	return path, nil
}

// RunCommandIn is a command.
type RunCommandIn struct {
	Access  []string `json:"access" jsonschema:"the handles of the access that the command gets; at least one"`
	Argv    []string `json:"argv" jsonschema:"the program and its arguments; no shell reads them"`
	Timeout int64    `json:"timeout_seconds,omitempty" jsonschema:"the longest that it may run; the operator's limit when not given"`
}

// RunCommandOut is what it did.
type RunCommandOut struct {
	ExitStatus      int    `json:"exit_status" jsonschema:"the exit status; 128 and the signal's number where a signal ended it"`
	TimedOut        bool   `json:"timed_out"`
	Stdout          string `json:"stdout"`
	Stderr          string `json:"stderr"`
	StdoutTruncated bool   `json:"stdout_truncated"`
	StderrTruncated bool   `json:"stderr_truncated"`
	Redactions      int    `json:"redactions" jsonschema:"how often a value of the credential was taken out of the output"`
	DurationMillis  int64  `json:"duration_ms"`
}

func (x *session) runCommand(ctx context.Context, in RunCommandIn) (out RunCommandOut, err error) {
	run := x.s.cfg.Run
	switch {
	case len(in.Access) == 0 || len(in.Argv) == 0 || in.Argv[0] == "":
		return out, refuse(ReasonInvalidArgument, "access and argv need one entry at least")
	case len(in.Argv) > maxArgs || len(in.Access) > maxAccess:
		return out, refuse(ReasonInvalidArgument, "%d arguments and %d accesses; %d and %d at most", len(in.Argv), len(in.Access), maxArgs, maxAccess)
	case slices.ContainsFunc(in.Argv, func(s string) bool { return strings.ContainsRune(s, 0) }):
		return out, refuse(ReasonInvalidArgument, "an argument has a NUL byte")
	}
	path, err := run.program(in.Argv[0])
	if err != nil {
		return out, err
	}
	select {
	case run.slots <- struct{}{}:
		defer func() { <-run.slots }()
	default:
		return out, refuse(ReasonLimit, "%d commands run already; wait for one to end", run.AtOnce)
	}
	limit := run.Timeout
	if in.Timeout > 0 {
		limit = min(limit, seconds(in.Timeout))
	}
	ask, cancel := x.during(ctx, askFor)
	defer cancel()
	env, err := x.environOf(ask, in.Access)
	if err != nil {
		return out, err
	}
	done, err := x.begin()
	if err != nil {
		return out, err
	}
	defer done()
	ctx, stop := x.during(ctx, limit)
	defer stop()
	return x.start(ctx, path, in.Argv, env)
}

// start runs the program to its end.
func (x *session) start(ctx context.Context, path string, argv, env []string) (out RunCommandOut, err error) {
	run := x.s.cfg.Run
	// More than is shown is kept, so that a secret at the edge is seen whole.
	stdout, stderr := &tail{limit: run.Output + edge}, &tail{limit: run.Output + edge}
	began := time.Now()
	out.ExitStatus, err = proc.Command{Args: argv, Environ: env, Dir: run.Dir, Stdout: stdout, Stderr: stderr}.RunGroup(ctx, path, run.Keeper)
	switch {
	case errors.Is(err, proc.ErrNotExecutable):
		return out, refuse(ReasonNotStarted, "%s did not start", line(argv[0], 64))
	case err != nil:
		return out, err
	}
	out.TimedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
	out.DurationMillis = time.Since(began).Milliseconds()
	// Of all that there is: a command may have read what is another's.
	s := newScrubber(x.s.secrets.all())
	var n int
	out.Stdout, out.StdoutTruncated, n = stdout.show(s, run.Output)
	out.Stderr, out.StderrTruncated, out.Redactions = stderr.show(s, run.Output)
	out.Redactions += n
	return out, nil
}
