package iam

import (
	_ "embed" // for the table
	"fmt"
	"slices"
	"strings"
)

// Call is one S3 call, and what an S3-compatible server checks it as. It was found out by calling: the table in
// testdata/s3calls has what was tried, and `make generate-s3calls` makes both again.
type Call struct {
	Name   string    // "GetObject of a version"
	Action string    // what AWS checks it as, and so what people call it
	Any    [][]Check // it passes where one of these lists is allowed whole
}

// Check is one question that a server asks of its policies.
type Check struct {
	Action string
	On     Form
}

// Form is what of a call a check is about.
type Form string

// The forms.
const (
	FormNone   Form = "none"   // a call on no bucket
	FormBucket Form = "bucket" // the call's bucket
	FormObject Form = "object" // the call's object
	FormSource Form = "source" // the object that is copied from
)

//go:embed s3calls.txt
var callsText string

// table is what is known of one server.
type table struct {
	tried   string   // the server's version
	actions []string // that its policies may name; sorted
	calls   []Call
}

// tables are the servers' tables; read-only.
var tables = mustTables(callsText)

// mustTables is parseTables for the file that is part of the program.
func mustTables(text string) map[Dialect]*table {
	t, err := parseTables(text)
	if err != nil {
		panic("iam: " + err.Error()) //nolint:forbidigo // Must*
	}
	return t
}

// parseTables reads lines of "DIALECT tried VERSION", "DIALECT action NAME" and
// "DIALECT call ACTION NAME = ACTION@FORM & ACTION@FORM | ACTION@FORM", where a name has "_" for spaces.
func parseTables(text string) (map[Dialect]*table, error) {
	out := map[Dialect]*table{}
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		bad := fmt.Errorf("s3calls.txt:%d: %q", i+1, line)
		if len(f) < 3 || Dialect(f[0]).server() == nil {
			return nil, bad
		}
		t := out[Dialect(f[0])]
		if t == nil {
			t = &table{}
			out[Dialect(f[0])] = t
		}
		switch {
		case f[1] == "tried":
			t.tried = strings.Join(f[2:], " ")
		case f[1] == "action" && len(f) == 3:
			t.actions = append(t.actions, f[2])
		case f[1] == "call" && len(f) > 5 && f[4] == "=":
			c := Call{Action: f[2], Name: strings.ReplaceAll(f[3], "_", " ")}
			for _, way := range strings.Split(strings.Join(f[5:], ""), "|") {
				var checks []Check
				for _, one := range strings.Split(way, "&") {
					action, on, ok := strings.Cut(one, "@")
					if !ok {
						return nil, bad
					}
					checks = append(checks, Check{action, Form(on)})
				}
				c.Any = append(c.Any, checks)
			}
			t.calls = append(t.calls, c)
		default:
			return nil, bad
		}
	}
	return out, nil
}

// Actions returns the S3 actions that policies of the dialect may name, sorted; none for AWS, which has a catalogue.
func (d Dialect) Actions() []string {
	if t := tables[d]; t != nil {
		return slices.Clone(t.actions)
	}
	return nil
}

// Calls returns the S3 calls that were tried on the dialect's server, and how it checks them; none for AWS.
func (d Dialect) Calls() []Call {
	if t := tables[d]; t != nil {
		return slices.Clone(t.calls)
	}
	return nil
}

// Tried returns the version of the server that the dialect's table is of; empty for AWS.
func (d Dialect) Tried() string {
	if t := tables[d]; t != nil {
		return t.tried
	}
	return ""
}

// knows refuses an action that the dialect's server does not have, or that was not tried.
func (d Dialect) knows(r Request) error {
	t := tables[d]
	if t == nil || slices.ContainsFunc(t.actions, func(a string) bool { return strings.EqualFold(a, r.Action) }) {
		return nil
	}
	return fmt.Errorf("%w: dialect %q: action %q", ErrDialect, d, r.Action)
}

// Ability is whether a caller can do something, which is more than what a policy says of it: servers check some calls
// as another action than AWS does, and some believe the caller.
type Ability struct {
	Answer Answer // Unknown where the dialect does not model the action
	Why    string // for Unknown and for what the policy alone does not show; else empty

	// Decision is of the check that decided: the first that is allowed, or the last that is not.
	Decision Decision
	Checked  Request // that check
}

