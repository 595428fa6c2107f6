package iam

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// atom is one line of a condition: one operator, one key, and the values of which one has to match (none, where the
// operator is negated). All atoms of a statement must hold.
type atom struct {
	operatorName
	key     string // as the policy spells it
	values  []operand
	several bool // a request may have several values of the key
	vars    bool // some value has a variable
}

// operand is one value of the policy, ready to be compared; which field is set follows from the operator's family.
type operand struct {
	source  string
	pattern pattern // familyString, familyARN
	*scalar         // nil for those two
}

// scalar is a value that is compared as what it says, and not as a text.
type scalar struct {
	number  decimal // familyNumeric
	date    span    // familyDate
	network network // familyIP
	binary  string  // familyBinary, decoded
	boolean boolean // familyBool, familyNull
}

// compileCondition returns the atoms, sorted by operator and key. It refuses empty blocks, and operators and keys that
// differ in case alone: IAM takes them as one. In a resource policy a key may have no values, as Amazon S3 takes it.
func compileCondition(c map[string]map[string][]string, variables bool, kd kind) ([]atom, error) {
	if len(c) == 0 {
		return nil, nil
	}
	out := make([]atom, 0, len(c))
	err := eachAtom(c, kd, func(op operatorName, key string, values []string) error {
		a := atom{operatorName: op, key: key, values: make([]operand, len(values)), several: multivalued(key)}
		for i, v := range values {
			if err := compileOperand(&a.values[i], op, key, v, variables); err != nil {
				return err
			}
			a.vars = a.vars || a.values[i].pattern.vars
		}
		out = append(out, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkCondition refuses what compileCondition refuses.
func checkCondition(c map[string]map[string][]string, variables bool, kd kind) error {
	if len(c) == 0 {
		return nil
	}
	return eachAtom(c, kd, func(op operatorName, key string, values []string) error {
		var s scalar
		o := operand{scalar: &s}
		for _, v := range values {
			text := op.family == familyString || op.family == familyARN
			if text && utf8.ValidString(v) && strings.IndexByte(v, '$') < 0 {
				continue // any text will do but a variable's
			}
			if err := compileOperand(&o, op, key, v, variables); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachAtom calls one for every operator and key, sorted, and checks what is not of one value alone.
func eachAtom(c map[string]map[string][]string, kd kind, one func(op operatorName, key string, values []string) error) error {
	var opRoom, keyRoom [4]string // as many as most conditions have
	var seenRoom [4]string
	seen := seenRoom[:0] // operators as AWS spells them
	for _, name := range appendKeys(opRoom[:0], c) {
		op, err := parseOperator(name)
		if err != nil {
			return err
		}
		if slices.Contains(seen, op.name) {
			return fmt.Errorf("%w: condition operator %q is there twice", ErrPolicy, op)
		}
		seen = append(seen, op.name)
		if len(c[name]) == 0 {
			return fmt.Errorf("%w: condition operator %q has no keys", ErrPolicy, name)
		}
		var folded map[string]bool // keys in lower case; most operators have one
		if len(c[name]) > 1 {
			folded = make(map[string]bool, len(c[name]))
		}
		for _, key := range appendKeys(keyRoom[:0], c[name]) {
			if folded != nil {
				lower := strings.ToLower(key)
				if folded[lower] {
					return fmt.Errorf("%w: condition key %q is there twice in %s", ErrPolicy, key, name)
				}
				folded[lower] = true
			}
			values := c[name][key]
			// "Actions/Conditions must be prefaced by a vendor", says AWS.
			switch service, rest, ok := strings.Cut(key, ":"); {
			case !ok || service == "" || rest == "" || !utf8.ValidString(key):
				return fmt.Errorf("%w: condition key %q is no service:key, such as aws:SourceIp, or not UTF-8", ErrPolicy, key)
			case len(values) == 0 && kd != kindResource:
				return fmt.Errorf("%w: condition key %q has no values", ErrPolicy, key)
			}
			if err := one(op, key, values); err != nil {
				return err
			}
		}
	}
	return nil
}

// compileOperand reads one value into o. IAM has variables only in string and ARN operators ("Where you can use policy
// variables", https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html), so a variable in
// another is no number, date, boolean, binary or network.
//
// NOTE: The page on condition operators says that Bool takes variables, the one above that it does not. It does not here.
func compileOperand(o *operand, op operatorName, key, text string, variables bool) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%w: a value of condition key %q is not UTF-8", ErrPolicy, key)
	}
	o.source = text
	if op.family != familyString && op.family != familyARN && o.scalar == nil {
		o.scalar = new(scalar)
	}
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
		what = "a date such as 2026-11-23T12:00:00Z, or seconds since 1970; four digits could be a year"
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
	if err != nil {
		return fmt.Errorf("reading %s of %q: %w", op, key, err)
	}
	return nil
}

// holds tells whether the atom is true.
//
// Without a quantifier, a negated operator is true where the key is missing, another is not, and IfExists makes it true
// ("Condition operators" page). ForAllValues is true and ForAnyValue false over no values
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html).
//
// NOTE: These are unsure. On the page on multivalued keys, above:
//   - a key of several values, one with several, or one that is there and has none, without a quantifier: "Multivalued
//     context keys require a condition set operator", and no result is given. Where no value matches, or with a negated
//     operator all do, every reading says no;
//   - ForAllValues with a negated operator over no values, where the definition says true and the table below it no match;
//   - an empty string as the only value, with a quantifier or Null: "a null data set, such as an empty string".
//
// On the page on condition operators
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html):
//   - ForAnyValue with IfExists over a missing key: the suffix says true, the quantifier false;
//   - Null, where the key is there and has no values;
//   - what compare says is unsure.
//
// On the page on variables
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html):
//   - a variable that cannot be resolved, which "might cause the entire statement to be invalid", but where the page
//     gives a result: it equals nothing, and StringNotEquals and StringNotLike of it alone are true.
func (a *atom) holds(env *environment) answer {
	vs, present := env.lookup(a.key)
	if a.family == familyNull {
		return a.null(vs, present, env)
	}
	if len(vs) == 0 {
		out := a.without(present, env)
		if out.maybe() && a.unresolved(env) {
			out = unsure
		}
		return out
	}
	all := a.quantifier == quantifierAll
	out := is(all)
	for _, v := range vs {
		if one := a.holdsFor(v, env); all {
			out = out.and(one)
		} else {
			out = out.or(one)
		}
	}
	switch {
	case a.quantifier == quantifierNone:
		if a.several || len(vs) > 1 {
			out = out.and(unsure)
		}
	case len(vs) == 1 && vs[0] == "":
		if none := a.without(true, env); none != out {
			switch env.about() {
			case yes:
				out = none
			case unsure:
				out = unsure
			default: // it is a value
			}
		}
	}
	return out
}

// null is holds for Null.
func (a *atom) null(vs []string, present bool, env *environment) answer {
	says := func(missing bool) answer {
		out := no
		for i := range a.values {
			b := &a.values[i].boolean
			out = out.or(b.certain(is(b.value == missing)))
		}
		return out
	}
	// A list without values, or with an empty one alone, is null to some sentences and not to others.
	if present && (len(vs) == 0 || (len(vs) == 1 && vs[0] == "")) {
		switch x, y := says(true), says(false); {
		case x == y, env.about() == yes:
			return x
		case env.about() == no:
			return y
		}
		return unsure
	}
	return says(!present)
}

// without is holds where there are no values, but for Null.
func (a *atom) without(present bool, env *environment) answer {
	switch {
	case a.quantifier == quantifierAll && a.negated, a.quantifier == quantifierAny && a.ifExists:
		return env.about()
	case a.quantifier == quantifierAll:
		return yes
	case a.quantifier == quantifierAny:
		return no
	case !present:
		return is(a.negated || a.ifExists)
	case env.about() == yes:
		return is(a.negated)
	}
	return env.about()
}

// unresolved tells whether a value has a variable that the request cannot resolve.
func (a *atom) unresolved(env *environment) bool {
	for i := 0; a.vars && i < len(a.values); i++ {
		if _, r := a.values[i].pattern.match("", env); r >= unresolved {
			return true
		}
	}
	return false
}

// holdsFor takes one value of the request.
func (a *atom) holdsFor(v string, env *environment) answer {
	out, all := no, resolved
	for i := range a.values {
		b, r := a.compare(&a.values[i], v, env)
		if out, all = out.or(b), max(all, r); b == yes && !a.vars {
			break
		}
	}
	if a.negated {
		out = out.not()
	}
	// The one result that the page gives for a variable without a value.
	told := a.negated && a.family == familyString && len(a.values) == 1 && all == valueless
	if all >= unresolved && !told {
		out = out.and(unsure)
	}
	return out
}
