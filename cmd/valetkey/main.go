package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
)

// Exit codes; doc.go explains them.
const (
	exitOK = iota
	exitError
	exitUsage
	exitDenied
	exitNeedsApproval
	exitVerification
	exitUnknown
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends what does not listen, such as a read of the terminal
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, nil)
	stop()
	os.Exit(code)
}

// cli is the grammar: the flags that every command has, and the commands.
type cli struct {
	globals

	Scopes    scopesCmd    `cmd:"" help:"List what may be asked for."`
	Explain   explainCmd   `cmd:"" help:"Say what a request would give and need. Mints nothing."`
	Can       canCmd       `cmd:"" help:"Say whether what a request would give can do one thing, and why. Mints nothing. Leaves with 0 for yes, 3 for no, 4 for a yes once people have approved, 6 for unknown."`
	Task      taskCmd      `cmd:"" help:"Open, show and close tasks."`
	Request   requestCmd   `cmd:"" help:"Ask for a grant."`
	Mint      mintCmd      `cmd:"" help:"Mint a credential from a grant, and print it."`
	Release   releaseCmd   `cmd:"" help:"Give a grant back."`
	Exec      execCmd      `cmd:"" help:"Run a command with credentials for one task, which ends with it."`
	Shell     shellCmd     `cmd:"" help:"Run your shell likewise."`
	Agent     agentCmd     `cmd:"" help:"Keep tasks' credentials where programs look for them."`
	MCP       mcpCmd       `cmd:"" name:"mcp" help:"Serve a coding agent over the Model Context Protocol, in place of credentials."`
	Approvals approvalsCmd `cmd:"" help:"List what waits for you to approve, or show one request (approvers)."`
	Approve   approveCmd   `cmd:"" help:"Say yes to a request, with your SSH key (approvers)."`
	Reject    rejectCmd    `cmd:"" help:"Say no to a request, which ends it (approvers)."`
	Grants    grantsCmd    `cmd:"" help:"List grants (operators), or with --mine your own (agents)."`
	Revoke    revokeCmd    `cmd:"" help:"End a grant, a task and its grants, or all grants of an agent, a path or an owner (operators)."`
	Freeze    freezeCmd    `cmd:"" help:"Stop an agent, a path of agents, a delegate or an approver, and end their grants (operators)."`
	Unfreeze  unfreezeCmd  `cmd:"" help:"Let a frozen agent ask again (operators)."`
	Reload    reloadCmd    `cmd:"" help:"Load catalog and policies again (operators)."`
	Ledger    ledgerCmd    `cmd:"" help:"Check a ledger."`
	Catalog   catalogCmd   `cmd:"" help:"Check catalog files."`
	Policy    policyCmd    `cmd:"" help:"Check policy files."`
	IAM       iamCmd       `cmd:"" name:"iam" set:"ext=.json" help:"Judge AWS IAM policies: what they allow, and what changes."`
	VaultACL  vaultaclCmd  `cmd:"" name:"vaultacl" set:"ext=.hcl" help:"Judge Vault ACL policies: what they allow, and what changes."`

	Guard      guardCmd                  `cmd:"" hidden:""`
	GuardTasks tasksGuardCmd             `cmd:"" hidden:""`
	Keep       keepCmd                   `cmd:"" hidden:""`
	Completion kongcompletion.Completion `cmd:"" help:"Print how to turn on shell completion."`
	Version    versionCmd                `cmd:"" help:"Print the version."`
}

// exitPanic carries kong's wish to leave out of its parser, so that run stays
// a function that returns.
type exitPanic int

// run is the whole command: arguments in, exit code out. A nil connect dials
// the broker that the flags name.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, connect connector) (code int) {
	defer func() {
		if v := recover(); v != nil {
			e, ok := v.(exitPanic)
			if !ok {
				panic(v) //nolint:forbidigo // not ours: passed on as it came
			}
			code = int(e)
		}
	}()
	var c cli
	help := stdout
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--mint") }) {
		help = stderr // what is on standard output then is run
	}
	parser, err := kong.New(&c,
		kong.Name("valetkey"),
		kong.Description("Credentials for one task, for minutes, and nothing else."),
		kong.Writers(help, stderr),
		kong.Exit(func(code int) { panic(exitPanic(code)) }), //nolint:forbidigo // recovered above
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError(),
		kong.Vars{"agent_dir": agentDir(), "floor": strconv.Itoa(defaultFloor), "hardware": defaultHardware},
	)
	if err != nil {
		printError(stderr, fmt.Errorf("building the command line: %w", err))
		return exitError
	}
	kongcompletion.Register(parser,
		kongcompletion.WithPredictor("policy", complete.PredictOr(complete.PredictFiles("*.json"), complete.PredictFiles("*.hcl"))),
	)
	kctx, err := parser.Parse(args)
	if err != nil {
		out := output{stderr: stderr}
		out.say("valetkey: %v\nTry: valetkey --help", err)
		return exitUsage
	}
	if _, ok := kctx.Selected().Target.Addr().Interface().(interface{ markdown() }); c.Output == formatMarkdown && !ok {
		_, _ = fmt.Fprintf(stderr, "valetkey: %s has no markdown; use -o table or -o json\n", kctx.Selected().Path())
		return exitUsage
	}
	out := &output{format: c.Output, stdout: stdout, stderr: stderr}
	c.connect = connect
	kctx.BindTo(ctx, (*context.Context)(nil))
	if err := kctx.Run(&c.globals, out); err != nil {
		var ue *usageError
		if errors.As(err, &ue) {
			out.say("valetkey: %v\nTry: valetkey %s --help", err, kctx.Selected().Path())
			return exitUsage
		}
		printError(stderr, err)
		return exitCode(err)
	}
	return exitOK
}

// usageError is a command line that parses and makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }
