package e2e_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const (
	killRounds = 15
	// killWindow is how long a broker lives at most before it is killed.
	killWindow = 1200 * time.Millisecond
	killers    = 4 // goroutines for each agent
)

// diary is what the agents were told, across all brokers.
type diary struct {
	mu       sync.Mutex
	minted   []*valetkeyv1.RequestGrantResponse // locked by mu
	released map[string]bool                    // grant ids; locked by mu
	// unanswered are requests whose broker was killed under them; locked by mu.
	unanswered []*valetkeyv1.RequestGrantRequest
	repeated   int // of those, how many were already issued; locked by mu
}

// TestKilled kills the broker with SIGKILL under load, again and again, and holds
// what the agents and the STS saw against the record.
func TestKilled(t *testing.T) {
	l := newLocal(t)
	diaries := map[string]*diary{"alice": {released: map[string]bool{}}, "bob": {released: map[string]bool{}}}
	tasks := map[string]string{}
	for round := range killRounds {
		if round%5 == 4 {
			l.killStarting(t)
			continue
		}
		l.killServing(t, tasks, diaries)
	}

	d := l.start(t)
	for caller, diary := range diaries {
		diary.repeat(t, l.dial(t, d, caller))
	}
	eventually(t, 2*time.Minute, "every end of a credential is carried upstream", func() bool { return l.endsCarried(t, d.log) })
	verify(t, l.site, d.log)
	if code := d.term(t); code != 0 {
		t.Errorf("after SIGTERM it exits %d", code)
	}
	verify(t, l.site, l.path("valetkey.db"))
	raw, log := readLog(t, l.site, l.path("valetkey.db"))
	minted := 0
	for _, diary := range diaries {
		minted += len(diary.minted)
		diary.check(t, l, raw, log)
	}
	issuances(t, log)
	l.sessions(t, log)
	if minted < 10*killRounds {
		t.Errorf("only %d credentials in %d rounds: the broker was hardly under load", minted, killRounds)
	}
}

// killStarting kills a broker that may still be closing what the last left open.
func (l *local) killStarting(t *testing.T) {
	t.Helper()
	d, ready := launch(t, program(t, "valetkeyd"), awsEnv(), l.args()...)
	moment := time.NewTimer(rand.N(400 * time.Millisecond))
	defer moment.Stop()
	select {
	case <-moment.C:
	case <-ready:
	}
	d.kill()
}

// killServing kills a broker at any moment of its work.
func (l *local) killServing(t *testing.T, tasks map[string]string, diaries map[string]*diary) {
	t.Helper()
	d := l.start(t)
	var wg sync.WaitGroup
	for caller, diary := range diaries {
		c := l.dial(t, d, caller)
		// A task that a broker has acknowledged is open for all after it.
		if tasks[caller] == "" {
			tasks[caller] = openTask(t, c)
		}
		diary.repeat(t, c)
		for range killers {
			wg.Go(func() { diary.work(t, c, tasks[caller]) })
		}
	}
	moment := time.NewTimer(rand.N(killWindow))
	defer moment.Stop()
	<-moment.C
	d.kill()
	wg.Wait()
}

// work asks, and now and then gives back, until the broker is gone.
func (d *diary) work(t *testing.T, c *valetkey.Client, task string) {
	for i := 0; ; i++ {
		req := ask(task)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		resp, err := c.Agent.RequestGrant(ctx, req)
		cancel()
		if err != nil {
			if !gone(err) {
				t.Errorf("asking: %v", err)
			}
			d.mu.Lock()
			d.unanswered = append(d.unanswered, req)
			d.mu.Unlock()
			return
		}
		d.mu.Lock()
		d.minted = append(d.minted, resp)
		d.mu.Unlock()
		if i%3 != 0 {
			continue
		}
		id := resp.GetGrant().GetId()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		_, err = c.Agent.ReleaseGrant(ctx, &valetkeyv1.ReleaseGrantRequest{GrantId: id})
		cancel()
		if err != nil {
			if !gone(err) {
				t.Errorf("releasing: %v", err)
			}
			return
		}
		d.mu.Lock()
		d.released[id] = true
		d.mu.Unlock()
	}
}

// gone is the connection to a killed broker, and no answer of one.
func gone(err error) bool {
	_, answered := valetkey.RefusalOf(err)
	return !answered && status.Code(err) == codes.Unavailable
}

