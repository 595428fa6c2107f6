package valetkey

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/clients/logverify/proof"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// ErrReceipt means that a receipt does not prove the minting that it came with,
// so that the credential was not handed out. It wraps proof.ErrVerification.
var ErrReceipt = fmt.Errorf("the receipt proves nothing: %w", proof.ErrVerification)

// Receipt proves that a minting is on the record. It holds no secret.
type Receipt struct {
	// Index is the record's place in the ledger, from 0.
	Index int64
	// Record is the JSON that was hashed.
	Record []byte
	// InclusionProof is RFC 9162's, leaf to root.
	InclusionProof [][]byte
	// Checkpoint is the signed C2SP tlog-checkpoint that the proof leads to.
	Checkpoint []byte
	// IssuanceID is the record's name for the minting.
	IssuanceID string
	// Verified says that all of this was checked; false WithoutReceiptChecks.
	Verified bool
}

// issued is what this package reads in a record.
type issued struct {
	Type          string    `json:"type"`
	Time          time.Time `json:"time"`
	Agent         string    `json:"agent_spiffe_id"`
	Delegate      string    `json:"delegate_spiffe_id"`
	Task          string    `json:"task_id"`
	Grant         string    `json:"grant_id"`
	Issuance      string    `json:"issuance_id"`
	Scope         string    `json:"scope"`
	Envelope      string    `json:"envelope_digest"`
	AccessKeyID   string    `json:"access_key_id"`
	VaultAccessor string    `json:"vault_accessor"`
	VaultLease    string    `json:"vault_lease_id"`
	NotAfter      time.Time `json:"not_after"`
}

// minting is one answer of the broker, and what was known when it was asked.
type minting struct {
	grant      *valetkeyv1.Grant
	credential *valetkeyv1.Credential
	receipt    *valetkeyv1.Receipt
	asked      time.Time // by this machine's clock
	floor      int64     // records that there certainly were
}

// accept is the only way from an answer to a Credential: first the receipt is
// checked, unless the program has said that it does not want that. What the broker
// names ends in files and environments, so that all of it has to be plain text.
func (c *Client) accept(ctx context.Context, m minting) (Credential, error) {
	ends, secret := m.credential.GetExpiresAt().AsTime(), secretIn(m.credential)
	cred := Credential{grantID: m.grant.GetId(), received: c.cfg.now(), ends: ends, expires: ends, secret: func() Secret { return secret }}
	if !cred.Valid() || m.credential.GetExpiresAt() == nil {
		return Credential{}, fmt.Errorf("minting from grant %s: the broker's answer holds no credential", m.grant.GetId())
	}
	if err := secret.plain(); err != nil {
		return Credential{}, fmt.Errorf("minting from grant %s: %w", m.grant.GetId(), err)
	}
	r := m.receipt
	cred.receipt = Receipt{Index: r.GetIndex(), Record: r.GetRecord(), InclusionProof: r.GetInclusionProof(), Checkpoint: []byte(r.GetCheckpoint())}
	var rec issued
	err := json.Unmarshal(r.GetRecord(), &rec)
	cred.receipt.IssuanceID = rec.Issuance
	if c.history.mode != ledgerUnchecked {
		if err != nil {
			return Credential{}, fmt.Errorf("checking the receipt of grant %s: %w: its record is not JSON", m.grant.GetId(), ErrReceipt)
		}
		if err := c.check(ctx, m, rec, cred); err != nil {
			return Credential{}, fmt.Errorf("checking the receipt of grant %s: %w", m.grant.GetId(), err)
		}
		cred.receipt.Verified = true
	}
	if !rec.Time.IsZero() {
		cred.expires = ends.Add(-skew(rec.Time, m.asked, cred.received))
	}
	if !cred.expires.After(cred.received) {
		return Credential{}, fmt.Errorf("minting from grant %s: the credential was over at %s, before it came", m.grant.GetId(), cred.expires.Format(time.RFC3339))
	}
	return cred, nil
}

