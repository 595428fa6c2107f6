package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/verdict"
)

// ErrRequest is the parent of every refusal of a Request.
var ErrRequest = verdict.ErrRequest

// Request is one call to AWS, as the policies see it.
type Request struct {
	Action   string `json:"action"`   // "s3:GetObject"; case does not count
	Resource string `json:"resource"` // a whole ARN, or "*" for an action that takes no resource
	// Context has the condition keys, compared case-insensitively. A key with no values is present and empty. Values are
	// text: dates are ISO 8601 or seconds since 1970, and bytes are base64.
	Context map[string][]string `json:"context,omitempty"`
}

// String is the request on one line: "s3:GetObject on arn:aws:s3:::b/x with aws:username=ann".
func (r Request) String() string {
	out := r.Action + " on " + r.Resource
	glue := " with "
	for _, k := range slices.Sorted(maps.Keys(r.Context)) {
		out += glue + k + "=" + strings.Join(r.Context[k], ",")
		glue = " "
	}
	return out
}

// Verdict is what the policies say. The zero value is ImplicitDeny.
type Verdict = verdict.Verdict

// The verdicts.
const (
	ImplicitDeny = verdict.ImplicitDeny // some layer does not allow it, none denies it
	Allowed      = verdict.Allowed      // every layer allows it, none denies it
	ExplicitDeny = verdict.ExplicitDeny // a Deny matches
)

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

// String counts from 1: "identity[0] statement 1 (Sid)".
func (r Ref) String() string {
	out := fmt.Sprintf("%s statement %d", r.Policy, r.Index+1)
	if r.Sid != "" {
		out += " (" + r.Sid + ")"
	}
	return out
}

// Decision is a verdict and what it rests on.
type Decision struct {
	Verdict    Verdict `json:"verdict"`
	Statements []Ref   `json:"statements"`      // the Denies that match; where allowed, the Allows that match in each layer; else empty, not nil
	Layer      string  `json:"layer,omitempty"` // for ImplicitDeny, the first layer that does not allow it; else empty

	// Doubts are the statements of which AWS's pages leave open whether they match: Denies that count among Statements,
	// and Allows that do not count. Empty where the verdict is sure.
	Doubts []Ref `json:"doubts,omitempty"`
}

// String says on one line what was decided, and by what.
func (d Decision) String() string {
	if d.Verdict == ImplicitDeny {
		return fmt.Sprintf("%s: no statement of the %s allows it", d.Verdict, map[string]string{
			LayerIdentity: "identity policies", LayerBoundary: "boundary", LayerSession: "session policy",
		}[d.Layer])
	}
	var by []string
	for _, r := range d.Statements {
		by = append(by, r.String())
	}
	return fmt.Sprintf("%s by %s", d.Verdict, strings.Join(by, ", "))
}

// Allows evaluates one request. It is Compile and Evaluator.Allows in one; to ask more than once, keep the Evaluator.
// The session policy and the boundary may be nil, which is none.
func Allows(d Dialect, identity []Policy, session, boundary *Policy, r Request) (Decision, error) {
	e, err := Compile(d, identity, session, boundary)
	if err != nil {
		return Decision{}, err
	}
	return e.Allows(r)
}

// Evaluator is a set of policies ready to be asked. It never changes and is safe for concurrent use. The zero value
// allows nothing.
type Evaluator struct {
	semantics
	statements []statement
	layers     []string // in AWS's order; a statement has its layer by index
	context    bool     // whether some statement looks at the context
}

// semantics is whose reading of policies an evaluator has.
type semantics struct {
	dialect Dialect
	server  *server // the dialect's; nil for AWS
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
	variables   bool // some resource has one
	invalid     bool // in a search for a witness: a variable has no value, so that AWS may not count the statement
	conditions  []atom
}