// Can tells whether the caller can do what AWS calls r.Action on r.Resource: where the dialect's server checks it
// otherwise, as that server does. A Yes of a server that believes the caller's headers says so in Why. The error wraps
// ErrRequest.
func (e *Evaluator) Can(r Request) (Ability, error) {
	if err := r.validate(); err != nil {
		return Ability{}, err
	}
	if !e.dialect.S3() {
		d, err := e.Allows(r)
		out := Ability{Answer: No, Decision: d, Checked: r}
		switch {
		case d.Verdict == Allowed:
			out.Answer = Yes
		case len(d.Doubts) > 0:
			out.Answer, out.Why = Unknown, fmt.Sprintf("AWS's pages leave open whether statement %d matches", d.Doubts[0].Index+1)
		}
		return out, err
	}
	var calls []Call
	for _, c := range e.dialect.Calls() {
		if strings.EqualFold(c.Action, r.Action) && !c.copies() {
			calls = append(calls, c)
		}
	}
	if len(calls) == 0 {
		return Ability{Why: fmt.Sprintf("nobody has tried how %s checks %s", e.dialect.Tried(), r.Action)}, nil
	}
	out, err := e.canAny(calls, r)
	if err != nil || out.Answer == Yes || !e.dialect.Believes() {
		return out, err
	}
	free, err := e.unconditional().canAny(calls, r)
	if err == nil && free.Answer == Yes {
		free.Why = fmt.Sprintf("a condition stands against it, and %s takes the condition's value from a header that the caller writes", e.dialect.Tried())
		return free, nil
	}
	return out, err
}

// copies tells whether the call has a second object, which no Request names.
func (c Call) copies() bool {
	for _, way := range c.Any {
		if slices.ContainsFunc(way, func(k Check) bool { return k.On == FormSource }) {
			return true
		}
	}
	return false
}

func (e *Evaluator) canAny(calls []Call, r Request) (Ability, error) {
	out := Ability{Answer: No}
	var misfit error // a check of a bucket, say, where the request names none
	for _, c := range calls {
	ways:
		for _, way := range c.Any {
			var last Ability
			for _, check := range way {
				q, err := check.of(r)
				if err != nil {
					misfit = err
					continue ways
				}
				d, err := e.Allows(q)
				if err != nil {
					return Ability{}, err
				}
				last = Ability{Decision: d, Checked: q}
				if d.Verdict != Allowed {
					out.Decision, out.Checked = d, q
					continue ways
				}
			}
			last.Answer = Yes
			if check := last.Checked.Action; !strings.EqualFold(check, r.Action) {
				last.Why = fmt.Sprintf("%s checks %s as %s", e.dialect.Tried(), c.Name, check)
			}
			return last, nil
		}
	}
	if out.Checked.Action == "" { // none was asked
		return Ability{}, misfit
	}
	return out, nil
}

// of is the check for one request.
func (c Check) of(r Request) (Request, error) {
	r.Action = c.Action
	bucket, key, isObject := strings.Cut(strings.TrimPrefix(r.Resource, s3Prefix), "/")
	if !strings.HasPrefix(r.Resource, s3Prefix) {
		bucket = ""
	}
	switch c.On {
	case FormNone:
		r.Resource = "*"
	case FormBucket:
		if bucket == "" {
			return r, fmt.Errorf("%w: %q is no bucket", ErrRequest, r.Resource)
		}
		r.Resource = s3Prefix + bucket
	default:
		if bucket == "" || !isObject || key == "" {
			return r, fmt.Errorf("%w: %q is no object", ErrRequest, r.Resource)
		}
	}
	return r, nil
}

// unconditional is what is left where the caller has every condition as it wants: Allows without theirs, and no Deny
// that has one.
func (e *Evaluator) unconditional() *Evaluator {
	out := &Evaluator{semantics: e.semantics, layers: e.layers}
	for _, s := range e.statements {
		if s.deny && len(s.conditions) > 0 {
			continue
		}
		s.conditions = nil
		out.statements = append(out.statements, s)
	}
	return out
}
