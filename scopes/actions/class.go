package actions

// Class is how much harm an action can do.
type Class int

// The classes, each wider than the one before it. ClassUnspecified is never returned for a name.
const (
	ClassUnspecified Class = iota
	ClassRead
	ClassWrite
	ClassDestructive
	ClassAdmin
)
