package quorum_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
)

func publicKey(t *testing.T) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(key))
}

func TestDirectoryRefuses(t *testing.T) {
	key, other := publicKey(t), publicKey(t)
	alice := quorum.Person{Name: "alice", IDs: []string{"spiffe://example.org/person/alice"}, Keys: []string{key}, Aliases: []string{"alice@example.com"}}
	bob := quorum.Person{Name: "bob", IDs: []string{"spiffe://example.org/person/bob"}, Keys: []string{other}}
	for want, change := range map[string]func(*quorum.Config){
		"no name of the broker":         func(c *quorum.Config) { c.Broker = "" },
		"people: at least one":          func(c *quorum.Config) { c.People = nil },
		"wait: 30s is not from 1m":      func(c *quorum.Config) { c.Wait = 30 * time.Second },
		"wait: 25h0m0s is not":          func(c *quorum.Config) { c.Wait = 25 * time.Hour },
		"pending: -1":                   func(c *quorum.Config) { c.Pending = -1 },
		`hardware: "desctructive"`:      func(c *quorum.Config) { c.Hardware = "desctructive" },
		"cool_down: -1s":                func(c *quorum.Config) { d := -time.Second; c.CoolDown = &d },
		`groups: "sre" comes twice`:     func(c *quorum.Config) { c.People[0].Groups = []string{"sre", "security", "sre"} },
		"a name matches":                func(c *quorum.Config) { c.People[0].Name = "Alice" },
		"ids: at least one":             func(c *quorum.Config) { c.People[0].IDs = nil },
		`id "alice"`:                    func(c *quorum.Config) { c.People[0].IDs = []string{"alice"} },
		"keys: at least one":            func(c *quorum.Config) { c.People[0].Keys = nil },
		"unusable key":                  func(c *quorum.Config) { c.People[0].Keys = []string{"ssh-dss AAAA"} },
		"is there already, as alice's":  func(c *quorum.Config) { c.People[1].Keys = []string{key} },
		"bob: alice goes by the same":   func(c *quorum.Config) { c.People[1].Aliases = []string{"Alice@Example.com"} },
		"alice goes by the same name":   func(c *quorum.Config) { c.People[1].Name = "alice@corp.example" },
		"has no letter and no digit":    func(c *quorum.Config) { c.People[1].Aliases = []string{"@"} },
		`everybody is in "any"`:         func(c *quorum.Config) { c.People[0].Groups = []string{"any"} },
		`spiffe://example.org/person/b`: func(c *quorum.Config) { c.People[0].IDs = append(c.People[0].IDs, bob.IDs...) },
		"people.bob: bob goes by":       func(c *quorum.Config) { c.People[0].Name = "bob" },
	} {
		cfg := quorum.Config{Broker: "log.example.org", People: []quorum.Person{alice, bob}}
		change(&cfg)
		if _, err := quorum.NewDirectory(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	b, err := quorum.NewDirectory(quorum.Config{Broker: "log.example.org", People: []quorum.Person{alice, bob}})
	if err != nil || b.CoolDown() != quorum.DefaultCoolDown || len(b.Keys()["alice"]) != 1 || b.Wait() != quorum.DefaultWait || b.MaxPending() != quorum.DefaultPending || b.Person(bob.IDs[0]) != "bob" || b.Person("spiffe://example.org/x") != "" {
		t.Errorf("%+v %v", b, err)
	}
}

// Whoever is named in what an agent says is no judge of it, however they are named;
// nobody else is.
func TestNamesInText(t *testing.T) {
	bob := quorum.Person{Name: "bob", IDs: []string{"spiffe://example.org/person/bob"}, Groups: []string{"sre"}, Keys: []string{publicKey(t)}, Aliases: []string{"Robert Smith", "rs@example.com"}}
	b, err := quorum.NewDirectory(quorum.Config{Broker: "log.example.org", People: []quorum.Person{bob}})
	if err != nil {
		t.Fatal(err)
	}
	for text, barred := range map[string]bool{
		"bob": true, "BOB": true, "@bob": true, "asked by bob.": true, "-bob": true, "bob@example.com": true, "bob+oncall@example.com": true,
		"Bob B. <bob@corp.example>": true, "spiffe://example.org/person/bob": true, "spiffe://example.org/agent/bob/s1": true,
		"Robert Smith (ticket 7)": true, "robert  smith": true, "rs": true, "RS@example.com": true, "alice,bob": true, "a/bob/c": true, "\u201cbob\u201d": true,
		"": false, "bobby": false, "carol": false, "Robert": false, "Smith Robert": false, "rs@other.example": false,
		"bob.smith": true, "agent/bob-laptop": true, "bob_ci": true, "alice+bob": true, "robert-smith": true, "robert.smith@corp.example": true,
	} {
		c := quorum.Case{Needs: []policy.Need{{Group: "sre", Approvals: 1}}, Claim: text}
		if got := len(b.Named(c)) == 1; got != barred || len(b.Barred(c)) != 0 || (len(b.CountsFor(c, bob.IDs[0])) == 0) != barred {
			t.Errorf("%q names bob: %v", text, got)
		}
		c.Identity, c.Claim = []string{text}, ""
		if got := len(b.Barred(c)) == 1; got != barred || len(b.Named(c)) != 0 {
			t.Errorf("%q in a verified name bars bob: %v", text, got)
		}
	}
}

// A need of nobody, or of fewer, is in no row that was written whole: it is not met by nobody.
func TestLackingOfNobody(t *testing.T) {
	for _, n := range []int{-3, 0, 1} {
		got := quorum.Lacking([]policy.Need{{Group: "sre", Approvals: n}}, quorum.Tally{})
		if len(got) != 1 || got[0].Approvals != 1 {
			t.Errorf("a need of %d lacks %v", n, got)
		}
	}
}
