package sqlite

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/broker/store"
)

// under is a condition on a column of SPIFFE IDs: the path ?1, and what lies between ?2
// and ?3, which are the first and the last below it, for "0" comes after "/".
func under(column string) string {
	return strings.ReplaceAll("id >= ?1 AND id <= ?3 AND (id = ?1 OR id > ?2 AND id < ?3)", "id", column)
}

func underArgs(p store.Path, limit int) []any {
	if !p.Below {
		return []any{p.ID, p.ID, p.ID, limit}
	}
	return []any{p.ID, p.ID + "/", p.ID + "0", limit}
}

func (r *reader) OpenUnder(p store.Path, limit int) ([]store.Grant, error) {
	gs, err := many(r, grants, "INDEXED BY grants_open WHERE live = 1 AND "+under("agent")+" LIMIT ?4", underArgs(p, limit)...)
	if err == nil && len(gs) == 0 {
		gs, err = many(r, grants, "INDEXED BY grants_delegated WHERE live = 1 AND delegate <> '' AND "+under("delegate")+" LIMIT ?4", underArgs(p, limit)...)
	}
	if err == nil && len(gs) == 0 && r.damaged() { // nothing is left, by indexes that may have lost it
		gs, err = many(r, grants, "NOT INDEXED WHERE live = 1 AND ("+under("agent")+" OR delegate <> '' AND "+under("delegate")+") LIMIT ?4", underArgs(p, limit)...)
	}
	for _, g := range gs {
		if !isOpen(g) { // it would be ended again, and found again
			return nil, unavailable("reading", r.c.judge(fmt.Errorf("%w: an index has the grant %s as open, which has ended", store.ErrDamaged, g.ID)))
		}
	}
	return gs, err
}

func (r *reader) OpenAgents(after string, limit int) ([]string, error) {
	if r.damaged() {
		return texts(r, "SELECT DISTINCT agent FROM grants NOT INDEXED WHERE live = 1 AND agent > ? ORDER BY agent LIMIT ?", after, limit)
	}
	return texts(r, "SELECT DISTINCT agent FROM grants INDEXED BY grants_open WHERE live = 1 AND agent > ? ORDER BY agent LIMIT ?", after, limit)
}

func (r *reader) JudgedBy(person, after string, limit int) ([]store.Grant, error) {
	return many(r, grants, `WHERE id IN (SELECT grant_id FROM approvals WHERE person = ?) AND live = 1 AND waiter IS NULL AND id > ? ORDER BY id LIMIT ?`,
		person, after, limit)
}

func (r *reader) Sweep(id string) (store.Sweep, error) {
	return one(r, sweeps, id)
}

func (r *reader) OpenSweeps() ([]store.Sweep, error) {
	var open []store.Sweep
	err := sound(r, sweeps, lookup{where: "open = 1", order: "id"}, func(v store.Sweep) bool { return v.DoneAt.IsZero() }, func(v store.Sweep) bool {
		open = append(open, v)
		return true
	})
	return open, err
}

func (t *tx) PutSweep(v store.Sweep) error { return put(t, sweeps, v) }
