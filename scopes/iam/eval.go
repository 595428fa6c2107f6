package iam

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrRequest is the parent of every refusal of a Request.
var ErrRequest = errors.New("invalid request to evaluate")

// Request is one call to AWS, as the policies see it.
type Request struct {
	Action   string // "s3:GetObject"; case does not count
	Resource string // an ARN, or "*" for an action that takes no resource
	// Context has the condition keys, compared case-insensitively. A key with no values is present and empty. Values are
	// text: dates are ISO 8601 or seconds since 1970, and bytes are base64.
	Context map[string][]string
}

// Verdict is what the policies say. The zero value is ImplicitDeny.
type Verdict int

// The verdicts.
const (
	ImplicitDeny Verdict = iota // some layer does not allow it, none denies it
	Allowed                     // every layer allows it, none denies it
	ExplicitDeny                // a Deny matches
)

// String returns "implicit_deny", "allow" or "explicit_deny".
func (v Verdict) String() string {
	switch v {
	case Allowed:
		return "allow"
	case ExplicitDeny:
		return "explicit_deny"
	default:
		return "implicit_deny"
	}
}

// MarshalText is String.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what String returns.
func (v *Verdict) UnmarshalText(b []byte) error {
	for _, known := range []Verdict{ImplicitDeny, Allowed, ExplicitDeny} {
		if known.String() == string(b) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("%w: unknown verdict %q", ErrRequest, b)
}

// The layers of an evaluation, as Decision.Layer and Ref.Policy name them.
const (
	LayerIdentity = "identity" // in Ref.Policy with the policy's index: "identity[0]"
	LayerBoundary = "boundary"
	LayerSession  = "session"
)

// Ref names one statement.
type Ref struct {
	Policy string `json:"policy"` // "identity[0]", "boundary" or "session"
	Index  int    `json:"index"`  // which statement, from 0
	Sid    string `json:"sid"`    // empty where it has none
	Effect string `json:"effect"` // Allow or Deny
}

// Decision is a verdict and what it rests on.
type Decision struct {
	Verdict    Verdict `json:"verdict"`
	Statements []Ref   `json:"statements"`      // the Denies that match; where allowed, the Allows that match in each layer; else empty, not nil
	Layer      string  `json:"layer,omitempty"` // for ImplicitDeny, the first layer that does not allow it; else empty
}

// Allows evaluates one request. It is Compile and Evaluator.Allows in one; to ask more than once, keep the Evaluator.
// The session policy and the boundary may be nil, which is none.
func Allows(identity []Policy, session, boundary *Policy, r Request) (Decision, error) {
	e, err := Compile(identity, session, boundary)
	if err != nil {
		return Decision{}, err
	}
	return e.Allows(r)
}

// Evaluator is a set of policies ready to be asked. It never changes and is safe for concurrent use. The zero value
// allows nothing.
type Evaluator struct {
	statements []statement
	layers     []string // in AWS's order; a statement has its layer by index
	context    bool     // whether some statement looks at the context
}

// statement is one compiled statement.
type statement struct {
	ref         Ref
	layer       int
	deny        bool
	notAction   bool // actions are NotAction's
	notResource bool // resources are NotResource's
	actions     []pattern
	resources   []pattern
	conditions  []atom
}

// Compile prepares policies for evaluation in AWS's order: an explicit Deny in any of them wins; then the identity
// policies (as one union), the boundary and the session policy must each allow
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html). Organisation policies and
// resource policies are not looked at: a request that this allows may still be denied by the former, and one that it
// implicitly denies may still be allowed by the latter.
//
// The error says which policy Validate refuses, or which has a principal.
func Compile(identity []Policy, session, boundary *Policy) (*Evaluator, error) {
	e := &Evaluator{layers: []string{LayerIdentity}}
	for i, p := range identity {
		if err := e.add(fmt.Sprintf("%s[%d]", LayerIdentity, i), p); err != nil {
			return nil, err
		}
	}
	for _, l := range []struct {
		name   string
		policy *Policy
	}{{LayerBoundary, boundary}, {LayerSession, session}} {
		if l.policy == nil {
			continue
		}
		e.layers = append(e.layers, l.name)
		if err := e.add(l.name, *l.policy); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Evaluator) add(name string, p Policy) error {
	compiled, err := p.compile()
	if err != nil {
		return fmt.Errorf("compiling policy %s: %w", name, err)
	}
	for i, s := range compiled {
		if p.Statements[i].hasPrincipal() {
			return fmt.Errorf("compiling policy %s: checking statement %d: %w", name, i+1, errPrincipal)
		}
		s.ref.Policy, s.layer = name, len(e.layers)-1
		e.context = e.context || s.usesContext()
		e.statements = append(e.statements, s)
	}
	return nil
}

func (s *statement) usesContext() bool {
	return len(s.conditions) > 0 || slices.ContainsFunc(s.resources, func(p pattern) bool { return p.vars })
}

// Allows evaluates one request. The error wraps ErrRequest and says what is wrong with the request: take it as a deny.
func (e *Evaluator) Allows(r Request) (Decision, error) {
	if err := r.validate(); err != nil {
		return Decision{}, err
	}
	var room [16]entry
	var env environment
	if e.context {
		var err error
		if env, err = newEnvironment(room[:0], r.Context); err != nil {
			return Decision{}, err
		}
	}
	var d Decision
	allowed := uint(0) // a bit for each layer
	for i := range e.statements {
		s := &e.statements[i]
		// Once a Deny has matched, only Denies are of interest.
		if (d.Verdict == ExplicitDeny && !s.deny) || !s.matches(&r, &env) {
			continue
		}
		if s.deny && d.Verdict != ExplicitDeny {
			d = Decision{Verdict: ExplicitDeny}
		}
		d.Statements = append(d.Statements, s.ref)
		allowed |= 1 << s.layer
	}
	if d.Verdict == ExplicitDeny {
		return d, nil
	}
	for i, layer := range e.layers {
		if allowed>>i&1 == 0 {
			return Decision{Layer: layer, Statements: []Ref{}}, nil
		}
	}
	if len(e.layers) == 0 {
		return Decision{Layer: LayerIdentity, Statements: []Ref{}}, nil
	}
	d.Verdict = Allowed
	return d, nil
}

// validate refuses what no call to AWS looks like.
func (r *Request) validate() error {
	service, name, ok := strings.Cut(r.Action, ":")
	switch {
	case !ok || service == "" || name == "" || strings.ContainsAny(r.Action, "*?"):
		return fmt.Errorf("%w: action %q is not one service:Action", ErrRequest, r.Action)
	case r.Resource == "":
		return fmt.Errorf(`%w: no resource; an action that takes none has "*"`, ErrRequest)
	}
	return nil
}

func (s *statement) matches(r *Request, env *environment) bool {
	if matchAny(s.actions, r.Action, env) == is(s.notAction) {
		return false
	}
	switch matchAny(s.resources, r.Resource, env) {
	case yes:
		if s.notResource {
			return false
		}
	case unsure:
		// A variable with several values is no variable to AWS, so it takes no resource. That makes NotResource
		// wider, which only a Deny may use.
		if !s.notResource || !s.deny {
			return false
		}
	default:
		if !s.notResource {
			return false
		}
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(env, s.deny) {
			return false
		}
	}
	return true
}

// matchAny is the best answer of the patterns.
func matchAny(ps []pattern, text string, env *environment) answer {
	best := no
	for i := range ps {
		switch ps[i].match(text, env) {
		case yes:
			return yes
		case unsure:
			best = unsure
		default:
		}
	}
	return best
}
