package iam

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// principalTypes are what a Principal may name; "*" is everybody
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html). Read-only.
var principalTypes = []string{"*", "AWS", "CanonicalUser", "Federated", "Service"}

// Validate says what is wrong with the policy's form. A policy may be only Denies, and may have principals.
func (p Policy) Validate() error {
	_, err := p.compile()
	return err
}

// ValidateSession is Validate for a session policy: it has no principals and it allows something (ErrEmpty otherwise).
func (p Policy) ValidateSession() error {
	allows := false
	for i, s := range p.Statements {
		if s.hasPrincipal() {
			return fmt.Errorf("checking statement %d: %w", i+1, errPrincipal)
		}
		allows = allows || s.Effect == Allow
	}
	if !allows {
		return ErrEmpty
	}
	return p.Validate()
}

func (s Statement) hasPrincipal() bool { return len(s.Principal) > 0 || len(s.NotPrincipal) > 0 }

// statementError says which statement is wrong, so that Parse can say where it is.
type statementError struct {
	index int // from 0
	err   error
}

func (e *statementError) Error() string {
	return fmt.Sprintf("checking statement %d: %v", e.index+1, e.err)
}
func (e *statementError) Unwrap() error { return e.err }

// compile checks the policy and returns its statements ready to be matched. Their ref has no policy and their layer is
// zero.
func (p Policy) compile() ([]statement, error) {
	if p.Version != "" && p.Version != Version && p.Version != Version2008 {
		return nil, fmt.Errorf("%w: version %q is neither %q nor %q", ErrPolicy, p.Version, Version, Version2008)
	}
	if !utf8.ValidString(p.ID) {
		return nil, fmt.Errorf("%w: the Id is not UTF-8", ErrPolicy)
	}
	if len(p.Statements) == 0 {
		return nil, ErrEmpty
	}
	out := make([]statement, 0, len(p.Statements))
	var sids map[string]bool
	for i, s := range p.Statements {
		c, err := s.compile(p.Version != Version2008)
		if err == nil && sids[s.Sid] {
			err = fmt.Errorf("%w: a statement before it has the Sid %q too", ErrPolicy, s.Sid)
		}
		if err != nil {
			return nil, &statementError{i, err}
		}
		if s.Sid != "" {
			if sids == nil {
				sids = make(map[string]bool, len(p.Statements))
			}
			sids[s.Sid] = true
		}
		c.ref = Ref{Index: i, Sid: s.Sid, Effect: s.Effect}
		out = append(out, c)
	}
	return out, nil
}

func (s Statement) compile(variables bool) (statement, error) {
	c := statement{deny: s.Effect == Deny, notAction: len(s.NotAction) > 0, notResource: len(s.NotResource) > 0}
	if err := s.check(); err != nil {
		return c, err
	}
	// One of each pair is empty.
	c.actions = make([]pattern, 0, len(s.Action)+len(s.NotAction))
	for _, list := range [][]string{s.Action, s.NotAction} {
		for _, a := range list {
			c.actions = append(c.actions, actionPattern(a))
		}
	}
	c.resources = make([]pattern, 0, len(s.Resource)+len(s.NotResource))
	for _, list := range [][]string{s.Resource, s.NotResource} {
		for _, r := range list {
			p, err := resourcePattern(r, variables)
			if err != nil {
				return c, err
			}
			c.resources = append(c.resources, p)
		}
	}
	var err error
	c.conditions, err = compileCondition(s.Condition, variables)
	return c, err
}

// check refuses what is missing, there twice, or not text.
func (s Statement) check() error {
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
	for _, list := range [][]string{s.Action, s.NotAction, s.Resource, s.NotResource} {
		for _, v := range list {
			if v == "" || !utf8.ValidString(v) {
				return fmt.Errorf("%w: action or resource %q is empty or not UTF-8", ErrPolicy, v)
			}
		}
	}
	for _, m := range []map[string][]string{s.Principal, s.NotPrincipal} {
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
