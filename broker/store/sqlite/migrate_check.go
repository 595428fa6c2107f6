package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/mod/sumdb/tlog"
	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/merkle"
)

// A migration copies what it reads from tables, and makes their indexes anew. Where the two
// disagree, or a row lacks another which it needs, that is all that tells of what was lost, and
// the copy has nothing of it. So a file of an older schema is looked at whole before it is changed.

// checkBefore refuses a file that is damaged, or was found so, before its schema is changed. It
// writes nothing, and takes as long as the file is large.
func checkBefore(ctx context.Context, path string, d *damage) error {
	return older(path, func(c conn, version int64) error {
		err := d.found()
		if err == nil {
			err = checkOlder(ctx, c, version)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		next := "start the valetkeyd that wrote it, end there what is live, and clear the damage; or restore a copy of before, with the files beside it"
		if version > lastReleased {
			next = "restore the copy that was made before the upgrade, with the files beside it"
		}
		return fmt.Errorf("%w; it was left at schema %d as it is, since bringing it up to date would take away what tells of the damage: %s", err, version, next)
	})
}

// lastReleased is the newest schema before latest that brokers ran on: those between are of an
// upgrade that was cut off.
const lastReleased = 5

// CheckOlder looks at everything in a file whose schema is older than this broker's, without
// bringing it up to date, and says which schema it is. Of another file it says 0 and has not
// looked. Damage is an ErrDamaged. No broker may run on the file.
func CheckOlder(ctx context.Context, path string) (version int64, err error) {
	path, err = resolve(path)
	if err != nil {
		return 0, unavailable("finding the store", err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil // and neither is its folder there, for all that is known
	}
	held, err := lock(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	err = older(path, func(c conn, v int64) error {
		version = v
		was, err := remembered(path)
		if err = errors.Join(err, checkOlder(ctx, c, v)); err != nil || was.found() == nil {
			return err
		}
		return fmt.Errorf("nothing is damaged now, and it was: %w; \"valetkeyd store clear-damage\" of the version that wrote it lets it be brought up to date", was.found())
	})
	if err != nil {
		return version, unavailable("checking the store", err)
	}
	return version, nil
}

// older runs fn on a connection to a file that has an older schema, and none to any other.
func older(path string, fn func(c conn, version int64) error) error {
	return withSchema(path, nil, func(c conn, version int64) error {
		if version == 0 || version >= latest {
			return nil
		}
		return fn(c, version)
	})
}

// checkOlder looks at each page, index and row that the schema has, at what the rows need of each
// other, and at the log where its hashes are apart from its records.
func checkOlder(ctx context.Context, c conn, version int64) error {
	c.c.SetInterrupt(ctx.Done())
	return inRead(c, func(r *reader) error {
		if err := checkIntegrity(r); err != nil {
			return err
		}
		for _, w := range olderWalks(version) {
			if err := w.whole(r, liveRows); err != nil {
				return err
			}
		}
		switch {
		case version == 1:
			return checkHashes(r, hashRows{"hashes", "idx", "hash"})
		case version <= 5:
			return checkHashes(r, hashRows{"hash_chunks", "chunk", "data"})
		}
		return nil // every hash that was stored is copied with its record
	})
}

// olderWalks are the walks over a file from version 5 on. Before it rows had no sums, and a
// credential no work before its end.
func olderWalks(version int64) []walk {
	if version < 5 {
		return []walk{{"bodies", stepBodies(version)}, {"issuances", checkLostGrant}, {"grants", checkLostTask}, {"work", checkLostWork}}
	}
	out := []walk{
		{"frozen", freezes.step(nil)}, {"sweeps", sweeps.step(nil)}, {"grants", olderGrants.step(checkTask)}, {"tasks", tasks.step(nil)},
		{"approvals", approvals.step(checkApproval)}, {"idempotency", keys.step(nil)}, {"cooling", coolings.step(nil)}, {"buckets", buckets.step(nil)},
	}
	if version < 8 {
		return append(out, walk{"issuances", olderIssuances.step(checkOlderIssuance)}, walk{"work", olderWorks.step(checkOlderWork)})
	}
	return append(out, walk{"issuances", issuances.step(checkIssuance)}, walk{"work", works.step(checkWork)})
}

// Until version 7 grants were ordered by their key, until version 8 issuances, and work was a table of
// its own.
var (
	olderGrants = table[store.Grant]{name: "grants", cols: grants.cols, keys: 1, row: grants.row}.ready()

	olderIssuances = table[store.Issuance]{
		name: "issuances", cols: []string{"id", "grant_id", "state"}, keys: 1,
		row: func(v store.Issuance) []any { return []any{v.ID, v.GrantID, string(v.State)} },
	}.ready()

	olderWorks = table[store.Work]{
		name: "work", cols: []string{"id", "due"}, keys: 1,
		row: func(v store.Work) []any {
			row := works.row(v) // its grant, its id, and when it is due
			return row[1:]
		},
	}.ready()
)

func checkTask(r *reader, g store.Grant) error {
	if !g.State.Open() {
		return nil
	}
	return r.needs("what the open grant "+g.ID+" needs", need{"tasks WHERE id = ?", []any{g.TaskID}})
}

func checkOlderIssuance(r *reader, i store.Issuance) error {
	if err := r.needs("what the issuance "+i.ID+" needs", need{"grants WHERE id = ?", []any{i.GrantID}}); err != nil {
		return err
	}
	live := i.State == store.IssuanceIntended
	if i.State == store.IssuanceIssued {
		var err error
		if live, err = r.has("grants WHERE id = ? AND live = 1", i.GrantID); err != nil {
			return err
		}
	}
	if !live {
		return nil
	}
	switch w, err := one(r, olderWorks, i.ID); {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case err != nil || !w.DoneAt.IsZero():
		return fmt.Errorf("%w: the credential of issuance %s has no work that ends it", store.ErrDamaged, i.ID)
	}
	return nil
}

func checkOlderWork(r *reader, w store.Work) error {
	if !w.DoneAt.IsZero() {
		return nil
	}
	return r.needs("what the revocation "+w.ID+" needs", need{"issuances WHERE id = ?", []any{w.ID}})
}

// stepBodies looks for bodies that are no JSON: an upgrade would stop there, half way.
func stepBodies(version int64) func(*reader, []any, int) ([]any, error) {
	tables := []string{"tasks", "grants", "issuances", "work"}
	if version == 1 {
		tables = append(tables, "idempotency")
	}
	if version >= 3 {
		tables = append(tables, "approvals")
	}
	if version >= 4 {
		tables = append(tables, "sweeps")
	}
	return func(r *reader, _ []any, _ int) ([]any, error) {
		for _, table := range tables {
			if err := r.lacks(table+" WHERE NOT json_valid(body)", "a row of "+table+" is not what was written"); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
}

// lacks is that a query has no row; one is damage.
func (r *reader) lacks(query, damage string) error {
	some, err := r.has(query + " LIMIT 1")
	if err == nil && some {
		err = fmt.Errorf("%w: %s", store.ErrDamaged, damage)
	}
	return err
}

func checkLostGrant(r *reader, _ []any, _ int) ([]any, error) {
	return nil, r.lacks("issuances i WHERE NOT EXISTS (SELECT 1 FROM grants g WHERE g.id = i.grant_id)", "an issuance is of no grant")
}

func checkLostTask(r *reader, _ []any, _ int) ([]any, error) {
	return nil, r.lacks("grants g WHERE live = 1 AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id = g.task)", "an open grant is of no task")
}

func checkLostWork(r *reader, _ []any, _ int) ([]any, error) {
	return nil, r.lacks("work w WHERE due IS NOT NULL AND NOT EXISTS (SELECT 1 FROM issuances i WHERE i.id = w.id)", "the revocation of a credential is of no issuance")
}

// hashRows are where a schema keeps the log's hashes: as many as it likes in a row, in order.
type hashRows struct{ table, key, data string }

// checkHashes holds each record, and the hashes that versions 1 to 5 kept apart, against
// the tree, and both against the size that is signed.
func checkHashes(r *reader, h hashRows) error {
	tree, err := merkle.Load(0, nil)
	if err != nil {
		return err
	}
	var chunk int64
	var have []byte
	err = r.c.each("SELECT idx, data FROM records ORDER BY idx", func(s *sqlite.Stmt) error {
		n := tree.Size()
		if s.ColumnInt64(0) != n {
			return fmt.Errorf("%w: record %d is missing", store.ErrDamaged, n)
		}
		want, err := tree.Add(blob(s, 1))
		if err != nil {
			return err
		}
		for ; len(have) < len(want); chunk++ {
			err := r.c.one("SELECT "+h.data+" FROM "+h.table+" WHERE "+h.key+" = ?", func(s *sqlite.Stmt) error { have = append(have, blob(s, 0)...); return nil }, chunk)
			if errors.Is(err, store.ErrNotFound) {
				err = fmt.Errorf("%w: hashes of record %d are missing", store.ErrDamaged, n)
			}
			if err != nil {
				return err
			}
		}
		if !bytes.Equal(want, have[:len(want)]) {
			return fmt.Errorf("%w: record %d is not the one that was hashed", store.ErrDamaged, n)
		}
		if have = have[len(want):]; tree.Size()%liveRows > 0 {
			return nil
		}
		// What is committed is forgotten but for the edge.
		_, err = tree.Seal(func(tlog.Tree) ([]byte, error) { return nil, nil })
		tree.Commit()
		return err
	})
	if err != nil {
		return err
	}
	more, err := r.has(h.table+" WHERE "+h.key+" < 0 OR "+h.key+" >= ?", chunk)
	if err != nil {
		return err
	}
	signed := int64(0)
	err = r.row("SELECT size FROM checkpoint", func(s *sqlite.Stmt) error { signed = s.ColumnInt64(0); return nil })
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case more || len(have) > 0 || signed != tree.Size():
		return fmt.Errorf("%w: there are %d records, %d are signed, and there may be hashes of more", store.ErrDamaged, tree.Size(), signed)
	}
	return nil
}
