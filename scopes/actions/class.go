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

// String returns the class's word: "read", "write", "destructive" or "admin"; "none" for ClassUnspecified.
func (c Class) String() string {
	switch c {
	case ClassRead:
		return "read"
	case ClassWrite:
		return "write"
	case ClassDestructive:
		return "destructive"
	case ClassAdmin:
		return "admin"
	case ClassUnspecified:
	}
	return "none"
}
