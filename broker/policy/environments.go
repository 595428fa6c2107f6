package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
)

// Unvouched is in context.environments where something of a request that could name
// its environment names none.
const Unvouched = "unvouched"

var unvouched = types.NewSet(types.String(Unvouched))

// environment is how one is told by what was verified: a part of environments in
// policies/policy.yaml. What the agent says of its task plays no part.
type environment struct {
	// TrustDomains are those whose agents work there.
	TrustDomains []string `yaml:"trust_domains"`
	// Agent are patterns of the segments of the agent's path, by their names.
	Agent map[string][]wild `yaml:"agent"`
	// Params are patterns of a scope's parameters, by their names.
	Params map[string][]wild `yaml:"params"`
}

// environments are those of policy.yaml, by name.
type environments map[string]environment

// check finds names that policies could not use, and vouchers that nothing could ever ask.
func (es environments) check(attributes []string, params map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(es)) {
		e := es[name]
		switch {
		case !groupName.MatchString(name) || name == Unvouched:
			return fmt.Errorf("environment %q: want %s, and not %s", name, groupName, Unvouched)
		case len(e.TrustDomains)+len(e.Agent)+len(e.Params) == 0:
			return fmt.Errorf("environment %q: nothing vouches for it: name trust_domains, agent or params", name)
		}
		for attr, patterns := range e.Agent {
			if !slices.Contains(attributes, attr) || len(patterns) == 0 {
				return fmt.Errorf("environment %q: agent.%s: no path in agent_paths has that segment, or it has no pattern", name, attr)
			}
		}
		for param, patterns := range e.Params {
			if !params[param] || len(patterns) == 0 {
				return fmt.Errorf("environment %q: params.%s: no scope has that parameter, or it has no pattern", name, param)
			}
		}
	}
	return nil
}

// names are all that context.environments can hold, sorted.
func (es environments) names() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(es)), Unvouched)))
}

// of gives the environments that a request is vouched to be in. Each trust domain,
// segment and parameter value that some environment is told by is asked, and one that
// names none adds Unvouched; so does a request in which there is nothing to ask. So
// what is equal to ["staging"] is in staging with all that it touches.
func (es environments) of(s Subject, params map[string][]string) types.Set {
	if len(es) == 0 {
		return unvouched
	}
	found := map[string]bool{}
	ask := func(told bool, fits func(environment) bool) {
		named := false
		for name, e := range es {
			if fits(e) {
				found[name], named = true, true
			}
		}
		if told && !named {
			found[Unvouched] = true
		}
	}
	told := func(asks func(environment) bool) bool {
		for _, e := range es {
			if asks(e) {
				return true
			}
		}
		return false
	}
	ask(told(func(e environment) bool { return len(e.TrustDomains) > 0 }), func(e environment) bool {
		return slices.Contains(e.TrustDomains, s.ID.TrustDomain().Name())
	})
	for attr, value := range s.Attributes {
		ask(told(func(e environment) bool { return len(e.Agent[attr]) > 0 }), func(e environment) bool { return fitsAny(e.Agent[attr], value) })
	}
	for param, values := range params {
		for _, value := range values {
			ask(told(func(e environment) bool { return len(e.Params[param]) > 0 }), func(e environment) bool { return fitsAny(e.Params[param], value) })
		}
	}
	if len(found) == 0 {
		found[Unvouched] = true
	}
	out := make([]types.Value, 0, len(found))
	for name := range found {
		out = append(out, types.String(name))
	}
	return types.NewSet(out...)
}

// wild is a pattern of whole texts, in which * is any text.
type wild struct{ pattern types.Pattern }

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (w *wild) UnmarshalYAML(get func(any) error) error {
	var text string
	if err := get(&text); err != nil {
		return err
	}
	var parts []any
	for i, literal := range strings.Split(text, "*") {
		if i > 0 {
			parts = append(parts, types.Wildcard{})
		}
		parts = append(parts, types.String(literal))
	}
	w.pattern = types.NewPattern(parts...)
	return nil
}

func fitsAny(patterns []wild, value string) bool {
	return slices.ContainsFunc(patterns, func(w wild) bool { return w.pattern.Match(types.String(value)) })
}

// environmentWords refuses a comparison of context.environments with what is none.
func (v vocabulary) environmentWords(left, right any) error {
	isEnvironments := func(node any) bool {
		target, attr, _ := access(node)
		return isContext(target) && attr == ctxEnvironments
	}
	words := []any{left}
	switch {
	case isEnvironments(left):
		words = []any{right}
	case !isEnvironments(right):
		return nil
	}
	if set, _ := words[0].(map[string]any); set["Set"] != nil {
		words, _ = set["Set"].([]any)
	}
	for _, node := range words {
		if word, ok := text(node); ok && !slices.Contains(v.environments, word) {
			return fmt.Errorf("context.%s never holds %q: the environments of %s are %s", ctxEnvironments, word, settingsFile, strings.Join(v.environments, ", "))
		}
	}
	return nil
}
