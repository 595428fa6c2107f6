// Command valetkeyd is the broker's daemon.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/ledger"
)

type cli struct {
	Serve  serveCmd  `cmd:"" help:"Run the broker."`
	Dev    devCmd    `cmd:"" help:"Run a broker to try things with: its own SPIFFE authority, an example catalog, a temporary store. Never for production."`
	Config configCmd `cmd:"" help:"Look at the configuration."`
	Keygen keygenCmd `cmd:"" help:"Make the ledger's signing key."`
	Ledger ledgerCmd `cmd:"" help:"Deal with a ledger that is not the one that was signed."`
	Store  storeCmd  `cmd:"" help:"Look for damage in the database, and deal with it."`
}

type serveCmd struct {
	Config string `help:"The configuration file." required:"" type:"existingfile" placeholder:"FILE"`
}

// startTimeout bounds the wait for the first SVID.
const startTimeout = time.Minute

func (s *serveCmd) Run(ctx context.Context, log *slog.Logger) (err error) {
	c, err := loadConfig(s.Config)
	if err != nil {
		return err
	}
	if err := c.notOfDev(); err != nil {
		return err
	}
	open, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	src, err := c.openIdentity(open, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return serve(ctx, c, src, log, func(at addresses, k *ledger.Key) {
		fmt.Printf("valetkeyd serves on %s; ledger key %s\n", at.grpc, k.VerifierKey())
	})
}

// openIdentity is the broker's own SVIDs.
func (c Config) openIdentity(ctx context.Context, log *slog.Logger) (identity.Source, error) {
	return identity.Open(ctx, identity.SourceConfig{
		WorkloadAPI: c.Identity.WorkloadAPI, ID: c.Identity.ID, CertFile: c.Identity.CertFile, KeyFile: c.Identity.KeyFile,
		BundleFile: c.Identity.BundleFile, Log: log,
		FederatedBundleFiles: c.Identity.FederatedBundleFiles,
	})
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check a configuration, its catalog and its policies, and say every fault."`
}

type configCheckCmd struct {
	File string `arg:"" help:"The configuration file." type:"existingfile"`
	Live bool   `help:"Ask Vault and AWS too what the broker may do there, and compare it with what it needs. Exit codes: 0 as needed, 1 something is wrong or missing, 2 rights beyond, 3 not all is known."`
}

func (c *configCheckCmd) Run(ctx context.Context, log *slog.Logger) error {
	conf, err := loadConfig(c.File)
	if err != nil {
		return err
	}
	rules, err := conf.loadRules()
	if err != nil {
		return err
	}
	fmt.Printf("%s: ok, %d scopes, %d policies\n", c.File, len(rules.Catalog.Scopes()), rules.Policy.Len())
	for _, line := range conf.ceilings(rules.Catalog) {
		fmt.Println(line)
	}
	if c.Live {
		return conf.checkLive(ctx, rules.Catalog, log)
	}
	return nil
}

type keygenCmd struct {
	File   string `arg:"" help:"Where to write the key; the verifier key goes beside it, with .pub."`
	Origin string `help:"The log's name, such as log.example.org." required:""`
}

func (k *keygenCmd) Run() error {
	if err := ledger.GenerateKey(k.File, k.Origin); err != nil {
		return err
	}
	key, err := ledger.LoadKey(k.File)
	if err != nil {
		return err
	}
	fmt.Println(key.VerifierKey())
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	var c cli
	k := kong.Parse(&c, kong.Name("valetkeyd"), kong.Description("A just-in-time least-privilege credential broker."),
		kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(log))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "valetkeyd:", err)
		stop()
		os.Exit(exitCode(err)) //nolint:gocritic // stop has been called
	}
}
