package iam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
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

// family is the type of the values of an operator.
type family uint8

const (
	familyString family = iota + 1
	familyNumeric
	familyDate
	familyBool
	familyBinary
	familyIP
	familyARN
	familyNull
)

// relation is how a value of the request has to stand to a value of the policy.
type relation uint8

const (
	relationEqual relation = iota + 1
	relationFold           // equal but for case
	relationLike           // wildcards
	relationLess
	relationLessEqual
	relationGreater
	relationGreaterEqual
)

// operator is one row of AWS's table of condition operators
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html).
type operator struct {
	name     string // as AWS spells it
	family   family
	relation relation
	negated  bool
}

// baseOperators has every operator by its name in lower case; read-only.
var baseOperators = func() map[string]operator {
	m := map[string]operator{}
	for _, o := range []operator{
		{"StringEquals", familyString, relationEqual, false},
		{"StringNotEquals", familyString, relationEqual, true},
		{"StringEqualsIgnoreCase", familyString, relationFold, false},
		{"StringNotEqualsIgnoreCase", familyString, relationFold, true},
		{"StringLike", familyString, relationLike, false},
		{"StringNotLike", familyString, relationLike, true},
		{"NumericEquals", familyNumeric, relationEqual, false},
		{"NumericNotEquals", familyNumeric, relationEqual, true},
		{"NumericLessThan", familyNumeric, relationLess, false},
		{"NumericLessThanEquals", familyNumeric, relationLessEqual, false},
		{"NumericGreaterThan", familyNumeric, relationGreater, false},
		{"NumericGreaterThanEquals", familyNumeric, relationGreaterEqual, false},
		{"DateEquals", familyDate, relationEqual, false},
		{"DateNotEquals", familyDate, relationEqual, true},
		{"DateLessThan", familyDate, relationLess, false},
		{"DateLessThanEquals", familyDate, relationLessEqual, false},
		{"DateGreaterThan", familyDate, relationGreater, false},
		{"DateGreaterThanEquals", familyDate, relationGreaterEqual, false},
		{"Bool", familyBool, relationEqual, false},
		{"BinaryEquals", familyBinary, relationEqual, false},
		{"IpAddress", familyIP, relationEqual, false},
		{"NotIpAddress", familyIP, relationEqual, true},
		{"ArnEquals", familyARN, relationLike, false},
		{"ArnLike", familyARN, relationLike, false},
		{"ArnNotEquals", familyARN, relationLike, true},
		{"ArnNotLike", familyARN, relationLike, true},
		{"Null", familyNull, relationEqual, false},
	} {
		m[strings.ToLower(o.name)] = o
	}
	return m
}()

// quantifier is how the values of a multivalued key are taken together.
type quantifier uint8

const (
	quantifierNone quantifier = iota
	quantifierAll             // ForAllValues:
	quantifierAny             // ForAnyValue:
)

var quantifierNames = [...]string{"", "ForAllValues:", "ForAnyValue:"} // read-only, by quantifier

const ifExistsSuffix = "IfExists"

// operatorName is a condition operator with its prefix and suffix.
type operatorName struct {
	operator
	quantifier quantifier
	ifExists   bool
}

// String returns the name as AWS spells it.
func (o operatorName) String() string {
	s := quantifierNames[o.quantifier] + o.name
	if o.ifExists {
		s += ifExistsSuffix
	}
	return s
}

// parseOperator reads an operator's name; case does not count. Null takes no IfExists: it asks for existence itself.
func parseOperator(name string) (operatorName, error) {
	rest := strings.ToLower(name)
	var o operatorName
	for q := quantifierAll; q <= quantifierAny; q++ {
		if after, ok := strings.CutPrefix(rest, strings.ToLower(quantifierNames[q])); ok {
			o.quantifier, rest = q, after
			break
		}
	}
	rest, o.ifExists = strings.CutSuffix(rest, strings.ToLower(ifExistsSuffix))
	base, ok := baseOperators[rest]
	if !ok {
		return o, fmt.Errorf("%w: unknown condition operator %q", ErrPolicy, name)
	}
	if base.family == familyNull && o.ifExists {
		return o, fmt.Errorf("%w: Null takes no IfExists, it asks for existence itself", ErrPolicy)
	}
	o.operator = base
	return o, nil
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

// compileCondition returns the atoms, sorted by operator and key.
func compileCondition(c map[string]map[string][]string, variables bool) ([]atom, error) {
	var out []atom
	for _, name := range slices.Sorted(maps.Keys(c)) {
		op, err := parseOperator(name)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(c[name])) {
			a := atom{operatorName: op, key: key}
			for _, v := range c[name][key] {
				o, err := compileOperand(op.operator, v, variables)
				if err != nil {
					return nil, fmt.Errorf("reading %s of %q: %w", op, key, err)
				}
				a.values = append(a.values, o)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// compileOperand reads one value. IAM has variables only in string and ARN operators ("Where you can use policy
// variables", https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html), so a variable in
// another is no number, date, boolean, binary or network.
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
// or with a negated operator where none does. An empty string is a value like any other.
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
