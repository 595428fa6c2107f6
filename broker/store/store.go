// Package store defines the broker's durable state and the transactions over it.
//
// Laws:
//   - A change of state and its ledger record are in one transaction, or neither is.
//   - Update returns nil only after the transaction is durable (fsynced).
//   - No row ever holds a secret. A credential is known by its handle.
//   - A store that cannot write refuses; it never answers from memory alone.
//   - A store that has found itself damaged says so until a person has acted, and
//     nothing is minted on it.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/policy"
)

var (
	// ErrNotFound is returned by reads of a row that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable wraps every fault of the database itself: full, locked,
	// read-only, corrupted, closed.
	ErrUnavailable = errors.New("store unavailable")
	// ErrDamaged is an ErrUnavailable that does not pass: what is stored is not what was
	// written.
	ErrDamaged = fmt.Errorf("%w: the database is damaged", ErrUnavailable)
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
	// Damage is what was found damaged, an ErrDamaged; nil while nothing was. It stays
	// when the store is opened again, until a person has cleared it.
	Damage() error
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
	// Hashes prove, at Size, the records that the transaction added, as a read of what is
	// stored does: they are what became durable. nil where they are not at hand, or it
	// added none.
	Hashes tlog.HashReader
}

// SealFunc signs a tree head. It is called inside the transaction that made
// the head, so a head without a signature never becomes durable.
type SealFunc func(tlog.Tree) ([]byte, error)

// Reader reads rows.
type Reader interface {
	Task(id string) (Task, error)
	Grant(id string) (Grant, error)
	Grants(f GrantFilter) ([]Grant, error)
	// Expired returns up to limit open grants whose life ended at now or before. One that is
	// damaged, or that its id does not find, is passed over, and noted: it stops nobody else's end.
	Expired(now time.Time, limit int) ([]Grant, error)
	// OpenIDs are the ids of all grants that have not ended, in any order, likewise. Once damage was
	// found they are those that the table has, whatever an index has lost.
	OpenIDs() ([]string, error)
	Issuance(grantID, id string) (Issuance, error)
	Issuances(f IssuanceFilter) ([]Issuance, error)
	// IssuanceIDs are those of a grant's issuances, in any order, by the index alone: what cannot
	// be read is named, too. A damaged page of the index is passed over, and noted.
	IssuanceIDs(grantID string) ([]string, error)
	// Minted says whether a grant has an issuance that is issued. It decodes none: one that is
	// damaged keeps no grant from being shown.
	Minted(grantID string) (bool, error)
	// Approvals returns the votes on a grant, by person.
	Approvals(grantID string) ([]Approval, error)
	// Waiting counts the pending grants: all, those of the guard's key, and those
	// that delegate asked for; 0 for an empty delegate.
	Waiting(key, delegate string) (Waiting, error)
	// Cooling returns when the cool-down under a key ends; zero for none.
	Cooling(key string) (until time.Time, err error)
	// DueWork returns up to limit rows that are due at now, of those that are urgent or of
	// the others. One that is due later than MaxPutOff after now is too: a clock was ahead,
	// and was put right. Damaged ones are passed over, as by Expired.
	DueWork(now time.Time, urgent bool, limit int) ([]Work, error)
	Work(grantID, id string) (Work, error)
	// HeldWork is what is held of all grants: a row for each credential that may be used. In any order. It reads the
	// whole table. Damaged rows are passed over, as by Expired.
	HeldWork() ([]Work, error)
	// Idempotency returns ErrNotFound for a key that has not been used.
	Idempotency(agent, key string) (Idempotency, error)
	// OpenUnder returns up to limit grants that have not ended, of agents at a path, or,
	// where there are none, of those that a delegate at it spoke for. In any order. Once damage was
	// found, there are none only where the table has none.
	OpenUnder(p Path, limit int) ([]Grant, error)
	// OpenAgents returns up to limit agents that have grants which have not ended, in
	// the order of their IDs, from the one after after on.
	OpenAgents(after string, limit int) ([]string, error)
	// JudgedBy returns up to limit live grants that a person voted on, oldest first,
	// from the one after an id on.
	JudgedBy(person, after string, limit int) ([]Grant, error)
	Sweep(id string) (Sweep, error)
	// OpenSweeps are those that are not done, oldest first. A row that is damaged is passed over, and noted.
	OpenSweeps() ([]Sweep, error)
	// Frozen returns the cause, and whether the agent is frozen.
	Frozen(agent string) (cause string, frozen bool, err error)
	// Bucket is when a rate limit's bucket is full; zero for one that has not been used.
	Bucket(key string) (full time.Time, err error)
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
	// PutIssuance writes an issuance. One that is open is put with a record, in one Update.
	PutIssuance(Issuance) error
	PutApproval(Approval) error
	PutCooling(key string, until time.Time) error
	// PutWork writes the end of an issuance that is there: it is in its row.
	PutWork(Work) error
	PutIdempotency(Idempotency) error
	PutSweep(Sweep) error
	SetFrozen(agent, cause string, frozen bool) error
	// PutBucket says when a rate limit's bucket is full.
	PutBucket(key string, full time.Time) error
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
	GrantActive   GrantState = "active" // a cleared one that has an issued issuance is active too, whatever its row says
	GrantExpired  GrantState = "expired"
	GrantReleased GrantState = "released"
	GrantRevoked  GrantState = "revoked"
)