// repeat sends what was not answered again, by its key: it is issued once, or was.
func (d *diary) repeat(t *testing.T, c *valetkey.Client) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, req := range d.unanswered {
		resp, err := c.Agent.RequestGrant(t.Context(), req)
		refusal, _ := valetkey.RefusalOf(err)
		switch {
		case err == nil:
			d.minted = append(d.minted, resp)
		case refusal.Reason == valetkeyv1.ErrorReason_ERROR_REASON_ALREADY_ISSUED:
			d.repeated++
		default:
			t.Errorf("repeating what was not answered: %v", err)
		}
	}
	d.unanswered = nil
}

// check holds what one agent was told against the record.
func (d *diary) check(t *testing.T, l *local, raw [][]byte, log []entry) {
	t.Helper()
	released, grants := map[string]bool{}, map[string]bool{}
	for _, e := range log {
		released[e.Grant] = released[e.Grant] || e.Type == "grant.released"
	}
	for _, resp := range d.minted {
		r, id := resp.GetReceipt(), resp.GetGrant().GetId()
		if err := proven(r, l.vkey); err != nil {
			t.Errorf("the receipt of %s does not verify: %v", id, err)
		}
		recorded(t, r, raw)
		if i := r.GetIndex(); i < int64(len(log)) {
			e := log[i]
			if e.Type != "issuance.issued" || e.Grant != id || e.AccessKeyID != resp.GetCredential().GetAws().GetAccessKeyId() {
				t.Errorf("record %d is %s of %s, want the issuance of %s", i, e.Type, e.Grant, id)
			}
		}
		if grants[id] {
			t.Errorf("grant %s was answered twice", id)
		}
		grants[id] = true
	}
	for id := range d.released {
		if !released[id] {
			t.Errorf("the acknowledged release of %s is not on the record", id)
		}
	}
	t.Logf("%d credentials and %d releases acknowledged, %d lost answers repeated", len(d.minted), len(d.released), d.repeated)
}

// issuances checks that every intent has one outcome, after it, and that no
// outcome came without an intent.
func issuances(t *testing.T, log []entry) {
	t.Helper()
	outcomes := map[string]int{}
	count := map[string]int{}
	for i, e := range log {
		count[e.Type]++
		switch {
		case e.Type == "issuance.intended":
			if _, ok := outcomes[e.Issuance]; ok || e.Session == "" {
				t.Errorf("record %d intends %s again, or names no session", i, e.Issuance)
			}
			outcomes[e.Issuance] = 0
		case strings.HasPrefix(e.Type, "issuance."):
			if _, ok := outcomes[e.Issuance]; !ok {
				t.Errorf("record %d is an outcome without an intent: %s", i, e.Issuance)
			}
			outcomes[e.Issuance]++
		}
	}
	for id, n := range outcomes {
		if n != 1 {
			t.Errorf("issuance %s has %d outcomes, want 1", id, n)
		}
	}
	if count["issuance.orphaned"] == 0 {
		t.Error("no kill left an open intent: the test did not test it")
	}
	t.Logf("%d records: %v", len(log), count)
}

// sessions holds what the STS gave against the record: nothing exists that was
// not intended, and what was not concluded as issued was revoked.
func (l *local) sessions(t *testing.T, log []entry) {
	t.Helper()
	intended, concluded := map[string]string{}, map[string]string{}
	for _, e := range log {
		if e.Type == "issuance.intended" {
			intended[e.Session] = e.Issuance
		} else if strings.HasPrefix(e.Type, "issuance.") {
			concluded[e.Issuance] = e.Type
		}
	}
	l.sts.mu.Lock()
	defer l.sts.mu.Unlock()
	for session := range l.sts.issued {
		id, ok := intended[session]
		switch {
		case !ok:
			t.Errorf("the STS gave session %s, which no record intends", session)
		case concluded[id] != "issuance.issued" && !l.sts.revoked[session]:
			t.Errorf("the STS gave session %s, which is %s and not revoked", session, concluded[id])
		}
	}
}

// endsCarried says whether the record has the revocation of each orphan, and of
// each credential that was given back.
func (l *local) endsCarried(t *testing.T, url string) bool {
	t.Helper()
	_, log := readLog(t, l.site, url)
	issued, open := map[string]string{}, map[string]bool{}
	for _, e := range log {
		switch e.Type {
		case "issuance.issued":
			issued[e.Grant] = e.Issuance
		case "issuance.orphaned":
			open[e.Issuance] = true
		case "grant.released":
			if id, ok := issued[e.Grant]; ok {
				open[id] = true
			}
		case "revocation.concluded":
			delete(open, e.Issuance)
		}
	}
	return len(open) == 0
}
