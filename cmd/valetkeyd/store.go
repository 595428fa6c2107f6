package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store/sqlite"
)

type storeCmd struct {
	Check       storeCheckCmd  `cmd:"" help:"Look at every page, row and record of the database, for as long as that takes. The broker must not run."`
	ClearDamage clearDamageCmd `cmd:"" help:"Mint again after damage: look at everything, and put on the record that somebody has. The broker must not run."`
}

type storeCheckCmd struct {
	Config string `help:"The configuration file." required:"" type:"existingfile" placeholder:"FILE"`
}

func (s *storeCheckCmd) Run(ctx context.Context) (err error) {
	c, err := loadConfig(s.Config)
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Store.Path); err != nil { // opened, it would be made
		return fmt.Errorf("the database is not there: %w; %s", err, restore)
	}
	switch version, err := sqlite.CheckOlder(ctx, c.Store.Path); {
	case err != nil:
		return fmt.Errorf("%w; %s", err, restore)
	case version > 0:
		fmt.Printf("%s: ok, and still of schema %d, which the next start brings up to date\n", c.Store.Path, version)
		return nil
	}
	_, st, err := openStore(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.Check(ctx); err != nil {
		return fmt.Errorf("%w; %s", err, restore)
	}
	if err := st.Damage(); err != nil {
		return fmt.Errorf("nothing is damaged now, and it was: %w; \"valetkeyd store clear-damage\" lets the broker mint again", err)
	}
	fmt.Printf("%s: ok\n", c.Store.Path)
	return nil
}

type clearDamageCmd struct {
	Config string `help:"The configuration file." required:"" type:"existingfile" placeholder:"FILE"`
	Cause  string `help:"What was damaged, and what was done, for the record." required:""`
}

func (s *clearDamageCmd) Run(ctx context.Context) (err error) {
	c, key, st, err := openWithCause(ctx, s.Config, s.Cause)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	a, err := ledger.OpenRollbackGuard(ctx, c.Ledger.checkpointFile(), key, st)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(context.WithoutCancel(ctx))) }()
	was := st.Damage()
	if was == nil {
		return errors.New("no damage was found; there is none to clear")
	}
	if err := st.Check(ctx); err != nil {
		return fmt.Errorf("it is damaged still: %w; %s", err, restore)
	}
	if err := ledger.New(st, time.Now).WriteRepaired(ctx, s.Cause); err != nil {
		return fmt.Errorf("recording that the damage is cleared: %w", err)
	}
	if err := st.ClearDamage(ctx); err != nil {
		return err
	}
	fmt.Printf("on the record: %s\nIt was: %v\n", s.Cause, was)
	return nil
}
