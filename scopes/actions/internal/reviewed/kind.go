package reviewed

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/valetkey/valetkey/scopes/tier"
)

// Kind is one reason for a class, as rules.txt has it.
type Kind struct {
	Name   string
	Class  string   // read, write, destructive or admin
	Marks  []string // of marks; sorted
	Reason string   // "%s" stands for the verb
	byVerb bool     // rules.txt lists verbs for it, so that level and verb are enough
}

// verbs are the verbs that are enough for a kind at some levels.
type verbs struct {
	kind   *Kind
	levels []string
	list   []string
	within bool // anywhere in the name, not only as its first word
}

// marks are what a kind can have beside its class; rules.txt says what each means, and package actions reads them.
var marks = []string{"final", "gains", "outlives", "role", "secret"}

// rules are the contents of rules.txt.
type rules struct {
	kinds map[string]*Kind
	verbs []verbs  // the first that fits counts
	words []string // lower case
}

func parseRules(text string) (*rules, error) {
	r := &rules{kinds: map[string]*Kind{}}
	for n, line := range logical(text) {
		word, rest, _ := strings.Cut(line, " ")
		var err error
		switch word {
		case "kind":
			err = r.kind(rest)
		case "verbs", "within":
			err = r.verb(rest, word == "within")
		case "words":
			for _, w := range strings.Fields(rest) {
				r.words = append(r.words, strings.ToLower(w))
			}
		default:
			err = fmt.Errorf("%q is neither kind, verbs, within nor words", word)
		}
		if err != nil {
			return nil, fmt.Errorf("rules.txt:%d: %w", n, err)
		}
	}
	if len(r.kinds) == 0 || len(r.verbs) == 0 || len(r.words) == 0 {
		return nil, fmt.Errorf("rules.txt: no kinds, no verbs or no words")
	}
	return r, nil
}

func (r *rules) kind(text string) error {
	f := strings.Fields(text)
	if len(f) < 4 {
		return fmt.Errorf("a kind is NAME CLASS MARKS REASON")
	}
	k := &Kind{Name: f[0], Class: f[1], Reason: strings.Join(f[3:], " ")}
	if f[2] != "-" {
		k.Marks = strings.Split(f[2], ",")
		slices.Sort(k.Marks)
	}
	for _, m := range k.Marks {
		if !slices.Contains(marks, m) {
			return fmt.Errorf("kind %s: mark %q is not among %v", k.Name, m, marks)
		}
	}
	if tier.Parse(k.Class) == tier.None || r.kinds[k.Name] != nil {
		return fmt.Errorf("kind %s: class %q is not read, write, destructive or admin, or the kind is there twice", k.Name, k.Class)
	}
	r.kinds[k.Name] = k
	return nil
}

func (r *rules) verb(text string, within bool) error {
	head, list, ok := strings.Cut(text, ":")
	f := strings.Fields(head)
	if !ok || len(f) != 2 || r.kinds[f[0]] == nil {
		return fmt.Errorf("verbs are KIND LEVEL,LEVEL: Verb Verb, after their kind")
	}
	k := r.kinds[f[0]]
	k.byVerb = true
	r.verbs = append(r.verbs, verbs{kind: k, levels: strings.Split(f[1], ","), list: strings.Fields(list), within: within})
	return nil
}

// enough returns the kind that level and verb are enough for, with the verb, or why they are not.
func (r *rules) enough(a Action) (kind *Kind, verb, not string) {
	_, name, _ := strings.Cut(a.Name, ":")
	for _, w := range r.words {
		if strings.Contains(strings.ToLower(name), w) {
			return nil, "", fmt.Sprintf("it holds %q", w)
		}
	}
	parts := words(name)
	for _, v := range r.verbs {
		if !slices.Contains(v.levels, a.Level) {
			continue
		}
		for i, p := range parts {
			if (i == 0 || v.within) && slices.Contains(v.list, p) {
				return v.kind, p, ""
			}
		}
	}
	return nil, "", fmt.Sprintf("%q is no listed verb for level %s", parts[0], a.Level)
}

// words splits "AdminDeleteUser" into "Admin", "Delete", "User"; a run of capitals such as "DELETE" is one word.
func words(name string) []string {
	var out []string
	r := []rune(name)
	start := 0
	for i := 1; i < len(r); i++ {
		begins := unicode.IsUpper(r[i]) && (!unicode.IsUpper(r[i-1]) || (i+1 < len(r) && unicode.IsLower(r[i+1])))
		if begins {
			out = append(out, string(r[start:i]))
			start = i
		}
	}
	return append(out, string(r[start:]))
}
