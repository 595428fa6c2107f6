package valetkey_test

import (
	"errors"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest"
	brokeridentity "github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// TestSpeakFor has a delegate ask for an agent, with receipts that name both.
func TestSpeakFor(t *testing.T) {
	const delegate = "spiffe://example.org/vault/plugin"
	h := brokertest.NewRunning(t, brokertest.Config{Delegates: []brokeridentity.Delegate{{ID: delegate, Agents: []string{"/agent/{user}/s1"}}}})
	c := dial(t, h, valetkey.WithIdentity(identityOf(h, delegate)))
	alice := valetkey.SpeakFor(t.Context(), spiffeid.RequireFromString(brokertest.Agent))
	key := valetkey.NewIdempotencyKey()
	task, err := c.OpenTaskOnce(alice, key, spec)
	must(t, err)
	again, err := c.OpenTaskOnce(alice, key, spec)
	must(t, err)
	if again.ID() != task.ID() {
		t.Errorf("the same key opened %s and %s", task.ID(), again.ID())
	}
	g, cred, err := task.RequestCredential(alice, "s3-prefix-read", params)
	must(t, err)
	if !cred.Receipt().Verified || g.Info().GetAgentSpiffeId() != brokertest.Agent {
		t.Errorf("verified %v, for %s", cred.Receipt().Verified, g.Info().GetAgentSpiffeId())
	}
	for name, ctx := range map[string]func() error{
		"nobody": func() error { _, err := c.Scopes(t.Context()); return err },
		"an agent that is not listed": func() error {
			_, err := c.Scopes(valetkey.SpeakFor(t.Context(), spiffeid.RequireFromString("spiffe://example.org/agent/alice/s2")))
			return err
		},
		"an agent, as another agent": func() error {
			_, err := dial(t, h).Scopes(valetkey.SpeakFor(t.Context(), spiffeid.RequireFromString("spiffe://example.org/agent/bob/s1")))
			return err
		},
	} {
		if err := ctx(); !errors.Is(err, valetkey.ErrCallerNotAllowed) {
			t.Errorf("for %s: %v", name, err)
		}
	}
	// The last word is for whoever is named last.
	bob := valetkey.SpeakFor(alice, spiffeid.RequireFromString("spiffe://example.org/agent/bob/s1"))
	if err := task.Close(bob); !errors.Is(err, valetkey.ErrTaskNotFound) {
		t.Errorf("bob closes alice's task: %v", err)
	}
	must(t, task.Close(alice))
}
