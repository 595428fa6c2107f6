package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"

	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/proc"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/helper/session"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// statusError carries a command's own status out. There is nothing to print.
type statusError struct {
	code int
	err  error // why the command did not run; nil for one that did
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("the command left with %d", e.code)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// scopeFlags reads "--scope NAME k=v...", any number of times.
type scopeFlags []serve.ScopeSpec

// Decode implements kong.MapperValue: it takes the name, and what follows of the
// form k=v.
func (f *scopeFlags) Decode(ctx *kong.DecodeContext) error {
	var name string
	if err := ctx.Scan.PopValueInto("scope", &name); err != nil {
		return err
	}
	spec := serve.ScopeSpec{Scope: name, Params: valetkey.Params{}}
	if as, scope, ok := strings.Cut(name, "="); ok {
		spec.Name, spec.Scope = as, scope
	}
	for {
		next, ok := ctx.Scan.Peek().Value.(string)
		k, v, pair := strings.Cut(next, "=")
		if !ok || !pair || k == "" || strings.HasPrefix(next, "-") || ctx.Scan.Peek().IsEOL() {
			*f = append(*f, spec)
			return nil
		}
		ctx.Scan.Pop()
		spec.Params[k] = append(spec.Params[k], v)
	}
}

// sessionFlags are what exec and shell have in common.
type sessionFlags struct {
	receiptFlags

	Scope       scopeFlags    `required:"" placeholder:"NAME k=v..." help:"A scope and its parameters. Repeat it for more; PROFILE=NAME names its AWS profile."`
	Environment string        `required:"" short:"e" help:"Where, such as production. It is a claim: policies may ask more for it, and allow nothing for it."`
	Purpose     string        `help:"Why, for people. Default: the command."`
	OnBehalfOf  string        `name:"on-behalf-of" help:"Who asked for it."`
	TTL         time.Duration `help:"The life wished for. Default: the scope's. A credential is renewed for as long as the command runs."`
	Wait        bool          `help:"Wait for people where they have to approve, as long as it takes."`

	KubeServer    string `help:"A Kubernetes cluster's address: KUBECONFIG leads there, with a token of the scope's." placeholder:"URL"`
	KubeCA        string `name:"kube-ca" type:"path" help:"With --kube-server: a file with its CA. Default: the system's." placeholder:"FILE"`
	KubeNamespace string `help:"With --kube-server: where commands work that name no namespace." placeholder:"NAME"`
	EKSCluster    string `name:"eks-cluster" help:"With --kube-server: its name in EKS. The token is then of the first AWS scope." placeholder:"NAME"`
	EKSRegion     string `name:"eks-region" help:"With --eks-cluster: its region." placeholder:"REGION"`
}

// kube is the cluster that the command finds; nil for none.
func (f *sessionFlags) kube() (*files.KubeCluster, error) {
	switch {
	case f.KubeServer != "":
		return &files.KubeCluster{
			Server: f.KubeServer, CertificateAuthority: f.KubeCA, Namespace: f.KubeNamespace, EKSCluster: f.EKSCluster, Region: f.EKSRegion,
		}, nil
	case f.KubeCA+f.KubeNamespace+f.EKSCluster+f.EKSRegion != "":
		return nil, &usageError{"--kube-ca, --kube-namespace, --eks-cluster and --eks-region go with --kube-server"}
	}
	return nil, nil
}

// run runs a command in a session of its own. hello is said first; empty for nothing.
func (f *sessionFlags) run(ctx context.Context, g *globals, out *output, args []string, hello string) (err error) {
	cmd := proc.Command{Args: args, Stdin: os.Stdin, Stdout: out.stdout, Stderr: out.stderr}
	// Nothing is asked for a command that cannot run.
	if _, err := cmd.Find(); err != nil {
		code, err := cmd.Run(ctx)
		return &statusError{code, err}
	}
	kube, err := f.kube()
	if err != nil {
		return err
	}
	if f.Purpose == "" {
		f.Purpose = "run " + filepath.Base(args[0])
	}
	for i := range f.Scope {
		f.Scope[i].TTL, f.Scope[i].Wait = f.TTL, f.Wait
	}
	limited, cancel := g.limit(ctx)
	defer cancel()
	client, err := g.dialWith(limited, f.options()...)
	if err != nil {
		return err
	}
	defer func() { err = tidied(out.stderr, err, client.Close()) }()
	if f.Wait {
		limited = ctx
	}
	var last atomic.Pointer[valetkey.Grant]
	pending := func(scope string, g *valetkey.Grant) {
		last.Store(g)
		if f.Wait {
			out.say("valetkey: %s waits for %s, until %s. They say: valetkey approve %s", scope, clean(needsText(g.Info().GetNeeds())), when(g.Info().GetDecideBy()), clean(g.ID()))
		}
	}
	s, err := session.Open(limited, session.Config{
		Client: client, Task: valetkey.TaskSpec{Purpose: f.Purpose, Environment: f.Environment, OnBehalfOf: f.OnBehalfOf}, Scopes: f.Scope,
		Kube: kube, Guard: g.sessionGuard, Pending: pending,
	})
	if err != nil {
		return unapproved(ctx, err, last.Load(), f.Wait)
	}
	defer func() { err = tidied(out.stderr, err, s.Close()) }()
	if hello != "" {
		out.say("%s", hello)
	}
	if cmd.Args, err = s.Start(args); err != nil {
		return err
	}
	cmd.Environ, cmd.Started = s.Environ(os.Environ()), s.Guard
	code, err := cmd.Run(ctx)
	return &statusError{code, err}
}

// noWaitError is a request that people could have approved, had it been waited for.
type noWaitError struct{ error }

func (e *noWaitError) Unwrap() error { return e.error }

// unapproved says of an error what it has to do with a grant that waits for people;
// nil for none.
func unapproved(ctx context.Context, err error, g *valetkey.Grant, wait bool) error {
	switch {
	case g == nil:
		return err
	case !wait && errors.Is(err, valetkey.ErrNeedsApproval):
		return &noWaitError{err}
	case wait && ctx.Err() != nil:
		return fmt.Errorf("stopped while %s waited for people: %w", clean(g.ID()), err)
	default:
		return err
	}
}

// tidied says what was left behind. It is not the command's fault, so that its
// status stays.
func tidied(stderr io.Writer, err, left error) error {
	if left == nil {
		return err
	}
	out := output{stderr: stderr}
	out.say("valetkey: closing the task: %v\nNext: nothing, if the credentials may live to their deadlines; else an operator revokes the task.", left)
	return err
}

type execCmd struct {
	sessionFlags

	Command []string `arg:"" passthrough:"" help:"The command, after --."`
}

func (c *execCmd) Run(ctx context.Context, g *globals, out *output) error {
	args := c.Command
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return &usageError{"no command: write it after --"}
	}
	return c.run(ctx, g, out, args, "")
}

