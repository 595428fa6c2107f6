package sqlite

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// openIntents are the issuances that are open, in memory: an index in the file would cost a page
// as each is opened, and another as it is closed. What a start needs to find them again is one
// grant's id in the newest record's row, from which on they lie. It is safe for concurrent use.
type openIntents struct {
	mu sync.Mutex
	// grants are the grants of the open ones, by issuance; guarded by mu.
	grants map[string]string
	// before is what the running batch has changed, as it was, an empty grant for one that was
	// not open. It is the writer's alone.
	before []intent
}

type intent struct{ issuance, grant string }

// put notes an issuance that was written.
func (o *openIntents) put(i store.Issuance) {
	to := intent{issuance: i.ID}
	if i.State == store.IssuanceIntended {
		to.grant = i.GrantID
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.before = append(o.before, intent{i.ID, o.grants[i.ID]})
	o.set(to)
}

func (o *openIntents) set(to intent) {
	if to.grant == "" {
		delete(o.grants, to.issuance)
		return
	}
	o.grants[to.issuance] = to.grant
}

// undo takes back what was changed since the batch had n changes.
func (o *openIntents) undo(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, was := range slices.Backward(o.before[n:]) {
		o.set(was)
	}
	o.before = o.before[:n]
}

// durable ends the batch.
func (o *openIntents) durable() { o.before = o.before[:0] }

// opened says whether the batch has opened one.
func (o *openIntents) opened() bool {
	return slices.ContainsFunc(o.before, func(i intent) bool { return o.grants[i.issuance] != "" })
}

// all are those that are open, as the running batch has it: what it opens is in no snapshot yet,
// and what it closes is not here any more.
func (o *openIntents) all() map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.grants)
}

// from is the grant from which on the open ones lie; nil, which is NULL, where none is open.
func (o *openIntents) from() any {
	least := ""
	for _, grant := range o.grants { // the writer alone changes it, and calls this
		if least == "" || grant < least {
			least = grant
		}
	}
	if least == "" {
		return nil
	}
	return least
}

// load finds those that are open in the file. Where the row that says from where on is damaged,
// all are looked at.
func (o *openIntents) load(r *reader) error {
	o.grants = map[string]string{}
	from, some := "", false
	err := r.row(newestSigned, func(s *sqlite.Stmt) error {
		from, some = s.ColumnText(3), !s.ColumnIsNull(3)
		return checkSigned(s)
	})
	switch {
	case errors.Is(err, store.ErrDamaged):
		from, some = "", true
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	if !some {
		return nil
	}
	return sound(r, issuances, lookup{index: "issuances_id", where: "grant_id >= ?", order: "grant_id", args: []any{from}}, func(store.Issuance) bool { return true }, func(i store.Issuance) bool {
		if i.State == store.IssuanceIntended {
			o.grants[i.ID] = i.GrantID
		}
		return true
	})
}

// openOf reads issuances that may be open. One that is damaged is passed over, and noted.
func (r *reader) openOf(grants map[string]string) (out []store.Issuance, err error) {
	for _, id := range slices.Sorted(maps.Keys(grants)) {
		i, err := one(r, issuances, grants[id], id)
		switch {
		case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrNotFound): // it is noted; or it is not durable yet
		case err != nil:
			return nil, err
		case i.State == store.IssuanceIntended:
			out = append(out, i)
		}
	}
	return out, nil
}
