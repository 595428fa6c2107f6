package vaultplugin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/evidence"
)

// TestWaitingOutlivesVault seals a Vault that is not in dev mode while a request
// waits, and kills the plugin when MinIO has made the session of another. Vault's own
// timer, which comes once a minute, ends what nobody has, and what nobody comes back
// for.
func TestWaitingOutlivesVault(t *testing.T) {
	t.Parallel()
	g := &gate{held: make(chan struct{}, 8)}
	p := &patient{people: approvers(t)}
	var unseal func()
	p.world, unseal = sealable(t, func(minio string) string { return g.serve(t, minio) }, p.people...)
	p.alice = p.login(t, "alice")

	id := p.ask(t, "sealed")
	p.decide(t, id, evidence.Approve)
	must(t, p.root.Sys().SealWithContext(t.Context()))
	p.approve(t, id)
	unseal()
	s := p.request(t, id)
	must(t, works(t, s))
	p.shows(t, id, "active", "handed over, once")
	p.revoke(t, s)
	eventually(t, endLimit, "MinIO refuses it", func() bool { return forbidden(works(t, s)) })

	nobody, killed := p.ask(t, "nobody comes back"), p.ask(t, "killed")
	p.approve(t, killed)
	p.decide(t, nobody, evidence.Reject) // which would end the other, too, while it waits
	open := g.close()
	defer open()
	answered := make(chan error, 1)
	go func() {
		_, err := read(t, p.alice, "valetkey/requests/"+killed)
		answered <- err
	}()
	<-g.held
	for _, pid := range p.pids(t) {
		kill(t, pid)
	}
	open()
	if err := <-answered; err == nil {
		t.Fatal("a credential came from a process that was killed")
	}
	eventually(t, endLimit, "the broker has issued what nobody has", func() bool { return p.count("issuance.issued") == 2 })
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(strings.Join(p.Records(), "\n"))
		}
	})
	// Vault counts its minute from the unseal, so that what the kill has left is just
	// old enough then.
	must(t, p.root.Sys().SealWithContext(t.Context()))
	unseal()
	eventually(t, 2*time.Minute+endLimit, "Vault has it swept, and the broker has ended it upstream", func() bool {
		// The plugin that comes back has a new SVID, which a clock that stands still does not know.
		p.Clock.Add(time.Since(p.Clock.Now()))
		return p.balanced() && p.count("revocation.concluded") == 2
	})
	p.shows(t, killed, "released", "released")
	p.shows(t, nobody, "rejected", "said no")
}