type shellCmd struct {
	sessionFlags
}

func (c *shellCmd) Run(ctx context.Context, g *globals, out *output) error {
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	if err := session.CheckShell(shell); err != nil {
		return &usageError{err.Error()}
	}
	return c.run(ctx, g, out, []string{shell}, "valetkey: this shell has the task's credentials, and exit ends them.")
}

// receiptFlags say how receipts are checked, by the commands that are given
// credentials.
type receiptFlags struct {
	LedgerKey string `name:"ledger-key" help:"The ledger's verifier key, or a file that holds it." env:"VALETKEY_LEDGER_KEY" placeholder:"VKEY"`
	Unchecked bool   `name:"no-receipt-checks" help:"Take the broker's word that what it issues is on the record."`
}

func (f receiptFlags) options() []valetkey.Option {
	switch {
	case f.Unchecked:
		return []valetkey.Option{valetkey.WithoutReceiptChecks()}
	case f.LedgerKey != "":
		return []valetkey.Option{valetkey.WithLedgerKey(f.LedgerKey)}
	default:
		return nil
	}
}

// asUsage makes what New refuses a matter of the command line.
func asUsage(err error) error {
	if errors.Is(err, valetkey.ErrNoLedgerKey) {
		return &usageError{"no ledger key: give --ledger-key, set VALETKEY_LEDGER_KEY, or say --no-receipt-checks; an empty file holds none"}
	}
	return err
}
