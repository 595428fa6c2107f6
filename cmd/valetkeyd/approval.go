package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/broker/quorum"
)

// ApprovalConfig is who may approve what policies want people for (docs/approvals.md). Without any
// people, such requests are refused at once.
type ApprovalConfig struct {
	// People are the humans who may approve. Read at start.
	People []PersonConfig `yaml:"people"`
	// Wait is how long a request waits for them, from 1m to 24h; unset for 5m.
	Wait time.Duration `yaml:"wait"`
	// Pending is how many requests of one agent may wait at once; 0 for 8, 1,000 at most. Ten times as many of one
	// delegate's may, and 1,000 of all. Agents are told apart as guard.rate_by says.
	Pending int `yaml:"pending"`
	// CoolDown is how long a request that people rejected is refused when the same
	// agent asks for the same again. Unset for 15m; 0s for not at all; 24h at most.
	CoolDown *time.Duration `yaml:"cool_down"`
	// Hardware is the lowest tier that is approved with a security key that asks for a
	// PIN or a fingerprint: read, write, destructive or admin. Unset for admin; "none"
	// for none.
	Hardware string `yaml:"hardware"`
}

// PersonConfig is one human who may approve.
type PersonConfig struct {
	// Name is how the record names them, in lower case. Required.
	Name string `yaml:"name"`
	// IDs are the SPIFFE IDs that they call with. None may be an agent's, an operator's
	// or a delegate's. At least one.
	IDs []string `yaml:"ids"`
	// Groups are those of approval_groups in policies/policy.yaml that they are in; everybody is in "any".
	Groups []string `yaml:"groups"`
	// Keys are SSH public keys that sign for them, as *.pub files have them. At least one; 500 of all people.
	Keys []string `yaml:"keys"`
	// Aliases are their other names, as agents' paths and on_behalf_of may have
	// them. What is asked for in any of a person's names is not theirs to approve.
	Aliases []string `yaml:"aliases"`
}

// directory is who may approve, for the broker whose ledger is called name; nil for nobody.
func (c Config) directory(name string) (*quorum.Directory, error) {
	if len(c.Approval.People) == 0 {
		if a := c.Approval; a.Wait != 0 || a.Pending != 0 || a.CoolDown != nil || a.Hardware != "" {
			return nil, errors.New("approval: says how people approve, but approval.people names nobody")
		}
		return nil, nil
	}
	conf := quorum.Config{Broker: name, Wait: c.Approval.Wait, Pending: c.Approval.Pending, CoolDown: c.Approval.CoolDown, Hardware: c.Approval.Hardware}
	for _, p := range c.Approval.People {
		conf.People = append(conf.People, quorum.Person{Name: p.Name, IDs: p.IDs, Groups: p.Groups, Keys: p.Keys, Aliases: p.Aliases})
	}
	b, err := quorum.NewDirectory(conf)
	if err != nil {
		return nil, fmt.Errorf("approval: %w", err)
	}
	return b, nil
}

func (c Config) approvers() (ids []string) {
	for _, p := range c.Approval.People {
		ids = append(ids, p.IDs...)
	}
	return ids
}
