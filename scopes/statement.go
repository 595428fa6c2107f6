package scopes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// statement is one compiled AWS statement: an Allow, since a scope only gives.
type statement struct {
	actions    []string // expanded, sorted, as AWS spells them
	resources  []template
	conditions map[string]map[string][]template
}

func (c *compiler) statements() error {
	if len(c.doc.Statements) == 0 {
		return at("$", ErrEmpty)
	}
	seen := map[string]bool{}
	for i, f := range c.doc.Statements {
		s, err := c.statement(fmt.Sprintf("$.statements[%d]", i), f)
		if err != nil {
			return err
		}
		c.scope.statements = append(c.scope.statements, s)
		for _, a := range s.actions {
			if seen[a] {
				continue
			}
			seen[a] = true
			class, why := actions.Classify(a)
			if why != "" {
				why = a + ": " + why
			}
			c.raise(class.OrAdmin(), why)
			if what, ok := actions.Sensitive(a); ok {
				c.scope.sensitive = append(c.scope.sensitive, a+": "+what)
			}
		}
	}
	slices.Sort(c.scope.sensitive)
	return nil
}

func (c *compiler) statement(path string, f fileStatement) (statement, error) {
	s := statement{conditions: map[string]map[string][]template{}}
	if len(f.Actions) == 0 || len(f.Resources) == 0 {
		return s, at(path, fmt.Errorf("%w: a statement needs actions and resources", ErrEmpty))
	}
	for i, a := range f.Actions {
		at0 := fmt.Sprintf("%s.actions[%d]", path, i)
		service, name, ok := strings.Cut(a, ":")
		if !ok || service == "" || name == "" || strings.ContainsAny(service, "*?") || strings.ContainsAny(a, "{}$ ") {
			return s, atf(at0, "action %q is not service:Action; the service takes no wildcard, and no parameter goes into an action", a)
		}
		expanded := actions.Expand(a)
		if len(expanded) == 0 {
			return s, at(at0, unknownAction(a))
		}
		s.actions = append(s.actions, expanded...)
	}
	slices.Sort(s.actions)
	s.actions = slices.Compact(s.actions)
	for i, r := range f.Resources {
		t, err := c.resource(fmt.Sprintf("%s.resources[%d]", path, i), r)
		if err != nil {
			return s, err
		}
		s.resources = append(s.resources, t)
	}
	if err := c.conditions(path+".conditions", f, &s); err != nil {
		return s, err
	}
	return s, c.match(path, s)
}

// unknownAction says that the catalogue does not have an action, and what may have been meant. A scope cannot insist on
// it: nobody knows what it does, on what resources, or with which condition keys.
func unknownAction(name string) error {
	_, date := actions.Snapshot()
	if strings.ContainsAny(name, "*?") {
		return fmt.Errorf("action %q matches nothing in the catalogue of %s", name, date)
	}
	near := ""
	if n := actions.Nearest(name); n != "" {
		near = fmt.Sprintf("; did you mean %q?", n)
	}
	return fmt.Errorf("action %q is not in the catalogue of %s%s", name, date, near)
}

// resource reads an ARN. No parameter crosses a colon of its first five fields, and the service is a literal.
func (c *compiler) resource(path, text string) (template, error) {
	t, err := c.parse(path, text)
	if err != nil || text == "*" {
		return t, err
	}
	if len(t) == 1 && t[0].param != "" && c.params[t[0].param].Type == TypeARN {
		return t, nil
	}
	if !strings.HasPrefix(text, "arn:") || strings.Count(text, ":") < 5 {
		return nil, atf(path, "resource %q is no ARN, no %q and no parameter of type %s", text, "*", TypeARN)
	}
	for _, p := range t {
		for _, key := range variables(p.literal) {
			if _, several, _ := actions.ConditionType(key); several {
				return nil, atf(path, "resource %q: a request can have several values of %s, and IAM takes no such key for a variable", text, key)
			}
		}
	}
	colons := 0
	for _, p := range t {
		if p.param == "" {
			head := p.literal
			for i := range len(head) {
				switch {
				case head[i] == ':':
					colons++
				case colons < 3 && strings.IndexByte("*?$", head[i]) >= 0:
					return nil, atf(path, "resource %q has a wildcard before its region", text)
				case colons < 5 && head[i] == '$':
					return nil, atf(path, "resource %q has a variable before its fifth colon, where IAM has none", text)
				}
			}
			continue
		}
		switch typ := c.params[p.param].Type; {
		case typ == TypeARN:
			return nil, atf(path, "resource %q: a parameter of type %s is a whole resource", text, TypeARN)
		case colons < 3:
			return nil, atf(path, "resource %q has a parameter before its region", text)
		case colons < 5 && shapes[typ].delims:
			return nil, atf(path, "resource %q: a parameter of type %s cannot stand before the fifth colon", text, typ)
		}
	}
	for i, p := range t {
		if p.param != "" && c.params[p.param].Type == TypeS3Prefix && i+1 < len(t) && strings.HasPrefix(t[i+1].literal, "/") {
			return nil, atf(path, "resource %q: a value of type %s ends with its slash already", text, TypeS3Prefix)
		}
	}
	return t, nil
}

