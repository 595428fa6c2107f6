package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // registers the "sqlite" driver
)

// record verifies the ledger over HTTP, as any third party can.
func (p *player) record(ctx context.Context) error {
	p.say("$ valetkey ledger verify %s --key \"$VALETKEY_LEDGER_KEY\" --approvers allowed_signers", p.broker.ledger)
	a, err := p.broker.valetkey(ctx, "ledger", "verify", p.broker.ledger, "--approvers", filepath.Join(p.broker.dir, "allowed_signers"))
	if err != nil {
		return err
	}
	p.show(a.stdout)
	p.show(a.stderr)
	if a.code != 0 || !strings.Contains(a.stdout, "verified") {
		return fmt.Errorf("verifying the ledger: exit code %d", a.code)
	}
	if !strings.Contains(a.stdout, "2 of 2 people are signed, and 1 issuances rest on them") {
		return errors.New("the approvals of bob and carol are not found")
	}
	p.ok("every record is in the signed tree, and what bob and carol approved bears their signatures")
	files, err := p.noSecrets()
	if err != nil {
		return err
	}
	if p.full {
		p.ok("no secret of any credential is in the broker's %d files", files)
	} else {
		p.ok("no secret of any credential is in the broker's %d files (the folder of %s aside, which issued them)", files, p.by.name)
	}
	return nil
}

// noSecrets searches every file of the broker, and none of what dev mode's target keeps: it is who issued them.
func (p *player) noSecrets() (files int, err error) {
	files, err = searched(p.broker.dir, p.secrets, "target")
	if err == nil && files == 0 {
		err = errors.New("there was nothing to search")
	}
	return files, err
}

// searched looks for secrets in every file of a folder but those below the folders that are left out, and counts the files.
func searched(dir string, secrets []string, but ...string) (files int, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("opening a folder to search: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && slices.Contains(but, path) {
			return fs.SkipDir
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		raw, err := fs.ReadFile(root.FS(), path)
		if err != nil {
			return err
		}
		files++
		for _, s := range secrets {
			if bytes.Contains(raw, []byte(s)) {
				return fmt.Errorf("%s holds a secret", path)
			}
		}
		return nil
	})
	if len(secrets) == 0 || slices.Contains(secrets, "") {
		err = errors.Join(err, errors.New("there is no secret to search for"))
	}
	return files, err
}

// forgery changes one byte of one record behind the broker's back.
func (p *player) forgery(ctx context.Context) error {
	if err := p.broker.stop(); err != nil {
		return fmt.Errorf("stopping valetkeyd: %w", err)
	}
	db := filepath.Join(p.broker.dir, "valetkey.db")
	p.say("The broker is stopped. $ valetkey ledger verify valetkey.db --key \"$VALETKEY_LEDGER_KEY\"")
	a, err := p.broker.valetkey(ctx, "ledger", "verify", db)
	if err != nil {
		return err
	}
	if a.code != 0 {
		return fmt.Errorf("verifying the untouched database: exit code %d: %s", a.code, a.stderr)
	}
	p.ok("the database file verifies")
	idx, err := p.forge(ctx, db)
	if err != nil {
		return fmt.Errorf("changing a record: %w", err)
	}
	p.say("$ valetkey ledger verify valetkey.db --key \"$VALETKEY_LEDGER_KEY\"")
	if a, err = p.broker.valetkey(ctx, "ledger", "verify", db); err != nil {
		return err
	}
	p.show(a.stdout)
	p.show(a.stderr)
	if a.code != exitLedger || !strings.Contains(a.stderr, fmt.Sprintf("record %d:", idx)) {
		return fmt.Errorf("the verifier left with exit code %d, want %d and the name of record %d", a.code, exitLedger, idx)
	}
	p.ok("the verifier names record %d and leaves with exit code %d", idx, exitLedger)
	return nil
}

// forge puts the request for the rebuild on somebody else: "alice" becomes
// "alicf" in the record, so that it stays well-formed JSON of the same length.
func (p *player) forge(ctx context.Context, file string) (idx int64, err error) {
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var data []byte
	err = db.QueryRowContext(ctx, `SELECT idx, data FROM records
		WHERE instr(CAST(data AS TEXT), 's3-bucket-rebuild') > 0 AND instr(CAST(data AS TEXT), '/agent/alice/') > 0
		ORDER BY idx LIMIT 1`).Scan(&idx, &data)
	if err != nil {
		return 0, fmt.Errorf("finding the request for the rebuild: %w", err)
	}
	forged := bytes.Replace(data, []byte("/agent/alice/"), []byte("/agent/alicf/"), 1)
	if len(forged) != len(data) || bytes.Equal(forged, data) || !json.Valid(forged) {
		return 0, errors.New("the forged record is not one changed byte")
	}
	res, err := db.ExecContext(ctx, `UPDATE records SET data = ? WHERE idx = ?`, forged, idx)
	if err != nil {
		return 0, err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return 0, errors.Join(fmt.Errorf("%d rows were changed, want 1", n), err)
	}
	p.say("One byte of record %d (the request for the rebuild) is changed in SQLite: agent \"alice\" is now \"alicf\".", idx)
	return idx, nil
}
