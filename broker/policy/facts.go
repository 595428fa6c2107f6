package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/scopes"
)

// Subject is an agent as policies see it: what an identity.Agent says, or a table supposes.
type Subject struct {
	ID spiffeid.ID
	// Attributes come from the path template.
	Attributes map[string]string
}

// scopeFacts is what an engine keeps of a scope.
type scopeFacts struct {
	name, version  string
	provider, role string
	params         map[string]scopes.Param
	entity         types.Entity
}

func newScopeFacts(s *scopes.Scope) scopeFacts {
	f := scopeFacts{name: s.Name(), version: s.Version(), provider: string(s.Provider()), role: s.Role(), params: map[string]scopes.Param{}}
	for _, p := range s.Params() {
		f.params[p.Name] = p
	}
	return f.withEntity()
}

func (f scopeFacts) withEntity() scopeFacts {
	f.entity = types.Entity{
		UID: types.NewEntityUID(scopeType, types.String(f.name)),
		Attributes: types.NewRecord(types.RecordMap{
			attrProvider: types.String(f.provider),
			attrRole:     types.String(f.role),
		}),
	}
	return f
}

// question is what is decided on, without the evidence.
type question struct {
	subject   Subject
	wish      wish
	task      Task
	approvals map[string]int
	now       time.Time
	ttl       time.Duration
}

// wish is what is read of a scopes.Request; the zero one is refused.
type wish struct {
	scope, version string
	params         map[string][]string
	tier           scopes.Tier
	sensitiveReads []string
	ttl            time.Duration
}

func wishOf(r scopes.Request) wish {
	if !r.Valid() {
		return wish{}
	}
	return wish{
		scope: r.Scope().Name(), version: r.Scope().Version(), params: r.Params(), tier: r.Tier(),
		sensitiveReads: r.SensitiveReads(), ttl: r.TTL(),
	}
}

// facts is a question in Cedar's terms. Approvals and ttl are kept apart: the search varies them.
type facts struct {
	scope           string
	agent, resource types.Entity
	action          types.EntityUID
	context         types.RecordMap // without approvals and ttl
	groups          []string
	nobody          types.Record   // approvals of none of the groups
	approvals       map[string]int // every group, AnyGroup too
	ttl             time.Duration
}

// Get makes facts the cedar.EntityGetter of its own question.
func (f *facts) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case f.agent.UID:
		return f.agent, true
	case f.resource.UID:
		return f.resource, true
	}
	return types.Entity{}, false
}

func countsRecord(groups []string, approvals map[string]int) types.Record {
	counts := make(types.RecordMap, len(groups))
	for _, g := range groups {
		counts[types.String(g)] = types.Long(approvals[g])
	}
	return types.NewRecord(counts)
}

// request is the Cedar request with these approvals, any in them, and this life in seconds.
func (f *facts) request(approvals map[string]int, ttl int64) cedar.Request {
	f.context[ctxApprovals] = f.nobody
	if slices.ContainsFunc(f.groups, func(g string) bool { return approvals[g] != 0 }) {
		f.context[ctxApprovals] = countsRecord(f.groups, approvals)
	}
	f.context[ctxTTL] = types.Long(ttl)
	return cedar.Request{
		Principal: f.agent.UID, Action: f.action, Resource: f.resource.UID,
		Context: types.NewRecord(f.context), // copies
	}
}

