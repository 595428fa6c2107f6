package grant

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/scopes/jcs"
)

// The types of records. CB4A's event_type is the part before the dot, with
// "grant" for its request, and "issuance", "expiry" and "revocation" as there.
const (
	TaskOpened          = "task.opened"
	TaskClosed          = "task.closed"
	TaskRevoked         = "task.revoked"
	GrantCleared        = "grant.cleared"
	GrantDenied         = "grant.denied"
	GrantNeedsApproval  = "grant.needs_approval"
	GrantPending        = "grant.pending"
	GrantRejected       = "grant.rejected"
	GrantLapsed         = "grant.lapsed"
	ApprovalGiven       = "approval.given"
	ApprovalRefused     = "approval.refused"
	GrantReleased       = "grant.released"
	GrantRevoked        = "grant.revoked"
	GrantExpired        = "grant.expired"
	IssuanceIntended    = "issuance.intended"
	IssuanceIssued      = "issuance.issued"
	IssuanceFailed      = "issuance.failed"
	IssuanceRefused     = "issuance.refused"
	IssuanceOrphaned    = "issuance.orphaned"
	RevocationOrdered   = "revocation.ordered"
	RevocationSwept     = "revocation.swept"
	RevocationConcluded = "revocation.concluded"
	RefusalRecorded     = "refusal.recorded"
	RefusalSummary      = "refusal.summary"
	AgentFrozen         = "agent.frozen"
	AgentUnfrozen       = "agent.unfrozen"
	CatalogReloaded     = "catalog.reloaded"
	BrokerStarted       = "broker.started"
	StoreDamaged        = "store.damaged"
	DamageCleared       = "store.damage_cleared"
	LossAccepted        = "ledger.loss_accepted"
)

// maxLeaf is the most bytes a leaf may have: C2SP tlog-tiles frames entries
// with 16 bits of length.
const maxLeaf = 1<<16 - 1

// ErrRecordTooLarge means that an event does not fit one leaf.
var ErrRecordTooLarge = errors.New("record too large")

// Record is one event. Its RFC 8785 JSON is the leaf that is hashed. It never
// holds a secret: a credential is known by its access key id, accessor or lease.
type Record struct {
	V    int       `json:"v"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	// Correlation ties the records of one call together.
	Correlation string `json:"correlation_id,omitempty"`
	Agent       string `json:"agent_spiffe_id,omitempty"`
	// Delegate spoke for the agent in this call, and is whose SVID was verified;
	// empty where the agent came with its own.
	Delegate string `json:"delegate_spiffe_id,omitempty"`
	// Subject is on whose behalf the agent acts, as the agent says.
	Subject  string `json:"on_behalf_of,omitempty"`
	Operator string `json:"operator_spiffe_id,omitempty"`
	// Path and Owner are whose grants an operator ends, where that is not one agent:
	// all at or below a SPIFFE ID, or all of one person's agents.
	Path  string `json:"agent_path,omitempty"`
	Owner string `json:"owner,omitempty"`
	// KeepLive says that a freeze leaves what was minted before it alone.
	KeepLive bool   `json:"keep_live,omitempty"`
	Task     string `json:"task_id,omitempty"`
	Purpose  string `json:"purpose,omitempty"`
	Grant    string `json:"grant_id,omitempty"`
	Issuance string `json:"issuance_id,omitempty"`

	EnvelopeDigest string `json:"envelope_digest,omitempty"`
	// Envelope is what people are asked to approve; EnvelopeDigest is of its RFC
	// 8785 form.
	Envelope json.RawMessage `json:"envelope,omitempty"`
	// Approver is the person, by the configuration's name, whose signed decision
	// this is; the statement is the text that was signed, and the signature is
	// OpenSSH's. With the person's public key both verify without the broker.
	Approver          string `json:"approver,omitempty"`
	ApproverID        string `json:"approver_spiffe_id,omitempty"`
	ApprovalStatement string `json:"approval_statement,omitempty"`
	ApprovalSignature string `json:"approval_signature,omitempty"`
	// ApproverKeys are the people who may approve from here on, with the fingerprints
	// of their keys.
	ApproverKeys map[string][]string `json:"approver_keys,omitempty"`
	// Approvals are how many distinct people of each group a clearance or an
	// issuance rests on.
	Approvals map[string]int `json:"approvals,omitempty"`

	Decision string         `json:"decision,omitempty"`
	Reasons  []string       `json:"reasons,omitempty"`
	Needs    map[string]int `json:"needs,omitempty"`
	Tier     string         `json:"tier,omitempty"`
	// TierReasons say why the tier is not lower; where there are many, the first, and how many more.
	TierReasons []string `json:"tier_reasons,omitempty"`
	// PermissionsDigest is SHA-256, in hex, over the RFC 8785 form of the compiled permissions.
	PermissionsDigest string              `json:"permissions_digest,omitempty"`
	Scope             string              `json:"scope,omitempty"` // name@version
	Params            map[string][]string `json:"parameters,omitempty"`
	TTLSeconds        int64               `json:"ttl_seconds,omitempty"`
	// Service is the target: the provider and role.
	Service   string   `json:"target_service,omitempty"`
	Actions   []string `json:"target_actions,omitempty"`
	Resources []string `json:"target_resources,omitempty"`
	// Outlives is what the target's answers can give that goes on working after the grant, by action.
	Outlives []string `json:"outlives,omitempty"`

	// What identifies the credential.
	Session       string     `json:"session,omitempty"`
	AccessKeyID   string     `json:"access_key_id,omitempty"`
	VaultAccessor string     `json:"vault_accessor,omitempty"`
	VaultLease    string     `json:"vault_lease_id,omitempty"`
	NotAfter      *time.Time `json:"not_after,omitempty"`

	// Reason is the error reason the caller was given.
	Reason string `json:"reason,omitempty"`
	// Cause is why somebody or something ended it.
	Cause string `json:"cause,omitempty"`
	// Outcome and LatencyMS are of an upstream revocation.
	Outcome   string `json:"outcome,omitempty"`
	LatencyMS int64  `json:"latency_ms,omitempty"`
	// Count is how many refusals a summary stands for, for its reason: those of the
	// callers with the key that their limits are kept under, or of unauthenticated
	// ones that claimed the trust domain; of all others where neither is set. Of a
	// revocation.swept it is how many grants the order of the same correlation ended.
	Count         int64  `json:"count,omitempty"`
	CallerKey     string `json:"caller_key,omitempty"`
	ClaimedDomain string `json:"claimed_trust_domain,omitempty"`
	// Catalog is the content hash of the catalog that serves from here on.
	Catalog string `json:"catalog_version,omitempty"`
}

// Leaf is the canonical form of r, as it is hashed.
func (r Record) Leaf() ([]byte, error) {
	b, err := jcs.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	if len(b) > maxLeaf {
		return nil, fmt.Errorf("%w: %d bytes of at most %d", ErrRecordTooLarge, len(b), maxLeaf)
	}
	return b, nil
}