// Compile prepares policies for evaluation in AWS's order: an explicit Deny in any of them wins; then the identity
// policies (as one union), the boundary and the session policy must each allow
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html). Organisation policies and
// resource policies are not looked at: a request that this allows may still be denied by the former, and one that it
// implicitly denies may still be allowed by the latter.
//
// The error says which policy Validate refuses, or which has a principal.
func Compile(d Dialect, identity []Policy, session, boundary *Policy) (*Evaluator, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	e := &Evaluator{semantics: semantics{d, d.server()}, layers: []string{LayerIdentity}}
	for i, p := range identity {
		if err := e.add(fmt.Sprintf("%s[%d]", LayerIdentity, i), p, kindIdentity); err != nil {
			return nil, err
		}
	}
	for _, l := range []struct {
		name   string
		policy *Policy
		kind   kind
	}{{LayerBoundary, boundary, kindIdentity}, {LayerSession, session, kindSession}} {
		if l.policy == nil {
			continue
		}
		e.layers = append(e.layers, l.name)
		if err := e.add(l.name, *l.policy, l.kind); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Evaluator) add(name string, p Policy, k kind) error {
	compiled, err := p.compile(k)
	if err == nil {
		err = e.dialect.models(p)
	}
	if err != nil {
		return fmt.Errorf("compiling policy %s: %w", name, err)
	}
	for i := range compiled {
		if p.Statements[i].hasPrincipal() {
			return fmt.Errorf("compiling policy %s: checking statement %d: %w", name, i+1, errPrincipal)
		}
		s := &compiled[i]
		e.server.adapt(s)
		s.ref.Policy, s.layer = name, len(e.layers)-1
		e.context = e.context || s.usesContext()
	}
	if e.statements == nil {
		e.statements = compiled
	} else {
		e.statements = append(e.statements, compiled...)
	}
	return nil
}

func (s *statement) usesContext() bool {
	return len(s.conditions) > 0 || s.variables
}

// Allows evaluates one request, as what its action and resource are to the dialect's enforcer when it checks a call; what
// a call is checked as is Can's business. The error wraps ErrRequest and says what is wrong with the request, or ErrDialect,
// where the enforcer has no such action or nobody knows: take it as a deny.
func (e *Evaluator) Allows(r Request) (Decision, error) {
	if err := r.validate(); err != nil {
		return Decision{}, err
	}
	if e.server != nil {
		if err := e.dialect.knows(r); err != nil {
			return Decision{}, err
		}
	}
	var room [16]entry
	var env environment
	if e.context {
		var err error
		if env, err = newEnvironment(room[:0], r.Context); err != nil {
			return Decision{}, err
		}
	}
	d, _ := e.decide(r, &env)
	return d, nil
}

// decide evaluates a request that has been checked. Beside the decision, which is on the safe side of what is unsure, it
// tells whether the request is allowed.
func (e *Evaluator) decide(r Request, env *environment) (Decision, answer) {
	r.Resource = e.server.resource(r.Resource)
	var d Decision
	var sure, perhaps uint // layers that allow, by bit
	denied := no
	var allows, denies []Ref // that are unsure
	for i := range e.statements {
		s := &e.statements[i]
		// Once a Deny has matched, only Denies are of interest.
		if denied == yes && !s.deny {
			continue
		}
		m := s.matches(&r, env)
		switch {
		case m == no:
		case s.deny && m == unsure:
			denied = denied.or(m)
			denies = append(denies, s.ref)
		case s.deny:
			if denied != yes {
				d, denied = Decision{Verdict: ExplicitDeny}, yes
			}
			d.note(s.ref)
		case m == yes:
			sure |= 1 << s.layer
			d.note(s.ref)
		default:
			perhaps |= 1 << s.layer
			allows = append(allows, s.ref)
		}
	}
	out, layer := yes, ""
	for i, name := range e.layers {
		is := no
		if sure>>i&1 == 1 {
			is = yes
		} else if perhaps>>i&1 == 1 {
			is = unsure
		}
		if out = out.and(is); layer == "" && !is.sure() {
			layer = name
		}
	}
	if len(e.layers) == 0 {
		out, layer = no, LayerIdentity
	}
	out = out.and(denied.not())
	switch {
	case denied == yes:
	case denied == unsure:
		d = Decision{Verdict: ExplicitDeny, Statements: denies, Doubts: denies}
	case layer != "":
		d = Decision{Layer: layer, Statements: []Ref{}}
		if out == unsure {
			d.Doubts = allows
		}
	default:
		d.Verdict = Allowed
	}
	return d, out
}

// note adds a statement. Few of them match most requests.
func (d *Decision) note(r Ref) {
	if d.Statements == nil {
		d.Statements = make([]Ref, 0, 2)
	}
	d.Statements = append(d.Statements, r)
}

// may tells whether the request is allowed. A malformed one is not.
func (e *Evaluator) may(r Request) answer {
	if r.validate() != nil {
		return no
	}
	env, err := newEnvironment(nil, r.Context)
	if err != nil {
		return no
	}
	_, out := e.decide(r, &env)
	return out
}

// validate refuses what no call to AWS looks like.
func (r *Request) validate() error {
	colon := strings.IndexByte(r.Action, ':')
	switch {
	case colon <= 0 || colon == len(r.Action)-1 || strings.IndexByte(r.Action, '*') >= 0 || strings.IndexByte(r.Action, '?') >= 0:
		return fmt.Errorf("%w: action %q is not one service:Action", ErrRequest, r.Action)
	case r.Resource != "*" && !isARN(r.Resource):
		return fmt.Errorf(`%w: resource %q is neither "*", as for an action that takes none, nor a whole ARN such as arn:aws:s3:::bucket/key`,
			ErrRequest, r.Resource)
	}
	return nil
}

// matches tells whether the statement is about the request.
func (s *statement) matches(r *Request, env *environment) answer {
	if s.takes(r.Action) {
		out := s.reaches(r.Resource, env)
		for i := range s.conditions {
			if out == no {
				break
			}
			out = out.and(s.conditions[i].holds(env))
		}
		return out
	}
	return no
}

// takes tells whether the statement's action element has an action.
func (s *statement) takes(action string) bool {
	for i := range s.actions {
		if s.actions[i].takes(action) {
			return !s.notAction
		}
	}
	return s.notAction
}

// reaches tells whether the statement's resource element has a resource.
//
// NOTE: Where AWS cannot resolve a variable, "this might cause the entire statement to be invalid"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html, the Note at its head), though a
// variable without a value "will not match any resource" (there, "Policy variables with no value"). So a statement with
// one is unsure where another resource of it matches, or where its NotResource does not.
func (s *statement) reaches(resource string, env *environment) answer {
	out, invalid := no, false
	for i := range s.resources {
		a, r := s.resources[i].match(resource, env)
		out = out.or(a)
		invalid = invalid || r >= unresolved
		if a == yes && !s.variables {
			break
		}
	}
	if s.notResource {
		out = out.not()
	}
	if invalid {
		out = out.and(unsure)
	}
	return out
}
