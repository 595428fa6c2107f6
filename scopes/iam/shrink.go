package iam

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrTooLong says that a policy does not fit, however it is written. It wraps ErrPolicy.
var ErrTooLong = fmt.Errorf("%w: too long", ErrPolicy)

// Report is what Shrink did and what the result costs, in characters of the canonical text.
type Report struct {
	Before int      `json:"before"`
	After  int      `json:"after"`
	Steps  []Step   `json:"steps"`
	Parts  []Part   `json:"parts"` // of the result: what each element costs, the dearest first
	Help   []string `json:"help"`  // where it does not fit: what would make it fit
}

// Step is one rewriting.
type Step struct {
	What  string `json:"what"` // "merged statements 1 and 3, which differ in their actions"
	Saved int    `json:"saved"`

	// Catalogue tells that the step leans on the action catalogue: the text after it takes in pairs of an action and a
	// resource that the text before does not, and by the catalogue no request has such a pair. All other steps keep
	// the set of requests whatever AWS has or adds.
	Catalogue bool `json:"catalogue"`
}

// Part is one element of a statement.
type Part struct {
	Statement  int    `json:"statement"` // from 0
	Element    string `json:"element"`   // "Action", "Resource", "Condition", "Sid", and so on
	Characters int    `json:"characters"`
	Values     int    `json:"values"`
}

// Shrink rewrites a policy until its canonical text has at most limit characters, and no further. In this order:
//
//   - values that another value of their list takes in are dropped: "s3:GetObject" beside "s3:Get*";
//   - statements that differ in one place are merged;
//   - statements that the others make superfluous are dropped;
//   - the Id and the Sids, which mean nothing to AWS, are dropped;
//   - statements are merged whose actions cannot take each other's resources, by the catalogue.
//
// The set of allowed requests stays the same: every step is proven by Covers both ways before it is taken, and one that
// is not proven, or not in bounded time, is not taken. No wildcard is made, since one takes in actions that AWS has yet to add.
//
// Where that is not enough the error is ErrTooLong and names the dearest parts and what would help; the Report has
// them all, and the policy returned is the shortest one found. A policy to bind goes to ShrinkBound.
func Shrink(d Dialect, p Policy, limit int) (Policy, Report, error) {
	if err := p.ValidateSession(); err != nil {
		if errors.Is(err, ErrEmpty) && len(p.Statements) > 0 && p.Validate() == nil {
			err = fmt.Errorf("%w by itself, so that there is nothing to keep: it has Denies alone, which shorten what other policies allow", ErrEmpty)
		}
		return Policy{}, Report{}, fmt.Errorf("shrinking policy: %w", err)
	}
	return shrink(d, p, limit, Size)
}

// ShrinkBound is Shrink until what Bind makes of the policy has at most MaxSize characters. It returns the policy to
// bind; the Report counts characters of the bound text.
func ShrinkBound(p Policy, l Limits) (Policy, Report, error) {
	if _, err := Bind(p, l); err != nil {
		return Policy{}, Report{}, fmt.Errorf("shrinking policy: %w", err)
	}
	return shrink(l.Dialect, p, MaxSize, func(p Policy) int {
		bound, err := Bind(p, l)
		if err != nil {
			return 0
		}
		return Size(bound)
	})
}

// shrink shrinks until measure says at most limit; 0 is no policy.
func shrink(d Dialect, p Policy, limit int, measure func(Policy) int) (Policy, Report, error) {
	s := &shrinker{dialect: d, p: p.Clone(), size: measure(p), limit: limit, measure: measure, left: shrinkSteps, deadline: within(shrinkTime, nil)}
	s.report = Report{Before: s.size, Steps: []Step{}, Help: []string{}}
	for before := s.size + 1; s.size < before; {
		before = s.size
		for _, pass := range []func() bool{s.dropValues, s.mergeOnePlace, s.dropStatements, s.dropNames, s.mergeApart} {
			for s.size > limit && pass() {
				continue // until the pass finds nothing more
			}
		}
	}
	s.report.After, s.report.Parts = s.size, parts(s.p)
	if s.size <= limit {
		return s.p, s.report, nil
	}
	s.report.Help = help(s.p, s.size, limit)
	dear := make([]string, 0, 3)
	for _, part := range first(s.report.Parts, 3) {
		dear = append(dear, fmt.Sprintf("%s of statement %d: %d (%s)", part.Element, part.Statement+1, part.Characters,
			count(part.Values, "value")))
	}
	return s.p, s.report, fmt.Errorf("shrinking policy: %w: %d characters at the least are over the limit of %d; %s; %s",
		ErrTooLong, s.size, limit, strings.Join(dear, ", "), strings.Join(s.report.Help, ", or "))
}

