package iam

import (
	"fmt"
	"slices"
	"strings"
)

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
	base     string // as AWS spells it, without prefix and suffix
	family   family
	relation relation
	negated  bool
}

var baseOperators = [...]operator{ // read-only
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
}

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
	name       string // the whole, as AWS spells it: "ForAllValues:StringLikeIfExists"
	quantifier quantifier
	ifExists   bool
}

// String returns the name as AWS spells it.
func (o operatorName) String() string { return o.name }

// operatorNames has every operator, as AWS spells it and in lower case; read-only.
var operatorNames = func() map[string]operatorName {
	m := make(map[string]operatorName)
	for q, prefix := range quantifierNames {
		for _, base := range baseOperators {
			for _, suffix := range []string{"", ifExistsSuffix} {
				o := operatorName{base, prefix + base.base + suffix, quantifier(q), suffix != ""}
				m[o.name], m[strings.ToLower(o.name)] = o, o
			}
		}
	}
	return m
}()

// parseOperator reads an operator's name; case does not count.
func parseOperator(name string) (operatorName, error) {
	o, ok := operatorNames[name]
	if !ok {
		o, ok = operatorNames[strings.ToLower(name)]
	}
	switch {
	case !ok:
		return o, fmt.Errorf("%w: unknown condition operator %q", ErrPolicy, name)
	case o.family == familyNull && o.ifExists:
		return o, fmt.Errorf("%w: Null takes no IfExists, it asks for existence itself", ErrPolicy)
	}
	return o, nil
}

// Operators returns the condition operators as AWS spells them, sorted, without ForAllValues:, ForAnyValue: and IfExists.
func Operators() []string {
	out := make([]string, 0, len(baseOperators))
	for _, o := range baseOperators {
		out = append(out, o.base)
	}
	slices.Sort(out)
	return out
}

// ParseOperator reads an operator's name with its prefix and suffix, in any case, and returns it as AWS spells it. A
// negated operator is true of what its values do not match, and of a missing key.
func ParseOperator(name string) (canonical string, negated bool, err error) {
	o, err := parseOperator(name)
	return o.name, o.negated, err
}