// Live says whether a grant in this state can be minted from.
func (s GrantState) Live() bool { return s == GrantCleared || s == GrantActive }

// Open says whether a grant in this state has not ended.
func (s GrantState) Open() bool { return s == GrantPending || s.Live() }

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
	Reasons           []string      `json:",omitempty"`
	Needs             []policy.Need `json:",omitempty"`
	// Frozen says that it was denied because its agent was frozen.
	Frozen bool `json:",omitempty"`
	// Delegate asked for it, and alone mints from it; empty where the agent did.
	Delegate string `json:",omitempty"`
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
	// Lapses is when it ends unless people approve it, in whole seconds: they sign that.
	Lapses time.Time
	// Subject is the guard's name for the agent. Rows have it as Key.
	Subject string `json:"Key"`
}

// Freeze stops or resumes all minting of an agent, or of all agents below a path.
type Freeze struct {
	Agent, Cause string
	Frozen       bool
}

// Path names agents, or delegates, by their SPIFFE IDs.
type Path struct {
	// ID is a SPIFFE ID.
	ID string
	// Below takes in all IDs that lie below it, too: spiffe://td/agent/alice/s1 lies
	// below spiffe://td/agent/alice, and below spiffe://td.
	Below bool
}

// Sweep is an order to end many grants, which is carried out in many transactions. It
// ends what it names until it finds no more.
type Sweep struct {
	ID string
	// Path names the agents or delegates whose grants end; Owner the person whose
	// agents' do. One of the two is set.
	Path  Path
	Owner string `json:",omitempty"`
	// People are approvers whose votes count no more: grants that were cleared by them,
	// and have not enough others, end too.
	People []string `json:",omitempty"`
	// After is how far it has come in a list that does not get shorter as grants end.
	After string `json:",omitempty"`
	// Cause, Operator and Correlation are those of each end's record.
	Cause, Operator, Correlation string
	// Ended is how many grants it has ended.
	Ended     int64
	CreatedAt time.Time
	// DoneAt is zero while there may be more to end.
	DoneAt time.Time
}

// Cooling says until when a request is not put to people again.
type Cooling struct {
	Key   string
	Until time.Time
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
	// TaskID is to come with the task's Agent: by itself it is looked for among all grants.
	TaskID, Agent string
	// Open selects those that have not ended, Pending those of them that wait for people.
	Open, Pending bool
	// Subject selects pending ones by their Case's.
	Subject string
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

// Work is the end of a credential, to be carried upstream once it is no longer Held. It
// is there before the credential is, so that what cannot be revoked is not minted.
type Work struct {
	// ID is the issuance's id.
	ID, GrantID, Agent, Cause string
	Handle                    json.RawMessage
	// Urgent is an operator's revocation, which waits for nothing that agents release.
	Urgent bool
	// Held says that its end is not to be carried out yet: the credential may be used.
	Held              bool `json:",omitempty"`
	Attempts          int
	CreatedAt, NextAt time.Time
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
	// used.
	Keys time.Time
	// Ended is before when a grant must have ended to go with its issuances and their work, and
	// a task without live grants must have been closed.
	Ended time.Time
}

// Idempotency remembers what a key was used for.
type Idempotency struct {
	Agent, Key string
	// Content is a digest of the request.
	Content string
	// Result begins with the id of the task or grant that it is about, if there
	// is one; after a space follows the answer, where the id alone does not tell it, or the id
	// of the issuance that it made.
	Result string
	At     time.Time
}