// shrinker is a policy on its way.
type shrinker struct {
	dialect Dialect
	p       Policy
	size    int
	limit   int
	measure func(Policy) int
	left    int // steps for proofs
	deadline
	report Report
}

// take makes a candidate the policy, if it is shorter and allows the same.
func (s *shrinker) take(c Policy, step Step, same func(before, after Policy) bool) bool {
	n := s.measure(c)
	if n == 0 || n >= s.size || !same(s.p, c) {
		return false
	}
	step.Saved = s.size - n
	s.p, s.size = c, n
	s.report.Steps = append(s.report.Steps, step)
	return true
}

// The steps that one proof may take, about a tenth of a second; the steps that all of them may; and the time.
const (
	proofSteps  = 2_000_000
	shrinkSteps = 100_000_000
	shrinkTime  = 10 * time.Second
)

// equal tells whether two policies are proven to allow the same.
func (s *shrinker) equal(a, b Policy) bool {
	return s.covered([]Policy{a}, []Policy{b}) && s.covered([]Policy{b}, []Policy{a})
}

// covered tells whether b is proven to allow nothing that a does not.
func (s *shrinker) covered(a, b []Policy) bool {
	ea, err := Compile(s.dialect, a, nil, nil)
	if err != nil {
		return false
	}
	eb, err := Compile(s.dialect, b, nil, nil)
	if err != nil {
		return false
	}
	steps := budget{left: min(proofSteps, s.left), deadline: s.deadline}
	before := steps.left
	c := decide(ea, eb, limits{steps: before, plain: true}, &steps)
	s.left -= before - steps.left
	return c.Answer == Yes
}

// dropValues drops what the other values of a list take in.
func (s *shrinker) dropValues() bool {
	any := false
	for i := range s.p.Statements {
		for _, e := range elements {
			if s.size <= s.limit {
				return any
			}
			list := *e.list(&s.p.Statements[i])
			kept := irredundant(list, e.action, s.p.Version != Version2008)
			if len(kept) == len(list) {
				continue
			}
			c := s.p.Clone()
			*e.list(&c.Statements[i]) = kept
			what := fmt.Sprintf("dropped %s of statement %d that others of the list take in", e.name, i+1)
			any = s.take(c, Step{What: what}, s.equal) || any
		}
	}
	return any
}

// element is one of the four lists of a statement.
type element struct {
	name   string
	action bool
	list   func(*Statement) *[]string
}

var elements = []element{ // read-only
	{"Action", true, func(s *Statement) *[]string { return &s.Action }},
	{"NotAction", true, func(s *Statement) *[]string { return &s.NotAction }},
	{"Resource", false, func(s *Statement) *[]string { return &s.Resource }},
	{"NotResource", false, func(s *Statement) *[]string { return &s.NotResource }},
}

// irredundant returns the list without the values that one other value takes in. Of two that are equal the first stays.
func irredundant(list []string, action, variables bool) []string {
	values := make([]value, len(list))
	for i, v := range list {
		var err error
		if values[i], err = newValue(v, action, variables); err != nil {
			return list
		}
	}
	gone := make([]bool, len(list))
	for i := range list {
		for j := range list {
			if i != j && !gone[j] && values[i].within(&values[j]) && (j < i || !values[j].within(&values[i])) {
				gone[i] = true
				break
			}
		}
	}
	var out []string
	for i, v := range list {
		if !gone[i] {
			out = append(out, v)
		}
	}
	return out
}

// value is one action or resource of a list.
type value struct {
	pattern pattern
	track   track
	sample  string // a text that it has; with a variable, a text that it may have
}

func newValue(text string, action, variables bool) (v value, err error) {
	if action {
		v.pattern = actionPattern(text)
	} else if v.pattern, err = resourcePattern(text, variables, kindSession); err != nil {
		return v, err
	}
	v.track, _ = newTrack(&v.pattern, foldNone)
	for _, s := range v.track {
		switch s.kind {
		case stepChar:
			v.sample += string(s.char)
		case stepOne:
			v.sample += "x"
		default:
		}
	}
	return v, nil
}

// within tells whether w takes in all that v does. A variable is taken in as any text, and takes in itself alone.
func (v *value) within(w *value) bool {
	if w.pattern.vars || w.pattern.open || v.pattern.open {
		return v.pattern.source == w.pattern.source
	}
	if a, _ := w.pattern.match(v.sample, nil); !a.sure() {
		return false // nearly always, and at no cost
	}
	p := newProduct([]language{{v.track}, {w.track}}, &budget{left: explainSteps})
	p.hopeless = func(alive bits) bool { return !alive.has(0) }
	return p.explore(func(accepts bits, _ string) bool { return !accepts.has(0) || accepts.has(1) })
}