// check holds the record against what was asked, the record against the
// checkpoint, and the checkpoint against the key and the history.
func (c *Client) check(ctx context.Context, m minting, rec issued, cred Credential) error {
	id := m.grant.GetAgentSpiffeId()
	delegate := ""
	if own := c.ID(); !own.IsZero() {
		id = own.String()
	}
	if agent := spokenFor(ctx); agent != "" {
		delegate, id = id, agent
		if c.ID().IsZero() {
			delegate = rec.Delegate // who this program is, its connection knows alone
		}
	}
	var key, accessor, lease string
	if a := cred.Reveal().AWS; a != nil {
		key = a.AccessKeyID
	}
	if v := cred.Reveal().Vault; v != nil {
		accessor, lease = v.Accessor, v.LeaseID
		if lease == "" {
			lease = rec.VaultLease // inside the wrapping, where nobody has looked
		}
	}
	for _, f := range []struct{ what, has, want string }{
		{"type", rec.Type, "issuance.issued"},
		{"agent", rec.Agent, id},
		{"delegate", rec.Delegate, delegate},
		{"task", rec.Task, m.grant.GetTaskId()},
		{"grant", rec.Grant, m.grant.GetId()},
		{"scope", rec.Scope, m.grant.GetScope() + "@" + m.grant.GetScopeVersion()},
		{"envelope", rec.Envelope, m.grant.GetEnvelopeDigest()},
		{"access key id", rec.AccessKeyID, key},
		{"Vault accessor", rec.VaultAccessor, accessor},
		{"Vault lease", rec.VaultLease, lease},
	} {
		if f.has != f.want {
			return fmt.Errorf("%w: its record is of %s %q, this minting is of %q", ErrReceipt, f.what, f.has, f.want)
		}
	}
	if rec.Issuance == "" || cred.ID() == "" {
		return fmt.Errorf("%w: its record or the credential has no name", ErrReceipt)
	}
	// Providers give whole seconds.
	if cred.ends.After(rec.NotAfter.Add(time.Second)) {
		return fmt.Errorf("%w: the credential ends at %s, its record says %s", ErrReceipt, cred.ends.Format(time.RFC3339), rec.NotAfter.Format(time.RFC3339))
	}
	return c.checkProof(ctx, m)
}

func (c *Client) checkProof(ctx context.Context, m minting) error {
	key, err := c.history.key(ctx, c)
	if err != nil {
		return err
	}
	signed := []byte(m.receipt.GetCheckpoint())
	tree, err := proof.Checkpoint(signed, key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	// What was minted since is recorded since: an older record is of something
	// else, or of a ledger that has been set back.
	if m.receipt.GetIndex() < m.floor {
		return fmt.Errorf("%w: this minting is record %d of a ledger that had %d when it was asked for", ErrRolledBack, m.receipt.GetIndex(), m.floor)
	}
	if err := proof.Inclusion(tree, m.receipt.GetIndex(), m.receipt.GetRecord(), m.receipt.GetInclusionProof()); err != nil {
		return fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	return c.history.grown(ctx, c, tree, signed)
}

// skewTolerance is by how much two clocks may differ before it is called skew.
const skewTolerance = 2 * time.Second

// skew is how far the broker's clock is ahead of this machine's, given that the
// broker wrote at between asked and received. It takes the end of what is possible
// that makes credentials end sooner, and 0 for clocks that agree.
func skew(at, asked, received time.Time) time.Duration {
	if at.After(asked.Add(-skewTolerance)) && at.Before(received.Add(skewTolerance)) {
		return 0
	}
	return at.Sub(asked)
}

func secretIn(c *valetkeyv1.Credential) (s Secret) {
	if a := c.GetAws(); a != nil {
		s.AWS = &AWSSecret{
			AccessKeyID: a.GetAccessKeyId(), SecretAccessKey: a.GetSecretAccessKey(), SessionToken: a.GetSessionToken(),
			Region: a.GetRegion(), Endpoint: a.GetEndpointUrl(),
		}
	}
	if v := c.GetVault(); v != nil {
		s.Vault = &VaultSecret{
			Token: v.GetToken(), Accessor: v.GetAccessor(), Address: v.GetAddress(), Namespace: v.GetNamespace(),
			LeaseID: v.GetLeaseId(), WrappingToken: v.GetWrappingToken(),
		}
		if d := v.GetDataJson(); d != "" {
			s.Vault.DataJSON = []byte(d)
		}
	}
	return s
}
