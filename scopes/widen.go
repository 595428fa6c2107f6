package scopes

import (
	"maps"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/iam"
)

// widest returns patterns, in IAM's wildcards, that take every value the parameter allows: the allowed values
// themselves, or else what the type can hold.
func (p param) widest() []string {
	if len(p.Allowed) > 0 {
		return p.Allowed
	}
	switch p.Type {
	case TypeS3Prefix:
		return []string{"*/"} // canonicalPrefix
	case TypeARN:
		return []string{"arn:*:*:*:*:*"}
	case TypeRegion:
		return []string{"??-*-?"}
	case TypeAccountID:
		return []string{strings.Repeat("?", 12)}
	case TypePattern:
		return []string{prefixOf(p.Pattern) + "*"}
	case TypeS3Bucket, TypeDynamoDBTable, TypeIdentifier, TypeEnum, TypeInteger:
	}
	return []string{"*"}
}

// prefixOf returns text that everything the expression matches begins with; often none.
func prefixOf(expression string) string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	var b strings.Builder
	literal := func(re *syntax.Regexp) bool {
		if re.Op != syntax.OpLiteral || re.Flags&syntax.FoldCase != 0 {
			return false
		}
		for _, r := range re.Rune {
			if r <= ' ' || r > '~' || strings.ContainsRune(`*?${}\"`, r) {
				return false // no value has the second kind, and the first is not worth the care
			}
		}
		b.WriteString(string(re.Rune))
		return true
	}
	if re = re.Simplify(); re.Op != syntax.OpConcat {
		literal(re)
		return b.String()
	}
	for _, sub := range re.Sub {
		if !literal(sub) {
			break
		}
	}
	return b.String()
}

// slashes tells whether a value of the parameter can have a "/".
func (p param) slashes() bool {
	if p.Type != TypePattern {
		return shapes[p.Type].delims
	}
	re, err := syntax.Parse(p.Pattern, syntax.Perl)
	return err != nil || canHold(re, '/')
}

// canHold tells whether a text that the expression matches can have the character.
func canHold(re *syntax.Regexp, c rune) bool {
	if re.Op == syntax.OpAnyChar || re.Op == syntax.OpAnyCharNotNL {
		return true
	}
	if re.Op == syntax.OpLiteral {
		return slices.Contains(re.Rune, c)
	}
	if re.Op == syntax.OpCharClass {
		for i := 0; i+1 < len(re.Rune); i += 2 { // pairs of a first and a last one
			if re.Rune[i] <= c && c <= re.Rune[i+1] {
				return true
			}
		}
		return false
	}
	return slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return canHold(sub, c) })
}

// choices returns what fills the template's holes at their widest: the allowed values of each parameter, or what open
// gives for one that has none. Where the lists multiply past maxExpansions, the longest is left open too. opened tells
// whether any is.
func (t template) choices(params map[string]param, open func(param) []string) (out map[string][]string, opened bool) {
	out = map[string][]string{}
	for _, name := range t.names() {
		if out[name] = params[name].Allowed; len(out[name]) == 0 {
			out[name], opened = open(params[name]), true
		}
	}
	for {
		product, longest := 1, ""
		for _, name := range slices.Sorted(maps.Keys(out)) {
			product *= len(out[name])
			if longest == "" || len(out[name]) > len(out[longest]) {
				longest = name
			}
			if product > maxExpansions {
				break
			}
		}
		if product <= maxExpansions {
			return out, opened
		}
		p := params[longest]
		p.Allowed = nil
		out[longest], opened = open(p), true
	}
}

// widest returns all that the template can become; patterns tells whether that is in IAM's wildcards, beyond the
// template's own.
func (t template) widest(params map[string]param) (texts []string, patterns bool) {
	values, patterns := t.choices(params, param.widest)
	texts, err := t.render(values)
	if err != nil {
		return []string{"*"}, true // choices keeps below the one limit that there is
	}
	return texts, patterns
}

// widestConditions returns conditions that hold whenever the statement's do, whatever the parameters.
func (s statement) widestConditions(params map[string]param) map[string]map[string][]string {
	out := map[string]map[string][]string{}
	add := func(op, key string, values []string) {
		if out[op] == nil {
			out[op] = map[string][]string{}
		}
		if _, taken := out[op][key]; !taken { // two conditions in one place: without the later, it only holds more often
			slices.Sort(values)
			out[op][key] = slices.Compact(values)
		}
	}
	for _, widened := range []bool{false, true} { // what does not change has the first right to its place
		for _, op := range slices.Sorted(maps.Keys(s.conditions)) {
			for _, key := range slices.Sorted(maps.Keys(s.conditions[op])) {
				ts := s.conditions[op][key]
				var values []string
				patterns := false
				for _, t := range ts {
					texts, open := t.widest(params)
					values, patterns = append(values, texts...), patterns || open
				}
				if widened != patterns {
					continue
				}
				wide := op
				if widened {
					if wide = patterned(op, ts, params); wide == presence {
						values = []string{"false"}
					}
				}
				if wide != "" {
					add(wide, key, values)
				}
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// presence is the operator that, with "false", holds where a key is there.
const presence = "Null"

// patterned returns the operator that takes patterns where op takes values. Where there is none, that is presence, or
// nothing for an op that holds without its key.
func patterned(op string, ts []template, params map[string]param) string {
	base, ifExists := strings.CutSuffix(op, "IfExists")
	quantifier := ""
	if i := strings.IndexByte(base, ':'); i >= 0 {
		quantifier, base = base[:i+1], base[i+1:]
	}
	switch base {
	case "StringEquals", "StringLike":
		op = quantifier + "StringLike"
		if ifExists {
			op += "IfExists"
		}
		return op
	case "ArnEquals", "ArnLike":
		if !slices.ContainsFunc(ts, func(t template) bool { return !t.arn(params) }) {
			return op
		}
	}
	if ifExists || quantifier == "ForAllValues:" {
		return ""
	}
	return presence
}

// arn tells whether the template's first five colons are its own, so that its segments are those of what it becomes.
func (t template) arn(params map[string]param) bool {
	if len(t) == 1 && t[0].param != "" {
		return params[t[0].param].Type == TypeARN
	}
	colons := 0
	for _, p := range t {
		if p.param == "" {
			colons += strings.Count(p.literal, ":")
		} else if colons < 5 && shapes[params[p.param].Type].delims {
			return false
		}
	}
	return colons >= 5
}

// widestAWS is the scope's AWS policy at its widest parameters, which is wider where the dialect reads more into a value.
func (s *Scope) widestAWS(d iam.Dialect) iam.Policy {
	p := iam.Policy{Version: iam.Version}
	for _, st := range s.statements {
		out := iam.Statement{Effect: iam.Allow, Action: slices.Clone(st.actions), Condition: st.widestConditions(s.compiled)}
		for _, t := range st.resources {
			texts, _ := t.widest(s.compiled)
			out.Resource = append(out.Resource, texts...)
		}
		slices.Sort(out.Resource)
		out.Resource = slashed(d, slices.Compact(out.Resource))
		p.Statements = append(p.Statements, out)
	}
	return p
}
