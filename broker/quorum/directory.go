package quorum

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/scopes/plaintext"
	"github.com/valetkey/valetkey/scopes/tier"
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
	// MaxWaiting is how many requests may wait at once, of all agents together.
	MaxWaiting = 1000
	// PerDelegate times Config.Pending may wait of those that one delegate asks for.
	PerDelegate = 10
	// DefaultCoolDown is how long a request that people rejected is not put to them
	// again.
	DefaultCoolDown = 15 * time.Minute
	// maxKeys keeps the list of all keys in one record.
	maxKeys = 500
	// NoTier is the value of Config.Hardware for no tier at all.
	NoTier = "none"
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

// Config configures NewDirectory.
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
	// CoolDown is how long the same is not asked for again after people said no;
	// DefaultCoolDown when nil.
	CoolDown *time.Duration
	// Hardware is the lowest tier whose approvals have to come from a security key
	// that attests a touch and a PIN or fingerprint: "admin" when empty, NoTier for
	// none.
	Hardware string
}

// Directory is who may approve, and under which rules. It never changes and is safe
// for concurrent use.
type Directory struct {
	broker   string
	people   []*person
	byID     map[string]*person
	wait     time.Duration
	pending  int
	coolDown time.Duration
	// hardware is the lowest tier that takes a security key; 0 for none.
	hardware tier.Tier
}

type person struct {
	name   string
	ids    []string
	groups []string // sorted
	names  [][]word // name and aliases, as wordsOf gives them
	keys   []ssh.PublicKey
}

// NewDirectory validates cfg, and finds every fault at once.
func NewDirectory(cfg Config) (*Directory, error) {
	b := &Directory{broker: cfg.Broker, byID: map[string]*person{}, wait: cfg.Wait, pending: cfg.Pending, coolDown: DefaultCoolDown}
	if b.wait == 0 {
		b.wait = DefaultWait
	}
	if b.pending == 0 {
		b.pending = DefaultPending
	}
	if cfg.CoolDown != nil {
		b.coolDown = *cfg.CoolDown
	}
	if cfg.Hardware == "" {
		cfg.Hardware = tier.Admin.String()
	}
	b.hardware = tier.Parse(cfg.Hardware)
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
	need(b.coolDown >= 0 && b.coolDown <= MaxWait, "cool_down: %v is not from 0s to %v", b.coolDown, MaxWait)
	need(b.hardware != tier.None || cfg.Hardware == NoTier, "hardware: %q is not read, write, destructive, admin or %s", cfg.Hardware, NoTier)
	keys := map[string]string{}
	for _, p := range cfg.People {
		errs = append(errs, b.add(p, keys)...)
	}
	need(len(keys) <= maxKeys, "people: %d keys, of at most %d", len(keys), maxKeys)
	errs = append(errs, b.checkNames()...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b, nil
}

// add takes one person. keys are whose they already are: two people with one key
// would be one person who counts twice.
func (b *Directory) add(p Person, keys map[string]string) (errs []error) {
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
	in := &person{name: p.Name, ids: slices.Clone(p.IDs), groups: slices.Sorted(slices.Values(p.Groups))}
	for _, name := range append([]string{p.Name}, p.Aliases...) {
		if err := plaintext.Line(name); err != nil {
			fault("an alias has %v", err)
		}
		words := wordsOf(name)
		if len(words) == 0 {
			fault("the name or alias %q has no letter and no digit", name)
			continue
		}
		in.names = append(in.names, words)
	}
	for _, id := range p.IDs {
		if _, err := spiffeid.FromString(id); err != nil {
			fault("id %q: %w", id, err)
		}
		if other := b.byID[id]; other != nil {
			fault("id %s is there already, as %s's", id, other.name)
		}
		b.byID[id] = in
	}
	for i, group := range in.groups {
		if group == policy.AnyGroup {
			fault("groups: everybody is in %q", group)
		}
		if i > 0 && group == in.groups[i-1] {
			fault("groups: %q comes twice, and a person counts once", group)
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

// checkNames finds two entries that are one person by what their names have in
// common: that person would count twice.
func (b *Directory) checkNames() (errs []error) {
	for i, p := range b.people {
		for _, q := range b.people[i+1:] {
			if slices.ContainsFunc(q.names, p.isNamed) {
				errs = append(errs, fmt.Errorf("people.%s: %s goes by the same name, so that one may be the other, who would count twice: give each names that the other has not", q.name, p.name))
			}
		}
	}
	return errs
}

// Broker is the name that statements are bound to.
func (b *Directory) Broker() string { return b.broker }

// Wait is how long a request waits for people.
func (b *Directory) Wait() time.Duration { return b.wait }

// MaxPending is how many requests of one agent may wait at once.
func (b *Directory) MaxPending() int { return b.pending }

// CoolDown is how long the same is not asked for again after people said no.
func (b *Directory) CoolDown() time.Duration { return b.coolDown }

// People names everybody.
func (b *Directory) People() (names []string) {
	for _, p := range b.people {
		names = append(names, p.name)
	}
	return names
}

// IDs are a person's SPIFFE IDs; none of somebody who is not listed.
func (b *Directory) IDs(name string) []string {
	if p := b.person(name); p != nil {
		return slices.Clone(p.ids)
	}
	return nil
}

// Keys are the fingerprints of everybody's keys, for the record.
func (b *Directory) Keys() map[string][]string {
	out := map[string][]string{}
	for _, p := range b.people {
		for _, k := range p.keys {
			out[p.name] = append(out[p.name], ssh.FingerprintSHA256(k))
		}
	}
	return out
}

// Person names who calls with a SPIFFE ID; empty for nobody.
func (b *Directory) Person(id string) string {
	if p := b.byID[id]; p != nil {
		return p.name
	}
	return ""
}

// CheckGroups finds people of groups that policies cannot count.
func (b *Directory) CheckGroups(known []string) error {
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
