package iam

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// principalTypes are what a Principal may name; "*" is everybody
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html). Read-only.
var principalTypes = []string{"*", "AWS", "CanonicalUser", "Federated", "Service"}

// Validate says what is wrong with the policy's form, as AWS would of an identity policy or of one with principals. A
// policy may be only Denies.
func (p Policy) Validate() error {
	k := kindIdentity
	for i := range p.Statements {
		if p.Statements[i].hasPrincipal() {
			k = kindResource
		}
	}
	return p.check(k)
}

// ValidateSession is Validate for a session policy: it has no principals, its ARNs are whole, and it allows something
// (ErrEmpty otherwise).
func (p Policy) ValidateSession() error {
	allows := false
	for i := range p.Statements {
		if p.Statements[i].hasPrincipal() {
			return fmt.Errorf("checking statement %d: %w", i+1, errPrincipal)
		}
		allows = allows || p.Statements[i].Effect == Allow
	}
	if !allows {
		return ErrEmpty
	}
	return p.check(kindSession)
}

func (s *Statement) hasPrincipal() bool { return len(s.Principal) > 0 || len(s.NotPrincipal) > 0 }

// statementError says which statement is wrong, so that Parse can say where it is.
type statementError struct {
	index int // from 0
	err   error
}

func (e *statementError) Error() string {
	return fmt.Sprintf("checking statement %d: %v", e.index+1, e.err)
}
func (e *statementError) Unwrap() error { return e.err }

// check refuses what compile refuses, with the same error, and builds nothing.
func (p *Policy) check(k kind) error {
	return p.each(k, func(_ int, s *Statement, variables bool) error { return s.check(variables, k) })
}

// compile checks the policy and returns its statements ready to be matched. Their ref has no policy and their layer is
// zero.
func (p *Policy) compile(k kind) ([]statement, error) {
	out := make([]statement, len(p.Statements))
	var mem memory
	mem.room(p)
	err := p.each(k, func(i int, s *Statement, variables bool) error {
		if err := s.compile(&out[i], &mem, variables, k); err != nil {
			return err
		}
		out[i].ref = Ref{Index: i, Sid: s.Sid, Effect: s.Effect}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each calls one for every statement, and checks what is not of one statement alone.
func (p *Policy) each(k kind, one func(i int, s *Statement, variables bool) error) error {
	if p.Version != "" && p.Version != Version && p.Version != Version2008 {
		return fmt.Errorf("%w: version %q is neither %q nor %q", ErrPolicy, p.Version, Version, Version2008)
	}
	if !utf8.ValidString(p.ID) {
		return fmt.Errorf("%w: the Id is not UTF-8", ErrPolicy)
	}
	if len(p.Statements) == 0 {
		return ErrEmpty
	}
	var sids map[string]bool
	for i := range p.Statements {
		s := &p.Statements[i]
		err := one(i, s, p.Version != Version2008)
		if err == nil && sids[s.Sid] && k != kindResource {
			err = fmt.Errorf("%w: a statement before it has the Sid %q too", ErrPolicy, s.Sid)
		}
		if err != nil {
			return &statementError{i, err}
		}
		if s.Sid != "" {
			if sids == nil {
				sids = make(map[string]bool, len(p.Statements))
			}
			sids[s.Sid] = true
		}
	}
	return nil
}

func (s *Statement) check(variables bool, k kind) error {
	if err := s.form(); err != nil {
		return err
	}
	// One of each pair is empty.
	for _, list := range [...][]string{s.Action, s.NotAction} {
		for _, a := range list {
			if err := checkAction(a); err != nil {
				return err
			}
		}
	}
	for _, list := range [...][]string{s.Resource, s.NotResource} {
		for _, r := range list {
			if err := checkResource(r, variables, k); err != nil {
				return err
			}
		}
	}
	return checkCondition(s.Condition, variables, k)
}

// compile is check that fills in what the statement is compiled to.
func (s *Statement) compile(c *statement, mem *memory, variables bool, k kind) error {
	c.deny, c.notAction, c.notResource = s.Effect == Deny, len(s.NotAction) > 0, len(s.NotResource) > 0
	if err := s.form(); err != nil {
		return err
	}
	// One of each pair is empty.
	c.actions = mem.patterns(len(s.Action) + len(s.NotAction))
	for _, list := range [...][]string{s.Action, s.NotAction} {
		for i, a := range list {
			if err := checkAction(a); err != nil {
				return err
			}
			mem.actionPattern(&c.actions[i], a)
		}
	}
	c.resources = mem.patterns(len(s.Resource) + len(s.NotResource))
	for _, list := range [...][]string{s.Resource, s.NotResource} {
		for i, r := range list {
			p := &c.resources[i]
			if err := mem.resourcePattern(p, r, variables, k); err != nil {
				return err
			}
			c.variables = c.variables || p.vars
		}
	}
	var err error
	c.conditions, err = compileCondition(s.Condition, variables, k)
	return err
}

// form refuses what is missing, there twice, or not text.
func (s *Statement) form() error {
	switch {
	case s.Effect != Allow && s.Effect != Deny:
		return fmt.Errorf("%w: effect %q is neither %q nor %q", ErrPolicy, s.Effect, Allow, Deny)
	case !utf8.ValidString(s.Sid):
		return fmt.Errorf("%w: the Sid is not UTF-8", ErrPolicy)
	case (len(s.Action) == 0) == (len(s.NotAction) == 0):
		return fmt.Errorf("%w: needs exactly one of Action and NotAction", ErrPolicy)
	case len(s.Resource) > 0 && len(s.NotResource) > 0,
		len(s.Resource) == 0 && len(s.NotResource) == 0 && !s.hasPrincipal():
		return fmt.Errorf("%w: needs exactly one of Resource and NotResource", ErrPolicy)
	case len(s.Principal) > 0 && len(s.NotPrincipal) > 0:
		return fmt.Errorf("%w: has both Principal and NotPrincipal", ErrPolicy)
	}
	for _, list := range [...][]string{s.Action, s.NotAction, s.Resource, s.NotResource} {
		for _, v := range list {
			if v == "" || !utf8.ValidString(v) {
				return fmt.Errorf("%w: action or resource %q is empty or not UTF-8", ErrPolicy, v)
			}
		}
	}
	for _, m := range [...]map[string][]string{s.Principal, s.NotPrincipal} {
		if err := checkPrincipal(m); err != nil {
			return err
		}
	}
	return nil
}

func checkPrincipal(m map[string][]string) error {
	for kind, vs := range m {
		if !slices.Contains(principalTypes, kind) {
			return fmt.Errorf("%w: unknown type of principal %q", ErrPolicy, kind)
		}
		if kind == "*" && (len(m) > 1 || !slices.Equal(vs, []string{"*"})) {
			return fmt.Errorf(`%w: the principal "*" stands alone`, ErrPolicy)
		}
		if len(vs) == 0 || slices.Contains(vs, "") || slices.ContainsFunc(vs, func(v string) bool { return !utf8.ValidString(v) }) {
			return fmt.Errorf("%w: principal %q has no values, an empty one, or one that is not UTF-8", ErrPolicy, kind)
		}
	}
	return nil
}
