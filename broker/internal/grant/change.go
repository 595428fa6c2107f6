// Package grant is the kernel: the life of tasks, grants and issuances. Each function
// that moves one on returns the row together with its record, as a Change.
//
//	requested -> pending -> cleared -> active -> expired | released | revoked
//	          -> denied  -> rejected | lapsed
//
// Laws:
//   - Only this package makes a Change or writes a Record, and the ledger takes nothing
//     else: no row of state is written without its record.
//   - A state follows only from those that states.go lists. What has ended stays ended.
//   - A grant is cleared by a quorum.Clearance, or by votes that lack nothing.
//   - Every operation takes its caller first, and a zero caller reaches nothing.
//
// It decides nothing: what is asked for, allowed and ended is its callers' to find out.
package grant

import (
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/broker/store"
)

// errUnrecorded means that a change names other rows than its record, or has none.
var errUnrecorded = errors.New("a change of state without its record")

// Change is one event: its record, and the rows that change with it.
type Change struct {
	record Record
	rows   Rows
}

// Rows are those of one Change. Each is the one that the record names.
type Rows struct {
	Task     *store.Task
	Grant    *store.Grant
	Approval *store.Approval
	Freeze   *store.Freeze
	// Issuance gets the record's index when it is written.
	Issuance *store.Issuance
	// Work is what is to be carried upstream because of the event, or was.
	Work []store.Work
	// Sweep is what the event orders to end, or the end of such an order.
	Sweep *store.Sweep
	// Cooling stops the same request from being put to people again.
	Cooling *store.Cooling
}

// Record is what c puts on the record.
func (c Change) Record() Record { return c.record }

// Rows are what changes with it.
func (c Change) Rows() Rows { return c.rows }

// Grant is the grant as it is after c; zero where c changes none.
func (c Change) Grant() store.Grant { return value(c.rows.Grant) }

// Check holds the rows against the record.
func (c Change) Check() error {
	r := c.record
	for _, row := range []struct {
		kind      string
		is        bool
		has, want string
	}{
		{"task", c.rows.Task != nil, r.Task, value(c.rows.Task).ID},
		{"grant", c.rows.Grant != nil, r.Grant, value(c.rows.Grant).ID},
		{"approval", c.rows.Approval != nil, r.Grant, value(c.rows.Approval).GrantID},
		{"freeze", c.rows.Freeze != nil, r.Agent, value(c.rows.Freeze).Agent},
		{"issuance", c.rows.Issuance != nil, r.Issuance, value(c.rows.Issuance).ID},
	} {
		if row.is && (row.want == "" || row.has != row.want) {
			return fmt.Errorf("%w: a %s record names %s %q, the row is %q", errUnrecorded, r.Type, row.kind, row.has, row.want)
		}
	}
	for _, w := range c.rows.Work {
		if w.GrantID != r.Grant {
			return fmt.Errorf("%w: a %s record names grant %q, the work is of %q", errUnrecorded, r.Type, r.Grant, w.GrantID)
		}
	}
	if r.Type == "" {
		return fmt.Errorf("%w: it has no type", errUnrecorded)
	}
	return nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
