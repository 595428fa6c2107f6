package vaultplugin_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/evidence"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func testAskersAtOnce(t *testing.T, p *patient) {
	answers, all := make([]error, 8), sync.WaitGroup{}
	for i := range answers {
		all.Go(func() {
			_, answers[i] = read(t, p.alice, "valetkey/creds/s3-bucket-rebuild", "bucket=prod", "purpose=by many")
		})
	}
	all.Wait()
	id := p.asked(t, answers[0])
	for _, err := range answers[1:] {
		if other := p.asked(t, err); other != id {
			t.Errorf("people are asked for %s, and for %s", id, other)
		}
	}
	p.withdraw(t, id)
}

func testReadersAtOnce(t *testing.T, p *patient) {
	id := p.ask(t, "at once")
	p.approve(t, id)
	issued := p.count("issuance.issued")
	var all sync.WaitGroup
	got := make(chan *api.Secret, 16)
	for range cap(got) {
		all.Go(func() {
			s, err := read(t, p.alice, "valetkey/requests/"+id)
			if err != nil {
				t.Error(err)
				return
			}
			got <- s
		})
	}
	all.Wait()
	close(got)
	var one *api.Secret
	for s := range got {
		switch {
		case s.Data["secret_key"] == nil:
			if s.Data["state"] != "active" {
				t.Errorf("one of many sees %v", s.Data["state"])
			}
		case one != nil:
			t.Error("it was handed over twice")
		default:
			one = s
		}
	}
	if one == nil || p.count("issuance.issued") != issued+1 {
		t.Fatalf("%d were minted", p.count("issuance.issued")-issued)
	}
	must(t, works(t, one))
	p.revoke(t, one)
}

func testWaitingInTask(t *testing.T, p *patient) {
	task := p.write(t, p.alice, "valetkey/tasks", map[string]any{"purpose": "a migration"})
	in := "task=" + task.Data["task"].(string)
	id := p.ask(t, "", in)
	if again := p.ask(t, "", in); again != id {
		t.Error("the same is another request")
	}
	// Another reason for the same is the same to the broker.
	if again := p.ask(t, "", in, "justification=more of it"); again != id {
		t.Error("another reason is another request")
	}
	p.approve(t, id)
	s := p.request(t, id)
	must(t, works(t, s))
	p.revoke(t, s)
	eventually(t, endLimit, "MinIO refuses it", func() bool { return forbidden(works(t, s)) })
	if p.balanced() {
		t.Fatal("the caller's task was closed")
	}
	// The end of the task is that of what waits in it.
	id = p.ask(t, "", in)
	p.revoke(t, task)
	p.shows(t, id, "released", "released")
	if !p.balanced() {
		t.Error("a task is open")
	}
}

func testWaitingThroughReloads(t *testing.T, p *patient) {
	id := p.ask(t, "reloads")
	p.decide(t, id, evidence.Approve)
	p.write(t, p.root, "sys/plugins/reload/backend", map[string]any{"plugin": pluginName})
	p.shows(t, id, "pending", "not approved")
	for _, pid := range p.pids(t) {
		kill(t, pid)
	}
	p.approve(t, id)
	var s *api.Secret
	eventually(t, 2*time.Minute, "Vault starts the plugin again, which hands it over", func() bool {
		// The plugin that comes back has a new SVID, which a clock that stands still does not know.
		p.Clock.Add(max(0, time.Since(p.Clock.Now())))
		got, err := read(t, p.alice, "valetkey/requests/"+id)
		s = got
		return err == nil
	})
	must(t, works(t, s))
	p.revoke(t, s)
	eventually(t, endLimit, "MinIO refuses it", func() bool { return forbidden(works(t, s)) })
}

func testHostileIDs(t *testing.T, p *patient) {
	id := p.ask(t, "hostile")
	for _, hostile := range []string{
		"grant_" + strings.Repeat("a", 25), "grant_" + strings.Repeat("a", 27), "grant_" + strings.ToUpper(id[6:]), "grant_" + strings.Repeat("a", 26),
		strings.Replace(id, "grant_", "task_", 1), id + "/", id + "/x", id + "%00", id + "%0a", "%2e%2e/config", id + "/..", id + "%2f..%2f..%2fconfig",
		"..%2fconfig", "*", "%25", "", id[:31] + "%3f", "requests%2f" + id,
	} {
		code, body := p.raw(t, p.alice.Token(), "valetkey/requests/"+hostile)
		if code < 400 || code >= 500 || strings.Contains(body, "secret_key") || strings.Contains(body, "broker_id") {
			t.Errorf("%q: %d %s", hostile, code, body)
		}
	}
	p.withdraw(t, id)
}

// testRenewalAsksNobody changes what policy wants while a lease runs.
func testRenewalAsksNobody(t *testing.T, p *patient) {
	s := creds(t, p.alice, "lease=60s")
	if _, err := p.alice.Sys().RenewWithContext(t.Context(), s.LeaseID, 60); err != nil {
		t.Fatal(err)
	}
	task := p.write(t, p.alice, "valetkey/tasks", map[string]any{"purpose": "a test"})
	in := "task=" + task.Data["task"].(string)
	shared := creds(t, p.alice, "lease=60s", in)
	f, err := os.OpenFile(filepath.Join(p.Catalog, "policies", "storage.cedar"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(wantsOne)
	must(t, err)
	must(t, f.Close())
	_, err = p.OperatorClient().ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
	must(t, err)
	refusal := func(s *api.Secret) {
		t.Helper()
		_, err := p.alice.Sys().RenewWithContext(t.Context(), s.LeaseID, 60)
		if err == nil || !strings.Contains(err.Error(), "1 of group sre") || !strings.Contains(err.Error(), "a renewal asks nobody") {
			t.Errorf("it is renewed: %v", err)
		}
	}
	pending := func() (ids []string) {
		t.Helper()
		list, err := p.ApproverClient(p.people[0]).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
		must(t, err)
		for _, w := range list.GetPending() {
			ids = append(ids, w.GetGrant().GetId())
		}
		return ids
	}
	refusal(s)
	refusal(shared)
	if left := pending(); len(left) > 0 {
		t.Errorf("a renewal left %v", left)
	}
	// In the same task the same request may wait, which is no renewal's to give back.
	_, err = read(t, p.alice, "valetkey/creds/s3-prefix-read", "bucket=prod", "prefix=reports/", in)
	refused(t, err, 403, "NEEDS_APPROVAL")
	waits := pending()
	refusal(shared)
	if left := pending(); len(waits) != 1 || !slices.Equal(left, waits) {
		t.Errorf("%v waited, and a renewal left %v", waits, left)
	}
	p.revoke(t, task)
	must(t, get(t.Context(), session(s), "reports/one"))
	p.revoke(t, s)
	eventually(t, endLimit, "MinIO refuses it", func() bool { return forbidden(get(t.Context(), session(s), "reports/one")) })
}
