package policy

import (
	"time"

	"github.com/valetkey/valetkey/scopes"
)

// Rehearse supposes an agent, by its SPIFFE ID, and says what would be decided. Nobody has been authenticated, so only a
// Verdict comes back, which no step of the path takes. Errors are of an ID that agent_paths do not take, or wrap
// ErrPolicy.
func (e *Engine) Rehearse(agent string, r scopes.Request, t Task, now time.Time) (Verdict, error) {
	subject, err := e.Suppose(agent)
	if err != nil {
		return Verdict{}, err
	}
	return e.judge(question{subject: subject, wish: wishOf(r), task: t, now: now, ttl: r.TTL()})
}
