package actions

import (
	"slices"
	"strings"
	"sync"
)

var ours = sync.OnceValue(tables)

// Classify returns how much harm an action can do and why. The reason is empty for a read and a plain write. A name
// with a wildcard is unknown: expand it first.
func Classify(name string) (Class, string) {
	a, ok := Lookup(name)
	if !ok {
		return ClassAdmin, "the action is not in the catalogue"
	}
	class, why := fromLevel(a.Level)
	for _, raise := range []func(Action) (Class, string){admin, destructive} {
		if c, w := raise(a); c > class {
			class, why = c, w
		}
	}
	return class, why
}

// Sensitive tells whether an action hands out secrets, whatever its class, and what it hands out.
func Sensitive(name string) (string, bool) {
	r, ok := find(ours().sensitive, name)
	return r.why, ok
}

func fromLevel(l Level) (Class, string) {
	switch l {
	case LevelRead, LevelList:
		return ClassRead, ""
	case LevelWrite, LevelTagging:
		return ClassWrite, ""
	case LevelPermissions:
		return ClassAdmin, "AWS calls it permissions management"
	}
	return ClassAdmin, "the catalogue gives it no level"
}

// admin says what can widen rights: its own, or somebody's.
func admin(a Action) (Class, string) {
	t := ours()
	if slices.Contains(t.plainReads, a.Name) {
		return ClassUnspecified, ""
	}
	if r, ok := find(t.adminActions, a.Name); ok {
		return ClassAdmin, r.why
	}
	service, action, _ := strings.Cut(a.Name, ":")
	reads := a.Level == LevelRead || a.Level == LevelList
	if r, ok := find(t.adminServices, service); ok && (!reads || service == "sts") {
		return ClassAdmin, r.why
	}
	w := words(action)
	has := func(word string) bool { return slices.Contains(w, word) }
	switch {
	case has("Assume") && (has("Role") || has("Root")):
		return ClassAdmin, "it takes on a role"
	case w[0] == "Get" && has("Credentials") && !has("Describe"):
		return ClassAdmin, "it hands out credentials"
	case reads || a.Level == LevelTagging:
		return ClassUnspecified, ""
	case has("Pass") && has("Role"):
		return ClassAdmin, "it hands a role to a service"
	case has("Permission") || has("Permissions"):
		return ClassAdmin, "it changes permissions"
	case has("Policy") && !slices.ContainsFunc(t.harmless, has) && w[0] != "Delete" && w[0] != "Cancel":
		return ClassAdmin, "it writes a policy"
	case has("Role") && slices.Contains([]string{"Associate", "Add", "Set", "Update", "Create", "Enable", "Batch"}, w[0]):
		return ClassAdmin, "it gives a role"
	case (has("Admin") || has("Delegated")) && slices.Contains([]string{"Register", "Enable", "Associate", "Assign", "Put", "Create"}, w[0]):
		return ClassAdmin, "it appoints an administrator"
	case (has("Token") || has("Credentials") || (has("Access") && has("Key"))) && slices.Contains([]string{"Get", "Create", "Exchange", "Refresh", "Rotate"}, w[0]):
		return ClassAdmin, "it makes credentials"
	case has("Trust") && (has("Anchor") || w[0] == "Create" || w[0] == "Update") && !has("Store"):
		return ClassAdmin, "it decides whom to trust"
	case has("Identity") && has("Provider") && w[0] != "Delete":
		return ClassAdmin, "it decides whom to trust"
	}
	return ClassUnspecified, ""
}

// destructive says what deletes, stops for good or cannot be undone.
func destructive(a Action) (Class, string) {
	t := ours()
	if r, ok := find(t.destructive, a.Name); ok {
		return ClassDestructive, r.why
	}
	if a.Level != LevelWrite {
		return ClassUnspecified, ""
	}
	_, action, _ := strings.Cut(a.Name, ":")
	w := words(action)
	if w[0] == "Cancel" || w[0] == "Describe" {
		return ClassUnspecified, ""
	}
	for _, word := range t.destructiveWords {
		if slices.Contains(w, word) {
			return ClassDestructive, "its name says " + strings.ToLower(word)
		}
	}
	if slices.Contains(t.destructiveVerbs, w[0]) {
		return ClassDestructive, "its name says " + strings.ToLower(w[0])
	}
	return ClassUnspecified, ""
}
