package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/valetkey/valetkey/clients/helper/proc"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/mcp"
	"github.com/valetkey/valetkey/clients/valetkey"
)

type mcpCmd struct {
	receiptFlags

	Checkpoint string        `help:"Keep the ledger's last checkpoint here, so that a history is refused that was changed while the server did not run." placeholder:"FILE"`
	HTTP       string        `name:"http" help:"Serve streamable HTTP in place of standard input and output: on a Unix socket, unix:///run/user/1000/valetkey-mcp.sock, or for clients that know none on a loopback address, 127.0.0.1:7411." placeholder:"ADDR"`
	TokenFile  string        `help:"With --http: the file to leave the bearer token in, mode 0600. Each start makes a new token. Required on a loopback address." placeholder:"FILE"`
	Idle       time.Duration `help:"With --http: end a session, and what it had, that nobody has asked in for so long." default:"1h"`
	Dir        string        `help:"The folder for profiles and sockets. It is made, and removed at the end. Default: a new one in the system's." placeholder:"DIR"`
	Approvals  string        `help:"Where people approve, to tell agents: a URL or a name." placeholder:"TEXT"`

	Programs   []string      `name:"run" sep:"none" help:"Turn run_command on, and let it run this program. Repeat it for more; * is any." placeholder:"PROGRAM"`
	RunDir     string        `help:"With --run: where commands run. Default: here." placeholder:"DIR"`
	RunEnv     []string      `sep:"none" help:"With --run: a variable of this process that commands get too. Repeat it for more." placeholder:"NAME"`
	RunTimeout time.Duration `help:"With --run: the longest that a command may run." default:"2m"`
	RunOutput  int           `help:"With --run: how many bytes of each output an agent gets." default:"65536"`
}

func (c *mcpCmd) Run(ctx context.Context, g *globals, out *output) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	// Commands that run_command runs are of the same user.
	if err := conceal(); err != nil {
		return err
	}
	// Standard output is the protocol's.
	log := slog.New(slog.NewJSONHandler(out.stderr, nil))
	opts := append(c.options(), valetkey.WithLogger(log))
	if c.Checkpoint != "" {
		opts = append(opts, valetkey.WithCheckpointFile(c.Checkpoint))
	}
	dial, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	client, err := g.dialWith(dial, opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	shelf, err := serve.NewShelf(serve.ShelfConfig{Dir: c.Dir, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shelf.Close()) }()
	guard, err := proc.StartTasksGuard(g.tasksGuard(shelf.Dir()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guard.Dismiss()) }()
	s, err := mcp.New(mcp.Config{Client: client, Shelf: shelf, Guard: guard, Run: c.allowed(), Approvals: c.Approvals, Version: thisVersion().Version, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if c.HTTP == "" {
		return s.ServeStdio(ctx, os.Stdin, os.Stdout)
	}
	return c.serve(ctx, s, log)
}

func (c *mcpCmd) check() error {
	switch {
	case c.HTTP != "" && !strings.HasPrefix(c.HTTP, "unix:") && c.TokenFile == "":
		return &usageError{"--http on a loopback address needs --token-file FILE: who has what is in it may ask"}
	case c.HTTP == "" && c.TokenFile != "":
		return &usageError{"--token-file is of --http"}
	case len(c.Programs) == 0 && (c.RunDir != "" || len(c.RunEnv) > 0):
		return &usageError{"--run-dir and --run-env are of --run"}
	}
	if c.HTTP != "" {
		if err := serve.CheckLocal(c.HTTP); err != nil {
			return &usageError{"--http " + err.Error()}
		}
	}
	return nil
}

func (c *mcpCmd) allowed() *mcp.Run {
	if len(c.Programs) == 0 {
		return nil
	}
	return &mcp.Run{Programs: c.Programs, Dir: c.RunDir, Environment: c.RunEnv, Timeout: c.RunTimeout, Output: c.RunOutput,
		Keeper: keeper()}
}

func (c *mcpCmd) serve(ctx context.Context, s *mcp.Server, log *slog.Logger) error {
	lis, err := serve.ListenLocal(c.HTTP)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", c.HTTP, err)
	}
	// The address is ours by now: whoever else had it would be sent the token.
	token := ""
	if c.TokenFile != "" {
		if token, err = mcp.NewToken(c.TokenFile); err != nil {
			return errors.Join(fmt.Errorf("leaving the token: %w", err), lis.Close())
		}
	}
	log.InfoContext(ctx, "serving MCP", slog.String("address", c.HTTP), slog.String("url", lis.URL(mcp.MCPPath)), slog.String("token_file", c.TokenFile))
	return s.ServeHTTP(ctx, lis, mcp.HTTPConfig{Token: token, Idle: c.Idle})
}
