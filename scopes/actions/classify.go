package actions

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/scopes/tier"
)

// reason is what people said of the actions that have it.
type reason struct {
	class                                Class
	text                                 string
	final, secret, role, gains, outlives bool
}

func parseReason(class, more string) (reason, error) {
	marks, text, ok := strings.Cut(more, "\t")
	c := tier.Parse(class)
	if !ok || c == tier.None || text == "" {
		return reason{}, fmt.Errorf("reading action catalogue: reason %q of class %q", more, class)
	}
	r := reason{class: c, text: text}
	for mark := range strings.SplitSeq(marks, ",") {
		switch mark {
		case "":
		case "final":
			r.final = true
		case "secret":
			r.secret = true
		case "role":
			r.role = true
		case "outlives":
			r.outlives = true
		case "gains":
			r.gains = true
		default:
			return reason{}, fmt.Errorf("reading action catalogue: mark %q", mark)
		}
	}
	return r, nil
}

// Class returns how much harm the action can do and why. What nobody reviewed is ClassAdmin; a read has no reason.
func (a Action) Class() (Class, string) {
	switch {
	case a.reason == nil:
		return ClassAdmin, "nobody has reviewed the action"
	case a.Level == LevelUnknown:
		return ClassAdmin, "the catalogue gives it no level"
	case a.reason.class == ClassRead:
		return ClassRead, ""
	}
	return a.reason.class, a.reason.text
}

// Irreversible tells whether nothing undoes the action: it deletes, overwrites or gives away.
func (a Action) Irreversible() bool { return a.reason != nil && a.reason.final }

// Gains tells whether the action leads, alone, to rights that its caller has not: it runs code with a role that is there,
// opens a session, or decides who may do what. The reason is that of Class.
func (a Action) Gains() bool { return a.reason != nil && a.reason.gains }

// TakesRole tells whether the action hands a role to a service, for which AWS asks for iam:PassRole: together they lead to
// that role's rights.
func (a Action) TakesRole() bool { return a.reason != nil && a.reason.role }

// Classify returns how much harm an action can do and why: the reason that people gave in the review, and none for a
// read. A name with a wildcard is unknown: expand it first.
func Classify(name string) (Class, string) {
	a, ok := Lookup(name)
	if !ok {
		return ClassAdmin, "the action is not in the catalogue"
	}
	return a.Class()
}

// Sensitive tells whether an action hands out secrets, whatever its class, and what it hands out.
func Sensitive(name string) (string, bool) {
	a, _ := Lookup(name) // one that is unknown has no reason
	return a.Sensitive()
}

// Sensitive tells whether the action hands out secrets, and what it hands out.
func (a Action) Sensitive() (string, bool) {
	if a.reason == nil || !a.reason.secret {
		return "", false
	}
	return a.reason.text, true
}
