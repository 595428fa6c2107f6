package mint

import (
	"errors"
	"fmt"
	"time"
)

// ErrOutlives means that what the upstream hands out would go on working after the order's deadline, and
// that nothing was seen to end it before. It is an OutlivesError.
var ErrOutlives = errors.New("mint: outlives its grant")

// OutlivesError is an ErrOutlives that says why, and how long where that is known.
type OutlivesError struct {
	// Why names the engine and what is missing. It holds no secret.
	Why string
	// Until is when it stops working; zero where the upstream does not tell.
	Until time.Time
	// Left names what was made all the same, and given to nobody; zero for nothing.
	Left Handle
}

// Error says why and until when.
func (e *OutlivesError) Error() string {
	if e.Until.IsZero() {
		return fmt.Sprintf("%s: %v", e.Why, ErrOutlives)
	}
	return fmt.Sprintf("%s; it works until %s: %v", e.Why, e.Until.UTC().Format(time.RFC3339), ErrOutlives)
}

// Unwrap makes it an ErrOutlives.
func (*OutlivesError) Unwrap() error { return ErrOutlives }
