// Package store defines the broker's durable state and the transactions over it.
//
// Laws:
//   - A change of state and its ledger record are in one transaction, or neither is.
//   - Update returns nil only after the transaction is durable (fsynced).
//   - No row ever holds a secret. A credential is known by its handle.
//   - A store that cannot write refuses; it never answers from memory alone.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

var (
	// ErrNotFound is returned by reads of a row that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable wraps every fault of the database itself: full, locked,
	// read-only, corrupted, closed.
	ErrUnavailable = errors.New("store unavailable")
)

// Store keeps the broker's state. Implementations are safe for concurrent use
// and pass storetest.Run.
type Store interface {
	// Update runs fn in one serialised transaction and returns the ledger's
	// head after it. If fn returns an error nothing of it is kept and that
	// error is returned. fn may be run with others in one fsync, and must
	// touch nothing but its Tx.
	Update(ctx context.Context, fn func(Tx) error) (Head, error)
	// View runs fn on a consistent snapshot of what is durable.
	View(ctx context.Context, fn func(Reader) error) error
	// Close waits for running transactions and releases the database.
	Close() error
}

// Head is the ledger's state after a transaction.
type Head struct {
	// Size is the number of records.
	Size int64
	// Checkpoint is the signed note over Size and the root; nil only in an
	// empty ledger.
	Checkpoint []byte
}

// SealFunc signs a tree head. It is called inside the transaction that made
// the head, so a head without a signature never becomes durable.
type SealFunc func(tlog.Tree) ([]byte, error)

// Reader reads rows.
type Reader interface {
	Task(id string) (Task, error)
	Grant(id string) (Grant, error)
	Grants(f GrantFilter) ([]Grant, error)
	Issuance(id string) (Issuance, error)
	Issuances(f IssuanceFilter) ([]Issuance, error)
	// Approvals returns the votes on a grant, by person.
	Approvals(grantID string) ([]Approval, error)
	// Waiting counts the pending grants: all, those of the guard's key, and those
	// that delegate asked for; 0 for an empty delegate.
	Waiting(key, delegate string) (Waiting, error)
	// Cooling returns when the cool-down under a key ends; zero for none.
	Cooling(key string) (until time.Time, err error)
	// DueWork returns up to limit rows that are due at now. One that is due later
	// than MaxPutOff after now is too: a clock was ahead, and was put right.
	DueWork(now time.Time, limit int) ([]Work, error)
	// Idempotency returns ErrNotFound for a key that has not been used.
	Idempotency(agent, key string) (Idempotency, error)
	// Frozen returns the cause, and whether the agent is frozen.
	Frozen(agent string) (cause string, frozen bool, err error)
	Head() (Head, error)
	// Record returns one leaf as it was hashed.
	Record(index int64) ([]byte, error)
	// Records returns up to n leaves from index on.
	Records(index int64, n int) ([][]byte, error)
	tlog.HashReader
}

// Tx reads and writes rows. It is used by one goroutine, inside Update.
type Tx interface {
	Reader
	PutTask(Task) error
	PutGrant(Grant) error
	PutIssuance(Issuance) error
	PutApproval(Approval) error
	PutCooling(key string, until time.Time) error
	PutWork(Work) error
	PutIdempotency(Idempotency) error
	SetFrozen(agent, cause string, frozen bool) error
	// TakeToken takes one token from the GCRA bucket named key, which refills
	// one token per interval up to burst. Without a token it changes nothing
	// and returns how long until there is one.
	TakeToken(key string, now time.Time, interval time.Duration, burst int) (wait time.Duration, err error)
	// Prune looks at up to limit rows from where an earlier call left off, and
	// deletes those of them that p calls old. from is empty to begin; next is
	// where to go on, and empty at the end. Rows that no p calls old are kept:
	// live grants, open tasks and issuances, ends not yet carried upstream,
	// freezes, and the ledger. Ids of grants and tasks count up as they are made.
	Prune(p Prune, from string, limit int) (next string, err error)
	// Append adds a leaf to the ledger and returns its index.
	Append(leaf []byte) (int64, error)
}

// Task is a row of the tasks table.
type Task struct {
	ID, Agent, Purpose, Environment, OnBehalfOf string
	OpenedAt                                    time.Time
	// ClosedAt is zero while the task is open.
	ClosedAt time.Time
}

// GrantState is a grant's place in its life, spelled as in the ledger.
type GrantState string

// The states. Live ones can be minted from; open ones have not ended.
const (
	GrantPending  GrantState = "pending" // waits for people, until ExpiresAt
	GrantDenied   GrantState = "denied"
	GrantRejected GrantState = "rejected" // people said no
	GrantLapsed   GrantState = "lapsed"   // people said too little in time
	GrantCleared  GrantState = "cleared"
	GrantActive   GrantState = "active"
	GrantExpired  GrantState = "expired"
	GrantReleased GrantState = "released"
	GrantRevoked  GrantState = "revoked"
)

// Live says whether a grant in this state can be minted from.
func (s GrantState) Live() bool { return s == GrantCleared || s == GrantActive }

