package serve

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// ScopeSpec is one scope of a task.
type ScopeSpec struct {
	// Name is what addresses and profiles are called by; the scope's where empty.
	Name string
	// Scope and Params are what is asked for.
	Scope  string
	Params valetkey.Params
	// TTL is the life wished for; zero is the scope's default.
	TTL time.Duration
	// Why is for people. Nothing decides on it.
	Why string
	// Wait waits for people where they have to approve. An agent does so in any case,
	// and looks less often without it.
	Wait bool
}

// Called is Name, or else the scope's.
func (s ScopeSpec) Called() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Scope
}

// mostWatched is how many sources follow their grants: the broker lets an agent
// follow 64 as it comes, and this process is not its only one.
const mostWatched = 32

// Options are those of the source; n is how many sources there are, and pending is
// told of the grants that wait for people; nil for nobody.
func (s ScopeSpec) Options(n int, pending func(*valetkey.Grant)) (out []valetkey.RequestOption) {
	if n <= mostWatched {
		out = append(out, valetkey.WithWatch())
	}
	if s.TTL != 0 {
		out = append(out, valetkey.WithTTL(s.TTL))
	}
	if s.Why != "" {
		out = append(out, valetkey.WithJustification(s.Why))
	}
	if s.Wait {
		out = append(out, valetkey.WithWait())
	}
	if pending != nil {
		out = append(out, valetkey.WithOnPending(pending))
	}
	return out
}

// names are what may be part of an address or a profile.
var names = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// IsName says whether a name may be part of an address or a profile.
func IsName(s string) bool { return names.MatchString(s) }

// Source is what keeps one credential fresh: a valetkey.Source. Credential answers
// from memory wherever it can, and is safe for concurrent use.
type Source interface {
	Credential(ctx context.Context) (valetkey.Credential, error)
	Status() valetkey.Status
}

var _ Source = (*valetkey.Source)(nil)

// ErrTwoOfAKind is a command whose scopes would need the same variable.
var ErrTwoOfAKind = errors.New("one command can have one such credential")

// CloseTimeout bounds what is still said to the broker at the end of a task or a scope.
const CloseTimeout = 5 * time.Second

// Over says that a task will give no more.
func Over(err error) bool {
	return errors.Is(err, valetkey.ErrClosed) || errors.Is(err, valetkey.ErrTaskClosed) || errors.Is(err, valetkey.ErrTaskNotFound)
}
