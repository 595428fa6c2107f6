package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// people is a config with an approval section.
func people(t *testing.T, section string) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return good + "approval:\n  people:\n  - name: bob\n    ids: [spiffe://example.org/person/bob]\n    groups: [sre]\n    keys: [" +
		strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + "]\n" + section
}

func TestApprovalConfig(t *testing.T) {
	with := people(t, "  wait: 30m\n  pending: 2\n  hardware: none\n  cool_down: 0s\n")
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := c.directory("log.example.org"); err != nil || b.MaxPending() != 2 || b.CoolDown() != 0 || b.CheckGroups([]string{"any", "sre"}) != nil || b.CheckGroups([]string{"any"}) == nil {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err := (Config{}).directory("x"); b != nil || err != nil {
		t.Errorf("nobody is somebody: %v, %v", b, err)
	}
	for want, text := range map[string]string{
		"approval.people names nobody": good + "approval: {wait: 5m}\n",
		"is an agent by path template": strings.Replace(with, "/person/bob", "/agent/bob/laptop", 1),
		"reading the SPIFFE ID":        strings.Replace(with, "spiffe://example.org/person/bob", "bob", 1),
		"wait: 48h0m0s is not":         strings.Replace(with, "30m", "48h", 1),
		"people.bob: key":              strings.Replace(with, "ssh-ed25519", "ssh-ed25518", 1),
		"its trust domain is not":      strings.Replace(with, "spiffe://example.org/person", "spiffe://other.example/person", 1),
		"comes twice":                  strings.Replace(with, "[sre]", "[sre, sre]", 1),
		"hardware: \"pin\" is not":     strings.Replace(with, "hardware: none", "hardware: pin", 1),
		"quorum":                       with + "  quorum: 1\n",
	} {
		if err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}
