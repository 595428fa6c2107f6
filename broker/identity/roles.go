package identity

import (
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/spiffepath"
)

// Role is what a caller is to the broker. An ID has one, whichever listener it
// comes to.
type Role int

// The roles. The zero Role is nobody's.
const (
	// RoleAgent asks for grants: its ID fits a path template.
	RoleAgent Role = iota + 1
	// RoleOperator revokes, freezes and reloads.
	RoleOperator
	// RoleApprover decides what agents ask for.
	RoleApprover
	// roleDelegate is no caller's: a delegate calls as the agent that it names.
	roleDelegate
)

// String is the role with its article, as errors name it.
func (r Role) String() string {
	switch r {
	case RoleAgent:
		return "an agent"
	case RoleOperator:
		return "an operator"
	case RoleApprover:
		return "an approver"
	case roleDelegate:
		return "a delegate"
	default:
		return "nobody"
	}
}

// callers is who may call, as what: the same on every listener.
type callers struct {
	domains   map[spiffeid.TrustDomain]bool
	templates []spiffepath.Template
	roles     map[spiffeid.ID]Role // all but agents, who are told by templates
	delegates map[spiffeid.ID][]spiffepath.Template
}

// newCallers reads who may call, and refuses an ID that would have two roles.
func newCallers(cfg Config) (callers, error) {
	c := callers{domains: map[spiffeid.TrustDomain]bool{}, roles: map[spiffeid.ID]Role{}, delegates: map[spiffeid.ID][]spiffepath.Template{}}
	if err := c.addDomains(cfg.TrustDomains); err != nil {
		return callers{}, err
	}
	if err := c.addTemplates(cfg); err != nil {
		return callers{}, err
	}
	// All of them at once: who mends one overlap would meet the next at the next start.
	var errs []error
	for _, text := range cfg.Operators {
		_, err := c.addID(text, RoleOperator)
		errs = append(errs, err)
	}
	for _, text := range cfg.Approvers {
		_, err := c.addID(text, RoleApprover)
		errs = append(errs, err)
	}
	for _, d := range cfg.Delegates {
		errs = append(errs, c.addDelegate(d))
	}
	if err := errors.Join(errs...); err != nil {
		return callers{}, err
	}
	if len(c.templates)+len(c.roles) == 0 {
		return callers{}, errors.New("no path template, operator, approver or delegate: nobody could call")
	}
	return c, nil
}

func (c *callers) addDomains(names []string) error {
	if len(names) == 0 {
		return errors.New("no trust domain is listed")
	}
	for _, name := range names {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return fmt.Errorf("reading trust domain %q: %w", name, err)
		}
		c.domains[domain] = true
	}
	return nil
}

func (c *callers) addTemplates(cfg Config) error {
	texts := cfg.PathTemplates
	if cfg.PathTemplate != "" {
		texts = append([]string{cfg.PathTemplate}, texts...)
	}
	shapes := make(map[string]string)
	for _, text := range texts {
		t, err := spiffepath.Parse(text)
		if err != nil {
			return err
		}
		if !t.TrustDomain().IsZero() && !c.domains[t.TrustDomain()] {
			return fmt.Errorf("reading path template %q: its trust domain is not listed", text)
		}
		if other, ok := shapes[t.Shape()]; ok {
			return fmt.Errorf("reading path template %q: it matches the same IDs as %q", text, other)
		}
		shapes[t.Shape()] = text
		c.templates = append(c.templates, t)
	}
	return nil
}

// addID gives one ID its role.
func (c *callers) addID(text string, r Role) (spiffeid.ID, error) {
	id, err := spiffeid.FromString(text)
	if err != nil {
		return id, fmt.Errorf("reading the SPIFFE ID %q of %s: %w", text, r, err)
	}
	if !c.domains[id.TrustDomain()] {
		return id, fmt.Errorf("%s is listed as %s, and its trust domain is not listed", id, r)
	}
	if other := c.roles[id]; other != 0 && other != r {
		return id, fmt.Errorf("%s is listed as %s and as %s: an ID has one role, or its calls could not be told apart", id, other, r)
	}
	for _, t := range c.templates {
		if _, fits := t.Match(id); fits {
			return id, fmt.Errorf("%s is listed as %s, and is an agent by path template %q: an ID has one role, or its calls could not be told apart", id, r, t)
		}
	}
	c.roles[id] = r
	return id, nil
}

// isAgent gives the attributes of an ID that fits a path template.
func (c *callers) isAgent(id spiffeid.ID) (attributes map[string]string, fits bool) {
	for _, t := range c.templates {
		if attributes, fits = t.Match(id); fits {
			return attributes, true
		}
	}
	return nil, false
}

// Check finds what New would refuse in cfg beside its sources: IDs that cannot be
// read, trust domains that are not listed, and IDs with two roles.
func (cfg Config) Check() error {
	_, err := newCallers(cfg)
	if err != nil {
		return fmt.Errorf("configuring identity: %w", err)
	}
	return nil
}
