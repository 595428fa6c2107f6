package reviewed

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/tier"
)

// Action is what a catalogue says of an action.
type Action struct {
	Name  string // "s3:GetObject"
	Level string // AWS's own: Read, List, Write, Tagging, "Permissions management"
}

// Entry is what people said of an action.
type Entry struct {
	Class  string
	Marks  []string
	Reason string
}

// Review is what people said of all actions.
type Review struct {
	rules   *rules
	entries map[string]entry // by the action's name
}

type entry struct {
	kind   *Kind
	reason string // empty: the kind's own
}

// Read reads rules.txt and actions.txt of a folder.
func Read(dir string) (*Review, error) {
	var text [2]string
	for i, name := range []string{"rules.txt", "actions.txt"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("reading the review of actions: %w", err)
		}
		text[i] = string(b)
	}
	return Parse(text[0], text[1])
}

// Parse reads the texts of rules.txt and actions.txt.
func Parse(rulesText, actionsText string) (*Review, error) {
	r, err := parseRules(rulesText)
	if err != nil {
		return nil, err
	}
	out := &Review{rules: r, entries: map[string]entry{}}
	service, now := "", entry{}
	for n, line := range strings.Split(actionsText, "\n") {
		body := strings.TrimSpace(line)
		var err error
		switch indent := len(line) - len(strings.TrimLeft(line, " ")); {
		case body == "" || strings.HasPrefix(body, "#"):
		case indent == 0 && !strings.ContainsAny(line, " \t"):
			service, now = body, entry{}
		case indent == 2:
			now, err = out.heading(body)
		case indent == 4 && now.kind != nil && service != "":
			for _, name := range strings.Fields(body) {
				full := service + ":" + name
				if _, twice := out.entries[full]; twice {
					err = fmt.Errorf("%s is there twice", full)
				}
				out.entries[full] = now
			}
		default:
			err = fmt.Errorf("%q is neither a service, a kind nor the names below one", line)
		}
		if err != nil {
			return nil, fmt.Errorf("actions.txt:%d: %w", n+1, err)
		}
	}
	return out, nil
}

// heading reads "kind" or "kind: reason".
func (r *Review) heading(text string) (entry, error) {
	name, reason, _ := strings.Cut(text, ":")
	k := r.rules.kinds[name]
	switch {
	case k == nil:
		return entry{}, fmt.Errorf("rules.txt has no kind %q", name)
	case k.byVerb && reason != "":
		return entry{}, fmt.Errorf("%s rests on the verb and takes no reason of its own", name)
	}
	return entry{k, strings.TrimSpace(reason)}, nil
}

// Of returns what people said of an action; Hold has to have passed.
func (r *Review) Of(a Action) (Entry, bool) {
	e, ok := r.entries[a.Name]
	if !ok {
		return Entry{}, false
	}
	out := Entry{Class: e.kind.Class, Marks: e.kind.Marks, Reason: e.reason}
	if out.Reason == "" {
		out.Reason = e.kind.Reason
	}
	if strings.Contains(out.Reason, "%s") {
		_, verb, _ := r.rules.enough(a)
		out.Reason = fmt.Sprintf(out.Reason, strings.ToLower(verb))
	}
	return out, true
}

// Hold tells whether the review is of exactly these actions, and keeps to its rules. The error says what to write where.
func (r *Review) Hold(catalogue []Action) error {
	var missing, wrong []string
	seen := map[string]bool{}
	for _, a := range catalogue {
		seen[a.Name] = true
		e, ok := r.entries[a.Name]
		if !ok {
			missing = append(missing, r.advise(a))
			continue
		}
		if tier.Parse(e.kind.Class) < tier.Parse(fromLevel(a.Level)) {
			wrong = append(wrong, fmt.Sprintf("%s is %s under %s, and AWS's level is %s", a.Name, e.kind.Class, e.kind.Name, a.Level))
		}
		if e.kind.byVerb {
			if k, _, not := r.rules.enough(a); k != e.kind {
				if k != nil {
					not = "its verb is one for " + k.Name
				}
				wrong = append(wrong, fmt.Sprintf("%s cannot be under %s, by its level (%s) and verb: %s", a.Name, e.kind.Name, a.Level, not))
			}
		}
	}
	for name := range r.entries {
		if !seen[name] {
			wrong = append(wrong, name+" is in the review, and AWS has it no more: take it out")
		}
	}
	if len(missing)+len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return &HoldError{Missing: missing, Wrong: wrong}
}

// advise says what to write for an action that nobody reviewed.
func (r *Review) advise(a Action) string {
	k, _, not := r.rules.enough(a)
	if k != nil {
		return fmt.Sprintf("%s (%s): its level and verb are enough for %s", a.Name, a.Level, k.Name)
	}
	return fmt.Sprintf("%s (%s): by name, with a reason, since %s", a.Name, a.Level, not)
}

// HoldError says where the review and the catalogue differ.
type HoldError struct {
	Missing []string // actions that nobody reviewed, with what is enough for each
	Wrong   []string // entries that cannot stand
}

// Error lists all of them, and says what to do.
func (e *HoldError) Error() string {
	var b strings.Builder
	if len(e.Missing) > 0 {
		fmt.Fprintf(&b, "%d actions have no reviewed class. Read what each does, and write its name into review/actions.txt, under its "+
			"service and the kind (rules.txt) that says why:\n  %s\n", len(e.Missing), strings.Join(e.Missing, "\n  "))
	}
	if len(e.Wrong) > 0 {
		fmt.Fprintf(&b, "%d entries of review/actions.txt cannot stand:\n  %s\n", len(e.Wrong), strings.Join(e.Wrong, "\n  "))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// fromLevel is the least class that AWS's level leaves.
func fromLevel(level string) string {
	switch level {
	case "Read", "List":
		return "read"
	case "Write", "Tagging":
		return "write"
	}
	return "admin"
}

// logical gives the lines of a text with their numbers, without comments; an indented line goes on with the one before.
func logical(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		at, line := 0, ""
		for n, l := range strings.Split(text+"\nend", "\n") {
			switch {
			case strings.TrimSpace(l) == "" || strings.HasPrefix(l, "#"):
			case strings.HasPrefix(l, " "):
				line += " " + strings.TrimSpace(l)
			default:
				if line != "" && !yield(at, line) {
					return
				}
				at, line = n+1, l
			}
		}
	}
}
