package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/valetkey/valetkey/clients/helper/agent"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

type agentCmd struct {
	Run        agentRunCmd        `cmd:"" default:"withargs" help:"Keep tasks' credentials where programs look for them, until stopped."`
	Status     agentStatusCmd     `cmd:"" help:"Show what a running agent serves, and for how long."`
	Credential agentCredentialCmd `cmd:"" help:"Print a credential of a running agent, as AWS's credential_process has to, or kubectl's exec plugin."`
}

type agentRunCmd struct {
	receiptFlags

	Config      string        `short:"c" help:"The configuration file; it is read again when it changes, and on SIGHUP." placeholder:"FILE"`
	Checkpoint  string        `help:"Keep the ledger's last checkpoint here, so that a history is refused that was changed while the agent did not run." placeholder:"FILE"`
	Scope       scopeFlags    `placeholder:"NAME k=v..." help:"In place of a file: a scope and its parameters. Repeat it for more."`
	Environment string        `short:"e" help:"With --scope: where, such as production."`
	Purpose     string        `help:"With --scope: why, for people."`
	OnBehalfOf  string        `name:"on-behalf-of" help:"With --scope: who asked for it."`
	TTL         time.Duration `help:"With --scope: the life wished for."`
	Dir         string        `help:"With --scope: where sockets and files go." default:"${agent_dir}" placeholder:"DIR"`
}

// agentRetryFor is how long one call is sent again: short, so that the status soon
// says that the broker is away. The agent itself tries again until it is back.
const agentRetryFor = 3 * time.Second

// agentDir is where an agent's socket is unless something else is said.
func agentDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "valetkey")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("valetkey-agent-%d", os.Geteuid()))
}

func (c *agentRunCmd) Run(ctx context.Context, g *globals, out *output) (err error) {
	if (c.Config == "") == (len(c.Scope) == 0) {
		return &usageError{"give either --config FILE or --scope NAME"}
	}
	if len(c.Scope) > 0 && (c.Environment == "" || c.Purpose == "") {
		return &usageError{"--scope needs --environment and --purpose"}
	}
	// Caught first: a reload that comes early must not end the process.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	log := slog.New(slog.NewJSONHandler(out.stderr, nil))
	opts := append(c.options(), valetkey.WithLogger(log), valetkey.WithRetryFor(agentRetryFor))
	if c.Checkpoint != "" {
		opts = append(opts, valetkey.WithCheckpointFile(c.Checkpoint))
	}
	client, err := g.dialWith(ctx, opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	conf, err := c.config(ctx, g, client)
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Setup{Client: client, Config: conf, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		// What is left open is closed once more with the client, which tells.
		if err := a.Close(); err != nil {
			log.WarnContext(ctx, "ending the tasks failed", slog.String("error", err.Error()))
		}
	}()
	log.InfoContext(ctx, "serving", slog.String("container", a.Address()), slog.String("socket", conf.Socket), slog.Int("tasks", len(conf.Tasks)))
	if err := agent.Notify("READY=1"); err != nil {
		log.WarnContext(ctx, "no service manager was told", slog.String("error", err.Error()))
	}
	if c.Config != "" {
		a.Watch(ctx, c.Config, reload)
	}
	<-ctx.Done()
	_ = agent.Notify("STOPPING=1") // it will see
	return nil
}

func (c *agentRunCmd) config(ctx context.Context, g *globals, client *valetkey.Client) (agent.Config, error) {
	if c.Config != "" {
		return agent.Load(c.Config)
	}
	ctx, cancel := g.limit(ctx)
	defer cancel()
	for i := range c.Scope {
		c.Scope[i].TTL = c.TTL
	}
	return agent.Quick(ctx, client, c.Dir, "task", valetkey.TaskSpec{Purpose: c.Purpose, Environment: c.Environment, OnBehalfOf: c.OnBehalfOf}, c.Scope)
}

type agentStatusCmd struct {
	Socket string `help:"The agent's socket." env:"VALETKEY_AGENT_SOCKET" default:"${agent_dir}/agent.sock" placeholder:"PATH"`
	Check  bool   `help:"Print nothing, and leave with 1 where a scope has no credential that lives: for probes."`
}

func (c *agentStatusCmd) Run(ctx context.Context, out *output) error {
	path := agent.StatusPath
	if c.Check {
		path = agent.HealthPath
	}
	raw, err := serve.Ask(ctx, c.Socket, path)
	if err != nil || c.Check {
		return err
	}
	st, err := agent.DecodeStatus(raw)
	if err != nil {
		return fmt.Errorf("reading the agent's status: %w", err)
	}
	if out.json() {
		return out.value(st)
	}
	return printStatus(out, st)
}

func printStatus(out *output, st agent.Status) error {
	rows := [][]string{{"TASK", "SCOPE", "CREDENTIAL", "LEFT", "LAST ERROR"}}
	for _, t := range st.Tasks {
		if len(t.Scopes) == 0 {
			rows = append(rows, []string{t.Name, "-", "-", "-", shown(t.Error)})
		}
		for _, s := range t.Scopes {
			left := "-"
			if s.CredentialID != "" {
				left = time.Until(s.ExpiresAt).Round(time.Second).String()
			}
			said := s.Error
			if w := s.Waiting; w != nil {
				said = fmt.Sprintf("waits until %s for people: valetkey approve %s", w.Until.UTC().Format(time.RFC3339), w.GrantID)
			}
			rows = append(rows, []string{t.Name, s.Name, shown(s.CredentialID), left, shown(strings.TrimPrefix(said+"; "+s.OutputError, "; "))})
		}
	}
	if st.ConfigError != "" {
		out.say("valetkey: the newest configuration is not served: %s", clean(st.ConfigError))
	}
	return out.table(rows)
}

// shown is a text that may be empty, and may be others'.
func shown(s string) string {
	if s = clean(strings.TrimSuffix(s, "; ")); s == "" {
		return "-"
	}
	return s
}

type agentCredentialCmd struct {
	Socket string `required:"" help:"The socket of one scope of one task." placeholder:"PATH"`
}

func (c *agentCredentialCmd) Run(ctx context.Context, out *output) error {
	raw, err := serve.Ask(ctx, c.Socket, "/")
	if err != nil {
		return err
	}
	_, err = out.stdout.Write(raw)
	return err
}
