package server

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/broker/internal/lookup"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes"
)

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func taskOut(t store.Task) *valetkeyv1.Task {
	return &valetkeyv1.Task{
		Id: t.ID, Purpose: t.Purpose, Environment: t.Environment, OnBehalfOf: t.OnBehalfOf, AgentSpiffeId: t.Agent,
		OpenedAt: stamp(t.OpenedAt), ClosedAt: stamp(t.ClosedAt),
	}
}

func grantOut(g store.Grant) *valetkeyv1.Grant {
	out := &valetkeyv1.Grant{
		Id: g.ID, TaskId: g.TaskID, AgentSpiffeId: g.Agent, Scope: g.Scope, ScopeVersion: g.ScopeVersion,
		Parameters: map[string]*valetkeyv1.Value{}, Tier: valetkeyv1.TierOf(g.Tier), State: valetkeyv1.GrantStateOf(string(g.State)), EnvelopeDigest: g.Digest,
		RequestedAt: stamp(g.RequestedAt), ExpiresAt: stamp(g.ExpiresAt), Reasons: g.Reasons,
		TierReasons: g.TierReasons, PermissionsDigest: g.PermissionsDigest, Needs: needsOut(g.Needs),
	}
	if g.State == store.GrantPending {
		out.DecideBy, out.ExpiresAt = out.GetExpiresAt(), nil
	}
	for name, values := range g.Params {
		out.Parameters[name] = &valetkeyv1.Value{Values: values}
	}
	return out
}

func grantsOut(gs []store.Grant) []*valetkeyv1.Grant {
	out := make([]*valetkeyv1.Grant, len(gs))
	for i, g := range gs {
		out[i] = grantOut(g)
	}
	return out
}

// defaultPage is how many grants a page has where none is said.
const defaultPage = 100

func pageIn(r interface {
	GetPageSize() int32
	GetPageToken() string
}) lookup.Page {
	return lookup.Page{Before: r.GetPageToken(), Limit: cmp.Or(int(r.GetPageSize()), defaultPage)}
}

// nextOut is where the next page begins: a page that is not full is the last.
func nextOut(gs []store.Grant, page lookup.Page) string {
	if len(gs) < page.Limit {
		return ""
	}
	return gs[len(gs)-1].ID
}

func needsOut(ns []policy.Need) []*valetkeyv1.Need {
	out := make([]*valetkeyv1.Need, len(ns))
	for i, n := range ns {
		out[i] = &valetkeyv1.Need{Group: n.Group, Approvals: int32(n.Approvals)} //nolint:gosec // small
	}
	return out
}

func scopeOut(s *scopes.Scope) *valetkeyv1.Scope {
	out := &valetkeyv1.Scope{
		Name: s.Name(), Version: s.Version(), Description: s.Description(), Provider: valetkeyv1.ProviderOf(string(s.Provider())),
		DefaultTtl: durationpb.New(s.DefaultTTL()), MaxTtl: durationpb.New(s.MaxTTL()), Tier: valetkeyv1.TierOf(s.Tier().String()),
	}
	for _, p := range s.Params() {
		out.Parameters = append(out.Parameters, &valetkeyv1.Parameter{
			Name: p.Name, Type: valetkeyv1.ParameterTypeOf(string(p.Type)), Description: p.Description, Allowed: p.Allowed, List: p.List,
		})
	}
	return out
}

func paramsIn(in map[string]*valetkeyv1.Value) map[string][]string {
	out := make(map[string][]string, len(in))
	for name, v := range in {
		out[name] = v.GetValues()
	}
	return out
}

// credentialOut is the one place where a secret leaves its Credential.
func credentialOut(c mint.Credential) *valetkeyv1.Credential {
	if !c.Valid() {
		return nil
	}
	out := &valetkeyv1.Credential{ExpiresAt: stamp(c.ExpiresAt())}
	secret := c.Reveal()
	if a := secret.AWS; a != nil {
		out.Kind = &valetkeyv1.Credential_Aws{Aws: &valetkeyv1.AwsCredential{
			AccessKeyId: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken,
			Region: a.Region, EndpointUrl: a.Endpoint,
		}}
	}
	if v := secret.Vault; v != nil {
		out.Kind = &valetkeyv1.Credential_Vault{Vault: &valetkeyv1.VaultCredential{
			Token: v.Token, Accessor: v.Accessor, Address: v.Address, DataJson: string(v.DataJSON),
			LeaseId: v.LeaseID, WrappingToken: v.WrappingToken, Namespace: v.Namespace,
		}}
	}
	return out
}

func receiptOut(r ledger.Receipt) *valetkeyv1.Receipt {
	if !r.Valid() {
		return nil
	}
	out := &valetkeyv1.Receipt{Index: r.Index(), Record: r.Record(), Checkpoint: string(r.Checkpoint())}
	for _, h := range r.Proof() {
		out.InclusionProof = append(out.InclusionProof, h[:])
	}
	return out
}
