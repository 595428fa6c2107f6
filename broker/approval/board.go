package approval

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/scopes"
)

const (
	// DefaultWait is how long a request waits for people: draft-hartman-credential-
	// broker-4-agents-00 gives tier 2 five minutes.
	DefaultWait = 5 * time.Minute
	// MaxWait bounds Config.Wait. What waits longer is asked for again: the people
	// who would approve it then see it as it is then.
	MaxWait = 24 * time.Hour
	// DefaultPending is how many requests of one agent may wait at once. More tire
	// people, who then approve without reading.
	DefaultPending = 8
	maxPending     = 1000
)

var personName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,127}$`)

// Person is one human who may approve.
type Person struct {
	// Name is how the record names them, in lower case: "alice", "alice@example.com".
	Name string
	// IDs are the SPIFFE IDs that they call with, at least one.
	IDs []string
	// Groups are those of policies/policy.yaml that they are in; every person is in
	// the group "any".
	Groups []string
	// Keys are SSH public keys, as *.pub files have them, at least one.
	Keys []string
	// Aliases are other names of theirs that a task's on_behalf_of or an agent's
	// path may hold. A person is no judge of what is asked for in any of their names.
	Aliases []string
}

// Config configures NewBoard.
type Config struct {
	// Broker is the name of the broker's ledger, which statements are bound to.
	Broker string
	// People are those who may approve; at least one.
	People []Person
	// Wait is how long a request waits for people; DefaultWait when zero.
	Wait time.Duration
	// Pending is how many requests of one agent may wait at once; DefaultPending
	// when zero.
	Pending int
	// Hardware are the tiers whose approvals have to come from a security key that
	// attests a touch and a PIN or fingerprint. Nil is the admin tier alone; empty
	// is none.
	Hardware []string
}

// Board is who may approve, and under which rules. It never changes and is safe
// for concurrent use.
type Board struct {
	broker   string
	people   []*person
	byID     map[string]*person
	wait     time.Duration
	pending  int
	hardware []string
}

type person struct {
	name   string
	groups []string
	names  []string // in lower case: name, aliases and IDs
	keys   []ssh.PublicKey
}

// NewBoard validates cfg, and finds every fault at once.
func NewBoard(cfg Config) (*Board, error) {
	b := &Board{broker: cfg.Broker, byID: map[string]*person{}, wait: cfg.Wait, pending: cfg.Pending, hardware: cfg.Hardware}
	if b.wait == 0 {
		b.wait = DefaultWait
	}
	if b.pending == 0 {
		b.pending = DefaultPending
	}
	if b.hardware == nil {
		b.hardware = []string{scopes.TierAdmin.String()}
	}
	var errs []error
	need := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	need(cfg.Broker != "", "no name of the broker to bind approvals to")
	need(len(cfg.People) > 0, "people: at least one is required")
	need(b.wait >= time.Minute && b.wait <= MaxWait, "wait: %v is not from 1m to %v", b.wait, MaxWait)
	need(b.pending > 0 && b.pending <= maxPending, "pending: %d is not from 1 to %d", b.pending, maxPending)
	for _, tier := range b.hardware {
		need(isTier(tier), "hardware: %q is no tier: read, write, destructive or admin", tier)
	}
	names, keys := map[string]string{}, map[string]string{}
	for _, p := range cfg.People {
		errs = append(errs, b.add(p, names, keys)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b, nil
}

// add takes one person. names and keys are whose they already are: two people of
// one name or key would be one person who counts twice.
func (b *Board) add(p Person, names, keys map[string]string) (errs []error) {
	fault := func(text string, args ...any) {
		errs = append(errs, fmt.Errorf("people.%s: %w", p.Name, fmt.Errorf(text, args...)))
	}
	if !personName.MatchString(p.Name) {
		fault("a name matches %s", personName)
	}
	if len(p.IDs) == 0 {
		fault("ids: at least one SPIFFE ID to call with is required")
	}
	if len(p.Keys) == 0 {
		fault("keys: at least one SSH public key is required")
	}
	in := &person{name: p.Name, groups: slices.Clone(p.Groups)}
	for _, name := range slices.Concat([]string{p.Name}, p.IDs, p.Aliases) {
		name = strings.ToLower(strings.TrimSpace(name))
		if owner, taken := names[name]; taken || name == "" {
			fault("the name %q is empty, or there already, as %s's", name, owner)
			continue
		}
		names[name] = p.Name
		in.names = append(in.names, name)
	}
	for _, id := range p.IDs {
		if _, err := spiffeid.FromString(id); err != nil {
			fault("id %q: %w", id, err)
		}
		b.byID[id] = in
	}
	for _, group := range p.Groups {
		if group == policy.AnyGroup {
			fault("groups: everybody is in %q", group)
		}
	}
	for _, line := range p.Keys {
		key, err := evidence.ParseKey(line)
		if err != nil {
			fault("key %.40q: %w", line, err)
			continue
		}
		fingerprint := ssh.FingerprintSHA256(key)
		if owner, taken := keys[fingerprint]; taken {
			fault("key %s is there already, as %s's", fingerprint, owner)
			continue
		}
		keys[fingerprint] = p.Name
		in.keys = append(in.keys, key)
	}
	b.people = append(b.people, in)
	return errs
}

func isTier(word string) bool {
	for t := scopes.TierRead; t <= scopes.TierAdmin; t++ {
		if t.String() == word {
			return true
		}
	}
	return false
}

// Broker is the name that statements are bound to.
func (b *Board) Broker() string { return b.broker }

// Wait is how long a request waits for people.
func (b *Board) Wait() time.Duration { return b.wait }

// Pending is how many requests of one agent may wait at once.
func (b *Board) Pending() int { return b.pending }

// Person names who calls with a SPIFFE ID; empty for nobody.
func (b *Board) Person(id string) string {
	if p := b.byID[id]; p != nil {
		return p.name
	}
	return ""
}

// CheckGroups finds people of groups that policies cannot count.
func (b *Board) CheckGroups(known []string) error {
	var errs []error
	for _, p := range b.people {
		for _, g := range p.groups {
			if !slices.Contains(known, g) {
				errs = append(errs, fmt.Errorf("people.%s: group %q is not in approval_groups of policies/policy.yaml", p.name, g))
			}
		}
	}
	return errors.Join(errs...)
}
