package identity

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/spiffepath"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Delegate is a workload that has authenticated its own users, and speaks for the
// agents that they are, such as the plugin inside a Vault. It can do what each of
// those agents can do, and nothing else: it is no agent itself.
type Delegate struct {
	// ID is its whole SPIFFE ID, which fits no path template.
	ID string
	// Agents are path templates, as Config.PathTemplates has them, of the agents
	// that it may speak for. Such an agent must fit one of Config.PathTemplates
	// too, which names its attributes. Empty is an error.
	Agents []string
}

func (c *callers) addDelegate(d Delegate) error {
	id, err := c.addID(d.ID, roleDelegate)
	switch {
	case err != nil:
		return err
	case c.delegates[id] != nil:
		return fmt.Errorf("reading delegate %q: it is listed twice", d.ID)
	case len(d.Agents) == 0:
		return fmt.Errorf("reading delegate %q: it names no agents to speak for", d.ID)
	}
	for _, text := range d.Agents {
		t, err := spiffepath.Parse(text)
		if err != nil {
			return fmt.Errorf("reading delegate %q: %w", d.ID, err)
		}
		if !t.TrustDomain().IsZero() && !c.domains[t.TrustDomain()] {
			return fmt.Errorf("reading delegate %q: the trust domain of %q is not listed", d.ID, text)
		}
		c.delegates[id] = append(c.delegates[id], t)
	}
	return nil
}

// speakFor turns a caller into the agent that it speaks for, where it is a
// delegate. Nothing in the metadata can make one of a caller that is not listed.
func (a *Authenticator) speakFor(ctx context.Context, caller Agent) (Agent, error) {
	named := metadata.ValueFromIncomingContext(ctx, valetkeyv1.OnBehalfOfAgent)
	isDelegate := caller.role == roleDelegate
	switch {
	case !isDelegate && len(named) == 0:
		return caller, nil
	case !isDelegate:
		return Agent{}, &Refusal{Claimed: caller.id, Cause: fmt.Errorf("%w: it named an agent to speak for", ErrNotDelegate)}
	case len(named) != 1:
		return Agent{}, &Refusal{Claimed: caller.id, Cause: fmt.Errorf("%w: %s came %d times", ErrNoAgentNamed, valetkeyv1.OnBehalfOfAgent, len(named))}
	}
	id, err := spiffeid.FromString(named[0])
	if err != nil {
		return Agent{}, &Refusal{Claimed: caller.id, Cause: fmt.Errorf("%w: %w", ErrNoAgentNamed, err)}
	}
	refuse := func(why string) (Agent, error) {
		return Agent{}, &Refusal{Claimed: id, Delegate: caller.id, Cause: fmt.Errorf("%w: %s", ErrNotDelegated, why)}
	}
	switch {
	case !a.callers.domains[id.TrustDomain()]:
		return refuse("the agent's trust domain is not listed")
	case !matchesAny(a.callers.delegates[caller.id], id):
		return refuse("the agent fits none of the delegate's templates")
	case a.callers.roles[id] != 0:
		return refuse("it is " + a.callers.roles[id].String() + ", and no agent")
	}
	agent, err := a.admit(id, caller.expiresAt, caller.method)
	if err != nil {
		return refuse("the agent fits none of the broker's path templates")
	}
	agent.delegate = caller.id
	return agent, nil
}

func matchesAny(templates []spiffepath.Template, id spiffeid.ID) bool {
	for _, t := range templates {
		if _, ok := t.Match(id); ok {
			return true
		}
	}
	return false
}
