package approval_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/broker/approval"
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

func TestBoardRefuses(t *testing.T) {
	key, other := publicKey(t), publicKey(t)
	alice := approval.Person{Name: "alice", IDs: []string{"spiffe://example.org/person/alice"}, Keys: []string{key}, Aliases: []string{"alice@example.com"}}
	bob := approval.Person{Name: "bob", IDs: []string{"spiffe://example.org/person/bob"}, Keys: []string{other}}
	for want, change := range map[string]func(*approval.Config){
		"no name of the broker":         func(c *approval.Config) { c.Broker = "" },
		"people: at least one":          func(c *approval.Config) { c.People = nil },
		"wait: 30s is not from 1m":      func(c *approval.Config) { c.Wait = 30 * time.Second },
		"wait: 25h0m0s is not":          func(c *approval.Config) { c.Wait = 25 * time.Hour },
		"pending: -1":                   func(c *approval.Config) { c.Pending = -1 },
		`hardware: "desctructive"`:      func(c *approval.Config) { c.Hardware = []string{"desctructive"} },
		"a name matches":                func(c *approval.Config) { c.People[0].Name = "Alice" },
		"ids: at least one":             func(c *approval.Config) { c.People[0].IDs = nil },
		`id "alice"`:                    func(c *approval.Config) { c.People[0].IDs = []string{"alice"} },
		"keys: at least one":            func(c *approval.Config) { c.People[0].Keys = nil },
		"unusable key":                  func(c *approval.Config) { c.People[0].Keys = []string{"ssh-dss AAAA"} },
		"is there already, as alice's":  func(c *approval.Config) { c.People[1].Keys = []string{key} },
		`the name "alice@example.com"`:  func(c *approval.Config) { c.People[1].Aliases = []string{"Alice@Example.com"} },
		`everybody is in "any"`:         func(c *approval.Config) { c.People[0].Groups = []string{"any"} },
		`spiffe://example.org/person/b`: func(c *approval.Config) { c.People[0].IDs = append(c.People[0].IDs, bob.IDs...) },
		`the name "bob" is`:             func(c *approval.Config) { c.People[0].Name = "bob" },
	} {
		cfg := approval.Config{Broker: "log.example.org", People: []approval.Person{alice, bob}}
		change(&cfg)
		if _, err := approval.NewBoard(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	b, err := approval.NewBoard(approval.Config{Broker: "log.example.org", People: []approval.Person{alice, bob}})
	if err != nil || b.Wait() != approval.DefaultWait || b.Pending() != approval.DefaultPending || b.Person(bob.IDs[0]) != "bob" || b.Person("spiffe://example.org/x") != "" {
		t.Errorf("%+v %v", b, err)
	}
}