func (e *Engine) factsOf(q question) (*facts, error) {
	w := q.wish
	known, ok := e.scopes[w.scope]
	switch {
	case w.scope == "":
		return nil, errors.New("no resolved request")
	case !ok || known.version != w.version:
		return nil, fmt.Errorf("scope %q is not the one these policies were checked against", w.scope)
	case w.tier == scopes.TierUnspecified:
		return nil, fmt.Errorf("request for scope %q has no tier", w.scope)
	case q.ttl <= 0 || q.ttl > w.ttl:
		return nil, fmt.Errorf("ttl %v is not within the request's %v", q.ttl, w.ttl)
	case q.now.IsZero():
		return nil, errors.New("no time to decide at")
	}
	agent, err := e.agentEntity(q.subject)
	if err != nil {
		return nil, err
	}
	params, err := paramsRecord(known.params, w.params)
	if err != nil {
		return nil, fmt.Errorf("scope %q: %w", w.scope, err)
	}
	approvals, err := e.counts(q.approvals)
	if err != nil {
		return nil, err
	}
	sensitive := make([]types.Value, len(w.sensitiveReads))
	for i, s := range w.sensitiveReads {
		sensitive[i] = types.String(s)
	}
	return &facts{
		scope: w.scope, agent: agent, resource: known.entity,
		action: types.NewEntityUID(actionType, types.String(w.scope)),
		groups: e.groups, nobody: e.nobody, approvals: approvals, ttl: q.ttl,
		context: types.RecordMap{
			ctxParams:         params,
			ctxTier:           types.String(w.tier.String()),
			ctxSensitiveReads: types.NewSet(sensitive...),
			ctxEnvironments:   e.environments.of(q.subject, w.params),
			ctxClaims:         claimsRecord(q.task),
			ctxNow:            types.NewDatetime(q.now),
		},
	}, nil
}

// saysNothing are the claims of an agent that makes none.
var saysNothing = claims(Task{})

func claimsRecord(t Task) types.Record {
	if t.Environment == "" && t.OnBehalfOf == "" {
		return saysNothing
	}
	return claims(t)
}

func claims(t Task) types.Record {
	return types.NewRecord(types.RecordMap{claimEnvironment: types.String(t.Environment), claimOnBehalfOf: types.String(t.OnBehalfOf)})
}

// agentEntity gives the policies every attribute the schema promised them, and no other.
func (e *Engine) agentEntity(s Subject) (types.Entity, error) {
	if s.ID.IsZero() {
		return types.Entity{}, errors.New("no SPIFFE ID")
	}
	attrs := types.RecordMap{
		attrTrustDomain: types.String(s.ID.TrustDomain().Name()),
		attrPath:        types.String(s.ID.Path()),
	}
	for _, a := range e.attrs {
		value, ok := s.Attributes[a.name]
		if !ok && !a.optional {
			return types.Entity{}, fmt.Errorf("agent %q lacks attribute %q that policies were checked with", s.ID, a.name)
		}
		if ok {
			attrs[types.String(a.name)] = types.String(value)
		}
	}
	return types.Entity{UID: types.NewEntityUID(agentType, types.String(s.ID.String())), Attributes: types.NewRecord(attrs)}, nil
}

// paramsRecord types the canonical parameters as the schema does.
func paramsRecord(known map[string]scopes.Param, given map[string][]string) (types.Record, error) {
	record := make(types.RecordMap, len(known))
	for name, values := range given {
		p, ok := known[name]
		if !ok {
			return types.Record{}, fmt.Errorf("unknown parameter %q", name)
		}
		typed := make([]types.Value, len(values))
		for i, v := range values {
			typed[i] = types.String(v)
			if p.Type != scopes.TypeInteger {
				continue
			}
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return types.Record{}, fmt.Errorf("parameter %q: %w", name, err)
			}
			typed[i] = types.Long(n)
		}
		switch {
		case p.List:
			record[types.String(name)] = types.NewSet(typed...)
		case len(typed) == 1:
			record[types.String(name)] = typed[0]
		default:
			return types.Record{}, fmt.Errorf("parameter %q: %d values where one is taken", name, len(typed))
		}
	}
	if len(record) != len(known) {
		return types.Record{}, fmt.Errorf("%d of %d parameters", len(record), len(known))
	}
	return types.NewRecord(record), nil
}

// counts fills every group. Groups that no policy can count are left out, but their people are people.
func (e *Engine) counts(given map[string]int) (map[string]int, error) {
	out := make(map[string]int, len(e.groups))
	for _, g := range e.groups {
		out[g] = given[g]
	}
	people, counted := given[AnyGroup]
	for g, n := range given {
		if n < 0 || counted && n > people {
			return nil, fmt.Errorf("%d approvals of group %q by %d people", n, g, people)
		}
		out[AnyGroup] = max(out[AnyGroup], n)
	}
	return out, nil
}
