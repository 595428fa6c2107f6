package review

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/actions"
)

// The rules of Lint. That a parameter is used is no rule here: a catalog with one that is not does not load.
const (
	RuleAccountWide    = "account-wide"   // a resource or a path without a limit
	RuleWildcard       = "wildcard"       // an action wildcard that takes in what destroys or administers
	RuleRoom           = "room"           // long parameters leave no room in a session policy
	RuleSame           = "same"           // two scopes give the same
	RuleCovered        = "covered"        // another scope of the same tier gives all of it and more
	RuleSecret         = "unnamed-secret" // it reads secrets and its description does not say so
	RuleLongLife       = "long-life"      // what can destroy or administer lives over an hour
	longLife           = time.Hour        // see RuleLongLife
	roomLeft           = 128              // characters: what one more network or Region may take
	plausibleListItems = 4                // values of a list parameter that RuleRoom measures with
)

// Finding is one place where a scope is wider than it has to be.
type Finding struct {
	File  string `json:"file"`
	Scope string `json:"scope"`
	Rule  string `json:"rule"`
	Why   string `json:"why"`
	Do    string `json:"do"` // what to do about it
}

// Lint looks for scopes that are wider than they have to be. The findings are in the order of scopes, then of rules.
func Lint(c *scopes.Catalog) []Finding {
	var out []Finding
	for _, s := range c.Scopes() {
		l := linter{catalog: c, scope: s, outline: s.Outline()}
		for _, rule := range []func(){l.accountWide, l.wildcards, l.room, l.covered, l.secrets, l.life} {
			rule()
		}
		slices.SortStableFunc(l.out, func(a, b Finding) int { return cmp.Compare(a.Rule, b.Rule) })
		out = append(out, l.out...)
	}
	return out
}

type linter struct {
	catalog *scopes.Catalog
	scope   *scopes.Scope
	outline scopes.Outline
	out     []Finding
}

func (l *linter) found(rule, do, why string, args ...any) {
	l.out = append(l.out, Finding{l.outline.File, l.scope.Name(), rule, fmt.Sprintf(why, args...), do})
}

func (l *linter) accountWide() {
	for _, st := range l.outline.Statements {
		for _, r := range st.Resources {
			if !unlimited(r) || !slices.ContainsFunc(st.Actions, couldNarrow) {
				continue
			}
			l.found(RuleAccountWide, "name the resource with a parameter, or limit the statement to actions that take \"*\" alone",
				"%q is every resource of its kind, for %s", r, strings.Join(st.Actions, ", "))
		}
	}
	for _, p := range l.outline.Paths {
		if wholeMount(p) {
			l.found(RuleAccountWide, "put a literal or a parameter before the wildcard", "%q is everything under its mount", p)
		}
	}
}

// unlimited tells whether a resource as it was written has nothing but wildcards for a name.
func unlimited(resource string) bool {
	if resource == "*" {
		return true
	}
	f := strings.SplitN(resource, ":", 6)
	if len(f) < 6 || strings.Contains(f[5], "{") {
		return false
	}
	name := f[5] // "bucket/*", "table/*", "function:*"
	if i := strings.IndexAny(name, ":/"); i >= 0 && f[2] != "s3" {
		name = name[i+1:]
	}
	return name != "" && strings.Trim(name, "*/:") == ""
}

// couldNarrow tells whether an action as it was written includes one that takes a resource.
func couldNarrow(pattern string) bool {
	names := actions.Expand(pattern)
	return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool {
		a, ok := actions.Lookup(n)
		return !ok || !a.NeedsStar()
	})
}

// wholeMount tells whether a Vault path has nothing but wildcards behind its mount.
func wholeMount(path string) bool {
	mount, rest, _ := strings.Cut(path, "/")
	for _, kind := range []string{"data/", "metadata/", "delete/", "undelete/", "destroy/"} { // of KV version 2
		if after, ok := strings.CutPrefix(rest, kind); ok {
			rest = after
			break
		}
	}
	return strings.ContainsAny(mount, "*+") || rest != "" && strings.Trim(rest, "*+/") == ""
}

func (l *linter) wildcards() {
	for _, st := range l.outline.Statements {
		for _, a := range st.Actions {
			if !strings.ContainsAny(a, "*?") {
				continue
			}
			var bad []string
			for _, n := range actions.Expand(a) {
				if class, _ := actions.Classify(n); class >= actions.ClassDestructive {
					bad = append(bad, n)
				}
			}
			if len(bad) > 0 {
				l.found(RuleWildcard, "write out the actions that are meant", "%q takes in %s", a, list(bad))
			}
		}
	}
}

func (l *linter) life() {
	if l.scope.Tier() >= scopes.TierDestructive && l.scope.MaxTTL() > longLife {
		l.found(RuleLongLife, "lower ttl.max to an hour or less; a task that takes longer can ask again",
			"tier %s for up to %s", l.scope.Tier(), l.scope.MaxTTL())
	}
}

// room measures the policy with the longest parameters that are plausible: a request over the limit is refused, and
// nobody finds out before.
func (l *linter) room() {
	if l.scope.Provider() != scopes.ProviderAWS {
		return
	}
	const do = "fewer or shorter resources and conditions, or two scopes"
	size, err := longestSize(l.catalog, l.scope)
	switch {
	case errors.Is(err, scopes.ErrTooLarge):
		l.found(RuleRoom, do, "with long parameters it does not fit: %s", err)
	case err == nil && maxSize-size < roomLeft:
		l.found(RuleRoom, do, "with long parameters %d of %d characters are left", maxSize-size, maxSize)
	}
}