// Open says whether a grant in this state has not ended.
func (s GrantState) Open() bool { return s == GrantPending || s.Live() }

// Need is a lacking approval.
type Need struct {
	Group     string
	Approvals int
}

// Grant is a row of the grants table.
type Grant struct {
	ID, TaskID, Agent   string
	Scope, ScopeVersion string
	Params              map[string][]string
	Tier, Digest        string
	// TierReasons say why the tier is not lower, the first of them; PermissionsDigest is of the compiled
	// permissions, as scopes.Permissions.Digest makes it. Both are empty in rows from before there were any.
	TierReasons       []string `json:",omitempty"`
	PermissionsDigest string   `json:",omitempty"`
	State             GrantState
	Reasons           []string `json:",omitempty"`
	Needs             []Need   `json:",omitempty"`
	// Frozen says that it was denied because its agent was frozen.
	Frozen bool `json:",omitempty"`
	// Refusal says what else it was denied for, of what policy does not say; empty for
	// nothing.
	Refusal Refusal `json:",omitempty"`
	// Case is what people decide; nil where nobody was asked.
	Case        *Case `json:",omitempty"`
	TTL         time.Duration
	RequestedAt time.Time
	ExpiresAt   time.Time
	EndedAt     time.Time
}

// Refusal is why a request was not put to people.
type Refusal string

// The refusals.
const (
	RefusedRejected Refusal = "rejected" // they said no to the same shortly before
	RefusedTooMany  Refusal = "too many" // too much waits for them already
)

// Case is what people are shown of a grant that waits for them, and what their
// approvals are bound to.
type Case struct {
	// Envelope is RFC 8785 JSON; Grant.Digest is of its bytes.
	Envelope      string
	Nonce         string
	Justification string
	// Identity names who asks, by what was verified of them; Claim is on whose behalf
	// they say they do.
	Identity []string
	Claim    string
	// Key is the guard's name for the agent; Delegate asked for it, if one did.
	Key      string
	Delegate string `json:",omitempty"`
}

// Waiting counts pending grants.
type Waiting struct{ All, Key, Delegate int }

// Approval is one person's signed decision on one grant; a second one of theirs
// takes the place of the first.
type Approval struct {
	GrantID, Person, Decision, Comment string
	Statement                          string
	Signature                          string
	At                                 time.Time
}

// GrantFilter selects grants, newest first. Zero fields select all.
type GrantFilter struct {
	TaskID, Agent string
	// Open selects those that have not ended, Pending those of them that wait for people.
	Open, Pending bool
	// Key selects pending ones by their Case's.
	Key string
	// ExpiredBy selects grants whose life ended at or before it.
	ExpiredBy time.Time
	// Before is the id to continue after, exclusive.
	Before string
	// OldestFirst turns the order around; After is then the id to continue after.
	OldestFirst bool
	After       string
	// Limit is 100 when zero, and none when negative.
	Limit int
}

// IssuanceState is where a minting stands.
type IssuanceState string

// The states. Intended is the only open one.
const (
	IssuanceIntended  IssuanceState = "intended"
	IssuanceIssued    IssuanceState = "issued"
	IssuanceAbandoned IssuanceState = "abandoned" // certainly never minted
	IssuanceOrphaned  IssuanceState = "orphaned"  // may exist upstream; revocation follows
)

// Issuance is a row of the issuances table: one minting of one grant.
type Issuance struct {
	ID, GrantID, Agent string
	State              IssuanceState
	// Handle is what can be ended upstream: no secret in it.
	Handle   json.RawMessage
	NotAfter time.Time
	At       time.Time
	// Index is the ledger record of the outcome, or of the intent while open.
	Index int64
}

// MaxPutOff is the longest that work is put off at once.
const MaxPutOff = 5 * time.Minute

// IssuanceFilter selects issuances. Zero fields select all.
type IssuanceFilter struct {
	GrantID string
	State   IssuanceState
}

// Work is an end of a credential that is still to be carried upstream.
type Work struct {
	// ID is the issuance's id.
	ID, GrantID, Agent, Cause string
	Handle                    json.RawMessage
	Attempts                  int
	CreatedAt, NextAt         time.Time
	// DoneAt is zero until the upstream has answered.
	DoneAt  time.Time
	Outcome string
}

// Prune says what is old. A zero time keeps what it is about. Times count in whole
// seconds: a row may be kept for one more.
type Prune struct {
	// Now is when a rate bucket must be full again, and a cool-down over, to go.
	Now time.Time
	// Keys is before when what an idempotency key is about must have ended, or,
	// where it is about nothing that there is, before when it must have been
	// used; and before when work must have been done.
	Keys time.Time
	// Ended is before when a grant must have ended to go with its issuances, and
	// a task without live grants must have been closed.
	Ended time.Time
}

// Idempotency remembers what a key was used for.
type Idempotency struct {
	Agent, Key string
	// Content is a digest of the request.
	Content string
	// Result begins with the id of the task or grant that it is about, if there
	// is one; after a space follows the answer, where the id alone does not tell it.
	Result string
	At     time.Time
}
