package iam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// answer is what a comparison says. It is not a truth value where a value of the request cannot be compared.
type answer uint8

const (
	no answer = iota
	yes
	unsure
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// atom is one line of a condition: one operator, one key, and the values of which one has to match (none, where the
// operator is negated). All atoms of a statement must hold.
type atom struct {
	operatorName
	key    string // as the policy spells it
	values []operand
}

// operand is one value of the policy, ready to be compared; which field is set follows from the operator's family.
type operand struct {
	source  string
	pattern pattern      // familyString, familyARN
	number  decimal      // familyNumeric
	date    time.Time    // familyDate
	network netip.Prefix // familyIP
	binary  string       // familyBinary, decoded
	boolean bool         // familyBool, familyNull
}

// compileCondition returns the atoms, sorted by operator and key. It refuses empty blocks, and operators and keys that
// differ in case alone: IAM takes them as one.
func compileCondition(c map[string]map[string][]string, variables bool) ([]atom, error) {
	if len(c) == 0 {
		return nil, nil
	}
	out := make([]atom, 0, len(c))
	for _, name := range sortedKeys(c) {
		op, err := parseOperator(name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(a atom) bool { return a.operatorName == op }) {
			return nil, fmt.Errorf("%w: condition operator %q is there twice", ErrPolicy, op)
		}
		if len(c[name]) == 0 {
			return nil, fmt.Errorf("%w: condition operator %q has no keys", ErrPolicy, name)
		}
		var seen map[string]bool // by key in lower case; most operators have one key
		if len(c[name]) > 1 {
			seen = make(map[string]bool, len(c[name]))
		}
		for _, key := range sortedKeys(c[name]) {
			if seen != nil {
				folded := strings.ToLower(key)
				if seen[folded] {
					return nil, fmt.Errorf("%w: condition key %q is there twice in %s", ErrPolicy, key, name)
				}
				seen[folded] = true
			}
			a, err := compileAtom(op, key, c[name][key], variables)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
	}
	return out, nil
}

func compileAtom(op operatorName, key string, values []string, variables bool) (atom, error) {
	a := atom{operatorName: op, key: key, values: make([]operand, len(values))}
	if key == "" || !utf8.ValidString(key) || len(values) == 0 {
		return a, fmt.Errorf("%w: condition key %q is empty, not UTF-8, or has no values", ErrPolicy, key)
	}
	for i, v := range values {
		if !utf8.ValidString(v) {
			return a, fmt.Errorf("%w: a value of condition key %q is not UTF-8", ErrPolicy, key)
		}
		var err error
		if a.values[i], err = compileOperand(op.operator, v, variables); err != nil {
			return a, fmt.Errorf("reading %s of %q: %w", op, key, err)
		}
	}
	return a, nil
}

// compileOperand reads one value. IAM has variables only in string and ARN operators ("Where you can use policy
// variables", https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html), so a variable in
// another is no number, date, boolean, binary or network.
//
// NOTE: The page on condition operators says that Bool takes variables, the one above that it does not. It does not here.
func compileOperand(op operator, text string, variables bool) (operand, error) {
	o := operand{source: text}
	ok, what := true, ""
	var err error
	switch op.family {
	case familyString:
		o.pattern, err = stringPattern(text, variables, op.relation == relationLike)
	case familyARN:
		o.pattern, err = arnPattern(text, variables)
	case familyNumeric:
		o.number, ok = parseDecimal(text)
		what = "an integer or decimal number"
	case familyDate:
		o.date, ok = parseDate(text)
		what = "a date such as 2026-11-23T12:00:00Z, or seconds since 1970"
	case familyBool, familyNull:
		o.boolean, ok = parseBool(text)
		what = "true or false"
	case familyBinary:
		o.binary, ok = parseBinary(text)
		what = "base64"
	case familyIP:
		o.network, ok = parseNetwork(text)
		what = "an address or a network such as 203.0.113.0/24"
	}
	if err == nil && !ok {
		err = fmt.Errorf("%w: %q is not %s", ErrPolicy, text, what)
	}
	return o, err
}

// holds tells whether the atom is true. Where it cannot be told, the answer is what makes the request fail: false in
// an Allow, true in a Deny, which is what deny says.
//
// Without a quantifier, a negated operator is true where the key is missing, another is not, and IfExists makes it true
// ("Condition operators" page). ForAllValues is true and ForAnyValue false over no values
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html).
//
// NOTE: AWS does not say what these do, so they fail the request:
//   - ForAnyValue with IfExists where the key is missing, or IfExists where the key is there and has no values;
//   - a value in the request that is no number, date, address and so on, as its operator wants it;
//   - a policy variable with several values.
//
// A key with several values and no quantifier, which AWS's documents advise against, matches where one of them does,
// or with a negated operator where none does. An empty string is a value like any other, though older editions of the
// guide called it no value at all for ForAllValues and ForAnyValue.
func (a *atom) holds(env *environment, deny bool) bool {
	vs, present := env.lookup(a.key)
	if a.family == familyNull {
		for i := range a.values {
			if a.values[i].boolean == (len(vs) == 0) {
				return true
			}
		}
		return false
	}
	all := a.quantifier == quantifierAll
	if len(vs) == 0 {
		switch {
		case all:
			return true
		case a.quantifier == quantifierAny:
			return a.ifExists && deny
		case a.negated:
			return true
		case a.ifExists:
			return !present || deny
		}
		return false
	}
	if a.quantifier == quantifierNone {
		all = a.negated
	}
	for _, v := range vs {
		if a.holdsFor(v, env, deny) != all {
			return !all
		}
	}
	return all
}

// holdsFor takes one value of the request.
func (a *atom) holdsFor(v string, env *environment, deny bool) bool {
	open := false
	for i := range a.values {
		switch a.compare(&a.values[i], v, env) {
		case yes:
			return !a.negated
		case unsure:
			open = true
		default:
		}
	}
	if open {
		return deny
	}
	return a.negated
}
