package identity

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/metadata"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Delegate is a workload that has authenticated its own users, and speaks for the
// agents that they are, such as the plugin inside a Vault. It can do what each of
// those agents can do, and nothing else: it is no agent itself.
type Delegate struct {
	// ID is its whole SPIFFE ID, which need not fit a path template.
	ID string
	// Agents are path templates, as Config.PathTemplates has them, of the agents
	// that it may speak for. Such an agent must fit one of Config.PathTemplates
	// too, which names its attributes. Empty is an error.
	Agents []string
}

func (a *Authenticator) addDelegates(delegates []Delegate) error {
	a.delegates = make(map[spiffeid.ID][]template)
	for _, d := range delegates {
		id, err := spiffeid.FromString(d.ID)
		switch {
		case err != nil:
			return fmt.Errorf("reading delegate %q: %w", d.ID, err)
		case !a.domains[id.TrustDomain()]:
			return fmt.Errorf("reading delegate %q: its trust domain is not listed", d.ID)
		case a.allowed[id]:
			return fmt.Errorf("reading delegate %q: it is among the allowed IDs, so that its own calls and those for agents could not be told apart", d.ID)
		case a.delegates[id] != nil:
			return fmt.Errorf("reading delegate %q: it is listed twice", d.ID)
		case len(d.Agents) == 0:
			return fmt.Errorf("reading delegate %q: it names no agents to speak for", d.ID)
		}
		for _, text := range d.Agents {
			t, err := parseTemplate(text)
			if err != nil {
				return fmt.Errorf("reading delegate %q: %w", d.ID, err)
			}
			if !t.trustDomain.IsZero() && !a.domains[t.trustDomain] {
				return fmt.Errorf("reading delegate %q: the trust domain of %q is not listed", d.ID, text)
			}
			a.delegates[id] = append(a.delegates[id], t)
		}
	}
	return nil
}

// speakFor turns a caller into the agent that it speaks for, where it is a
// delegate. Nothing in the metadata can make one of a caller that is not listed.
func (a *Authenticator) speakFor(ctx context.Context, caller Agent) (Agent, error) {
	named := metadata.ValueFromIncomingContext(ctx, valetkeyv1.OnBehalfOfAgent)
	rules, isDelegate := a.delegates[caller.id]
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
	case !a.domains[id.TrustDomain()]:
		return refuse("the agent's trust domain is not listed")
	case !matchesAny(rules, id):
		return refuse("the agent fits none of the delegate's templates")
	case a.allowed[id]:
		return refuse("the agent is one of the broker's operators")
	case a.delegates[id] != nil:
		return refuse("the agent is a delegate itself")
	}
	agent, err := a.admit(id, caller.expiresAt, caller.method)
	if err != nil {
		return refuse("the agent fits none of the broker's path templates")
	}
	agent.delegate = caller.id
	return agent, nil
}

func matchesAny(templates []template, id spiffeid.ID) bool {
	for _, t := range templates {
		if _, ok := t.match(id); ok {
			return true
		}
	}
	return false
}