// variables are the condition keys of a literal's IAM variables.
func variables(literal string) []string {
	var out []string
	for _, piece := range strings.Split(literal, "${")[1:] {
		key, _, _ := strings.Cut(piece, "}")
		out = append(out, key)
	}
	return out
}

func (c *compiler) conditions(path string, f fileStatement, s *statement) error {
	for _, op := range slices.Sorted(maps.Keys(f.Conditions)) {
		canonical, negative, err := iam.ParseOperator(op)
		if err != nil || canonical != op || strings.HasSuffix(op, ":Null") {
			return atf(path+"."+op, "unknown condition operator %q", op)
		}
		if len(f.Conditions[op]) == 0 {
			return atf(path+"."+op, "condition operator %q has no keys", op)
		}
		s.conditions[op] = map[string][]template{}
		for _, key := range slices.Sorted(maps.Keys(f.Conditions[op])) {
			values := f.Conditions[op][key]
			if len(values) == 0 {
				return atf(path+"."+op, "condition key %q has no values", key)
			}
			if err := knownKey(key, s.actions); err != nil {
				return at(path+"."+op, err)
			}
			if err := comparable(canonical, key); err != nil {
				return at(path+"."+op, err)
			}
			for _, v := range values {
				var t template // an empty value is one: a listing without a prefix
				if v != "" {
					if t, err = c.parse(path+"."+op, v); err != nil {
						return err
					}
				}
				if negative && len(t.names()) > 0 {
					return atf(path+"."+op, "%s takes no parameter: a narrower value would allow more", op)
				}
				s.conditions[op][key] = append(s.conditions[op][key], t)
			}
		}
	}
	return nil
}

// comparable refuses an operator for values of another type than the catalogue gives the key, which IAM would take and
// never match: text is compared as text or as an ARN, and numbers, dates and addresses as what they are.
func comparable(op, key string) error {
	typ, _, known := actions.ConditionType(key)
	_, base, quantified := strings.Cut(op, ":")
	if !quantified {
		base = op
	}
	text := strings.HasPrefix(base, "String") || strings.HasPrefix(base, "Arn")
	ok := true
	switch typ {
	case actions.KeyString, actions.KeyARN:
		ok = text
	case actions.KeyBool:
		ok = strings.HasPrefix(base, "Bool") || strings.HasPrefix(base, "String")
	case actions.KeyNumeric:
		ok = strings.HasPrefix(base, "Numeric") || strings.HasPrefix(base, "String")
	case actions.KeyDate:
		ok = strings.HasPrefix(base, "Date") || strings.HasPrefix(base, "Numeric")
	case actions.KeyAddress:
		ok = strings.Contains(base, "IpAddress")
	}
	if !known || ok || base == "Null" {
		return nil
	}
	return fmt.Errorf("condition key %q has values of type %s, which %s does not compare", key, typ, op)
}

// knownKey refuses a misspelt key, which IAM would take as absent.
func knownKey(key string, acts []string) error {
	for _, a := range acts {
		service, _, _ := strings.Cut(a, ":")
		if actions.KnownCondition(service, key) {
			return nil
		}
	}
	return fmt.Errorf("condition key %q is unknown to the statement's services", key)
}

// match refuses a statement that gives less than it says: an action that can take none of its resources, or a resource
// that none of its actions can take.
func (c *compiler) match(path string, s statement) error {
	patterns := make([]glob.Pattern, len(s.resources))
	texts := make([]string, len(s.resources))
	for i, t := range s.resources {
		patterns[i], texts[i] = t.pattern(c.params), t.text()
	}
	for i, text := range texts {
		for _, name := range s.actions {
			if a, known := actions.Lookup(name); known && a.TypeWildcard(text) {
				return atf(fmt.Sprintf("%s.resources[%d]", path, i), "resource %q has a wildcard in its type, where AWS takes none; write the type out", text)
			}
		}
	}
	if action, resource := mismatch(s.actions, patterns, texts); action != "" {
		return atf(path+".actions", "action %q cannot take any resource of its statement", action)
	} else if resource != "" {
		return atf(path+".resources", "resource %q cannot be taken by any action of its statement", resource)
	}
	return nil
}

// mismatch returns the first action without a resource, or the first resource without an action.
func mismatch(acts []string, patterns []glob.Pattern, texts []string) (action, resource string) {
	taken := make([]bool, len(patterns))
	for _, name := range acts {
		a, known := actions.Lookup(name)
		any := false
		for i, p := range patterns {
			star := texts[i] == "*"
			if !known || star || (!a.NeedsStar() && a.Takes(p) && !a.TypeWildcard(texts[i])) {
				taken[i], any = true, true
			}
		}
		if !any {
			return name, ""
		}
	}
	if i := slices.Index(taken, false); i >= 0 {
		return "", texts[i]
	}
	return "", ""
}
