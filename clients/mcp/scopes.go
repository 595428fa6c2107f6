package mcp

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const (
	maxScopes = 200
	askFor    = 30 * time.Second // how long a question to the broker may take
)

// ListScopesIn filters.
type ListScopesIn struct {
	Contains string `json:"contains,omitempty" jsonschema:"list only scopes whose name or description contains this text"`
}

// ListScopesOut is the catalog, or part of it.
type ListScopesOut struct {
	Scopes []Scope `json:"scopes"`
	// More is how many matched and were left out.
	More int `json:"more" jsonschema:"how many more there are; narrow the filter to see them"`
}

// Scope is what may be asked for.
type Scope struct {
	Name        string      `json:"name"`
	Version     string      `json:"version"`
	Description string      `json:"description"`
	Provider    string      `json:"provider" jsonschema:"aws or vault"`
	Tier        string      `json:"tier" jsonschema:"the most harm it can do: read, write, destructive or admin"`
	ReadOnly    bool        `json:"read_only" jsonschema:"whether it can change nothing"`
	Destructive bool        `json:"destructive" jsonschema:"whether it can delete, or cannot be undone"`
	Parameters  []Parameter `json:"parameters"`
	DefaultTTL  int64       `json:"default_ttl_seconds"`
	MaxTTL      int64       `json:"max_ttl_seconds"`
}

// Parameter is one of a scope's parameters.
type Parameter struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Description string   `json:"description,omitempty"`
	Allowed     []string `json:"allowed,omitempty" jsonschema:"the only values that are allowed, where the scope lists them"`
	List        bool     `json:"list" jsonschema:"whether it takes several values"`
}

func (x *session) listScopes(ctx context.Context, in ListScopesIn) (out ListScopesOut, err error) {
	ctx, cancel := x.during(ctx, askFor)
	defer cancel()
	all, err := x.s.cfg.Client.Scopes(ctx)
	if err != nil {
		return out, err
	}
	out.Scopes = []Scope{}
	want := strings.ToLower(in.Contains)
	for _, s := range all {
		if !strings.Contains(strings.ToLower(s.GetName()+"\n"+s.GetDescription()), want) {
			continue
		}
		if len(out.Scopes) == maxScopes {
			out.More++
			continue
		}
		out.Scopes = append(out.Scopes, scopeOf(s))
	}
	return out, nil
}

func scopeOf(s *valetkeyv1.Scope) Scope {
	out := Scope{
		Name: line(s.GetName(), maxLine), Version: line(s.GetVersion(), maxLine), Description: line(s.GetDescription(), maxDescription),
		Provider: s.GetProvider().Word(), Tier: s.GetTier().Word(), ReadOnly: s.GetTier() == valetkeyv1.Tier_TIER_READ,
		Destructive: destructive(s.GetTier()), Parameters: []Parameter{},
		DefaultTTL: s.GetDefaultTtl().GetSeconds(), MaxTTL: s.GetMaxTtl().GetSeconds(),
	}
	for _, p := range s.GetParameters()[:min(maxItems, len(s.GetParameters()))] {
		out.Parameters = append(out.Parameters, Parameter{
			Name: line(p.GetName(), maxLine), Type: p.GetType().Word(), Description: line(p.GetDescription(), maxLine),
			Allowed: lines(p.GetAllowed()), List: p.GetList(),
		})
	}
	return out
}

// destructive takes a tier that is not known for the worst.
func destructive(t valetkeyv1.Tier) bool {
	switch t {
	case valetkeyv1.Tier_TIER_READ, valetkeyv1.Tier_TIER_WRITE:
		return false
	default:
		return true
	}
}

// tierCache remembers for a minute whether anything in the catalog is destructive.
type tierCache struct {
	mu    sync.Mutex
	until time.Time // locked by mu
	worst bool      // locked by mu
}

// worst says whether access can be destructive, for the hints of the tools that
// give it. What the broker does not say is taken for the worst.
func (s *Server) worst(ctx context.Context) bool {
	s.tier.mu.Lock()
	defer s.tier.mu.Unlock()
	if time.Now().Before(s.tier.until) {
		return s.tier.worst
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	all, err := s.cfg.Client.Scopes(ctx)
	if err != nil {
		return true
	}
	s.tier.worst, s.tier.until = false, time.Now().Add(time.Minute)
	for _, x := range all {
		s.tier.worst = s.tier.worst || destructive(x.GetTier())
	}
	return s.tier.worst
}

// ExplainIn is a request to suppose.
type ExplainIn struct {
	Scope       string     `json:"scope" jsonschema:"the scope's name"`
	Parameters  Parameters `json:"parameters,omitempty" jsonschema:"the scope's parameters by name"`
	Task        string     `json:"task,omitempty" jsonschema:"the handle of an open task, for its environment"`
	Environment string     `json:"environment,omitempty" jsonschema:"the environment to suppose, such as staging; not needed with a task"`
	TTL         int64      `json:"ttl_seconds,omitempty" jsonschema:"the life wished for"`
}

// ExplainOut says what a request would give and need.
type ExplainOut struct {
	Allowed     bool     `json:"allowed" jsonschema:"whether it would be given now, without anybody's approval"`
	Needs       []Need   `json:"needs" jsonschema:"who would have to approve first"`
	Reasons     []string `json:"reasons"`
	Tier        string   `json:"tier"`
	TierReasons []string `json:"tier_reasons"`
	Destructive bool     `json:"destructive"`
	Permissions string   `json:"permissions" jsonschema:"what the credential could do, as JSON of the provider's own policy language"`
	PolicySize  int32    `json:"policy_size"`
	PolicyLimit int32    `json:"policy_limit" jsonschema:"the provider's limit in characters; 0 for none"`
	TTL         int64    `json:"ttl_seconds"`
}

func (x *session) explain(ctx context.Context, in ExplainIn) (out ExplainOut, err error) {
	said, err := x.suppose(ctx, in)
	if err != nil {
		return out, err
	}
	out = ExplainOut{
		Allowed: said.GetAllowed(), Needs: wireNeeds(said.GetNeeds()), Reasons: lines(said.GetReasons()),
		Tier: said.GetTier().Word(), TierReasons: lines(said.GetTierReasons()), Destructive: destructive(said.GetTier()),
		Permissions: block(said.GetPermissions(), maxPermissions), PolicySize: said.GetPolicySize(), PolicyLimit: said.GetPolicyLimit(),
		TTL: said.GetTtl().GetSeconds(),
	}
	if out.Needs == nil {
		out.Needs = []Need{}
	}
	return out, nil
}

func (x *session) suppose(ctx context.Context, in ExplainIn) (*valetkeyv1.ExplainScopeResponse, error) {
	params, err := in.Parameters.wire()
	if err != nil {
		return nil, err
	}
	if in.Task != "" {
		t, err := x.task(in.Task)
		if err != nil {
			return nil, err
		}
		in.Environment = t.spec.Environment
	}
	ctx, cancel := x.during(ctx, askFor)
	defer cancel()
	return x.s.cfg.Client.Explain(ctx, in.Environment, in.Scope, params, valetkey.WithTTL(seconds(in.TTL)))
}

func seconds(n int64) time.Duration { return time.Duration(min(max(n, 0), 1<<32)) * time.Second }
