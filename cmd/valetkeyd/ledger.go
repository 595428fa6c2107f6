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
	c, key, st, err := openWithCause(ctx, a.Config, a.Cause)
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

// restore is what to do about a database that is damaged.
const restore = "restore the newest copy of the database file with its -wal file, both of one moment, or make a new log with a new key; " +
	"after a restore \"valetkeyd ledger accept-loss\" and \"valetkeyd store clear-damage\" put on the record what was lost"

// openWithCause opens the store that a configuration names, for what a person does to it and gives a cause for.
func openWithCause(ctx context.Context, config, cause string) (Config, *ledger.Key, *sqlite.DB, error) {
	if cause == "" || len(cause) > maxCause {
		return Config{}, nil, nil, fmt.Errorf("--cause must have from 1 to %d bytes", maxCause)
	}
	c, err := loadConfig(config)
	if err != nil {
		return c, nil, nil, err
	}
	key, st, err := openStore(ctx, c)
	return c, key, st, err
}

// openStore opens the database with the key that signs its log.
func openStore(ctx context.Context, c Config) (*ledger.Key, *sqlite.DB, error) {
	key, err := ledger.LoadKey(c.Ledger.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	st, err := sqlite.Open(ctx, sqlite.Config{Path: c.Store.Path, Seal: key.Seal})
	if errors.Is(err, store.ErrDamaged) {
		err = fmt.Errorf("%w; %s", err, restore)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := key.Check(ctx, st); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w; if ledger.key_file is this database's own key: %s", err, restore), st.Close())
	}
	return key, st, nil
}

// anchored holds the log against the checkpoint beside the key, and writes newer
// ones there until release, which runs after the last write.
func anchored(ctx context.Context, c Config, key *ledger.Key, st store.Store, log *slog.Logger) (release func() error, err error) {
	a, err := ledger.OpenRollbackGuard(ctx, c.Ledger.checkpointFile(), key, st)
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
