package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
)

type ledgerCmd struct {
	AcceptLoss acceptLossCmd `cmd:"" help:"Go on with the database as it is, though the ledger's key has signed records that are not in it. Everybody who kept an older checkpoint will see that."`
}

type acceptLossCmd struct {
	Config string `help:"The configuration file." required:"" type:"existingfile" placeholder:"FILE"`
	Cause  string `help:"What happened, for the record." required:""`
}

// maxCause is as on the wire.
const maxCause = 512

func (a *acceptLossCmd) Run(ctx context.Context) (err error) {
	if a.Cause == "" || len(a.Cause) > maxCause {
		return fmt.Errorf("--cause must have from 1 to %d bytes", maxCause)
	}
	c, err := loadConfig(a.Config)
	if err != nil {
		return err
	}
	key, st, err := openStore(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	text, err := ledger.AcceptLoss(ctx, c.Ledger.checkpointFile(), key, st, time.Now, a.Cause)
	if err != nil {
		return err
	}
	fmt.Printf("on the record: %s\n", text)
	fmt.Println("Credentials that were issued after this copy was made are not known here and cannot be revoked: they live to their deadlines.")
	return nil
}

// openStore opens the database with the key that signs its log.
func openStore(ctx context.Context, c Config) (*ledger.Key, store.Store, error) {
	key, err := ledger.LoadKey(c.Ledger.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	st, err := sqlite.Open(ctx, sqlite.Config{Path: c.Store.Path, Seal: key.Seal})
	if err != nil {
		return nil, nil, err
	}
	if err := key.Check(ctx, st); err != nil {
		return nil, nil, errors.Join(err, st.Close())
	}
	return key, st, nil
}

// anchored holds the log against the checkpoint beside the key, and writes newer
// ones there until release, which runs after the last write.
func anchored(ctx context.Context, c Config, key *ledger.Key, st store.Store, log *slog.Logger) (release func() error, err error) {
	a, err := ledger.OpenAnchor(ctx, c.Ledger.checkpointFile(), key, st)
	if err != nil {
		return nil, err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Follow(following, func(err error) {
			log.ErrorContext(following, "keeping the ledger's newest checkpoint; it is tried again", slog.String("error", err.Error()))
		})
	}()
	return func() error {
		stop()
		<-done
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		return a.Close(last)
	}, nil
}
