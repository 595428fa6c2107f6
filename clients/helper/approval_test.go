package helper

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// people are the two of group sre who have to approve a rebuild.
type people [2]brokertest.Person

// newKitWithPeople is newKit with them, and with a client whose clock is now.
func newKitWithPeople(t *testing.T, now func() time.Time) (*kit, people) {
	t.Helper()
	k, p := newKit(t), people{brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "carol", "sre")}
	k.h.SetPeople(p[:]...)
	k.h.Stop()
	k.h.Start()
	k.client = k.dial(t, valetkey.WithClock(now))
	return k, p
}

func (k *kit) approve(t *testing.T, p people, grant string) {
	t.Helper()
	for _, person := range p {
		_, err := k.h.Decide(person, grant, evidence.Approve)
		must(t, err)
	}
}

func (k *kit) state(t *testing.T, grant string) valetkeyv1.GrantState {
	t.Helper()
	g, err := k.h.OperatorClient().GetGrant(t.Context(), &valetkeyv1.GetGrantRequest{GrantId: grant})
	must(t, err)
	return g.GetGrant().GetState()
}

// asked is how often people were asked.
func (k *kit) asked() int {
	return strings.Count(strings.Join(k.h.Records(), "\n"), `"grant.pending"`)
}

func rebuilds(wait bool) ScopeSpec {
	return ScopeSpec{Scope: "s3-bucket-rebuild", Params: valetkey.Params{"bucket": {"prod"}}, Wait: wait}
}

// opening opens a session in the background, and says which grant waits for people.
func (k *kit) opening(ctx context.Context, dir string, wait bool) (waits chan string, opened chan *Session, failed chan error) {
	waits, opened, failed = make(chan string, 1), make(chan *Session, 1), make(chan error, 1)
	go func() {
		s, err := Open(ctx, SessionConfig{
			Client: k.client, Task: valetkey.TaskSpec{Purpose: "a test", Environment: "staging"}, Scopes: []ScopeSpec{reads("a/"), rebuilds(wait)},
			Dir: dir, Program: "/usr/bin/valetkey", Log: discard(),
			Pending: func(scope string, g *valetkey.Grant) { waits <- scope + " " + g.ID() },
		})
		if err != nil {
			failed <- err
			return
		}
		opened <- s
	}()
	return waits, opened, failed
}

func TestSessionWaitsForPeople(t *testing.T) {
	k, p := newKitWithPeople(t, time.Now)
	waits, opened, failed := k.opening(t.Context(), t.TempDir(), true)
	scope, id, _ := strings.Cut(<-waits, " ")
	if scope != "s3-bucket-rebuild" {
		t.Errorf("scope %s waits", scope)
	}
	select {
	case <-opened:
		t.Fatal("it did not wait")
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	k.approve(t, p, id)
	select {
	case s := <-opened:
		if s.Grants()[scope] != id {
			t.Errorf("the grants are %v, want %s", s.Grants(), id)
		}
		must(t, s.Close())
	case err := <-failed:
		t.Fatal(err)
	}
	eventually(t, "nothing lives on", func() bool { return k.h.Minter.Live() == 0 })
}

// Whatever ends a session before people have approved, nothing is left for them to
// decide.
func TestSessionThatDoesNotComeToBe(t *testing.T) {
	for name, tt := range map[string]struct {
		wait bool
		end  func(k *kit, p people, id string, cancel context.CancelFunc)
		want error
		left valetkeyv1.GrantState
	}{
		"interrupted":   {true, func(_ *kit, _ people, _ string, cancel context.CancelFunc) { cancel() }, context.Canceled, valetkeyv1.GrantState_GRANT_STATE_RELEASED},
		"does not wait": {false, func(*kit, people, string, context.CancelFunc) {}, valetkey.ErrNeedsApproval, valetkeyv1.GrantState_GRANT_STATE_RELEASED},
		"rejected": {true, func(k *kit, p people, id string, _ context.CancelFunc) {
			_, err := k.h.Decide(p[0], id, evidence.Reject)
			must(t, err)
		}, valetkey.ErrRejected, valetkeyv1.GrantState_GRANT_STATE_REJECTED},
		"lapsed": {true, func(k *kit, _ people, _ string, _ context.CancelFunc) {
			k.h.Clock.Add(approval.DefaultWait + time.Second)
		},
			valetkey.ErrLapsed, valetkeyv1.GrantState_GRANT_STATE_LAPSED},
	} {
		t.Run(name, func(t *testing.T) {
			k, p := newKitWithPeople(t, time.Now)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := t.TempDir()
			waits, _, failed := k.opening(ctx, dir, tt.wait)
			_, id, _ := strings.Cut(<-waits, " ")
			tt.end(k, p, id, cancel)
			if err := <-failed; !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if got := k.state(t, id); got != tt.left || k.asked() != 1 {
				t.Errorf("the request is %s, and people were asked %d times", got, k.asked())
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
				t.Errorf("%v is left (%v)", files, err)
			}
			eventually(t, "the other scope's credential is ended", func() bool { return k.h.Minter.Live() == 0 })
		})
	}
}

// rebuildTask is a task with one scope that people have to approve.
func rebuildTask(dir string, wait bool) TaskConfig {
	task := taskOf("one", dir)
	task.Scopes[0].Scope, task.Scopes[0].Params, task.Scopes[0].Wait = "s3-bucket-rebuild", map[string]Values{"bucket": {"prod"}}, wait
	return task
}

// waits has an agent's only scope wait for people, and says for which grant.
func (a *Agent) waits(t *testing.T) (w WaitingStatus) {
	t.Helper()
	eventually(t, "the status says that it waits for people", func() bool {
		st := a.Status().Tasks[0].Scopes
		if len(st) == 1 && st[0].Waiting != nil {
			w = *st[0].Waiting
			return strings.Contains(st[0].Error, "NEEDS_APPROVAL") && strings.Contains(st[0].Error, w.GrantID)
		}
		return false
	})
	return w
}

func TestAgentWaitsForPeople(t *testing.T) {
	for name, wait := range map[string]bool{"wait": true, "look again": false} {
		t.Run(name, func(t *testing.T) {
			k, p := newKitWithPeople(t, time.Now)
			dir := t.TempDir()
			a := k.agent(t, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{rebuildTask(dir, wait)}})
			w := a.waits(t)
			if len(w.Needs) != 1 || w.Needs[0] != (Need{"sre", 2}) || time.Until(w.Until) > approval.DefaultWait || time.Until(w.Until) < time.Minute {
				t.Errorf("it waits for %+v", w)
			}
			url, token := a.hub.url("/v1/one/s3-bucket-rebuild"), read(t, filepath.Join(dir, "one.token"))
			for range 3 {
				began := time.Now()
				code, body := ask(t, http.MethodGet, url, "Authorization", token)
				if code != http.StatusForbidden || !strings.Contains(body, "NEEDS_APPROVAL") || !strings.Contains(body, w.GrantID) || time.Since(began) > 2*time.Second {
					t.Errorf("a fetch after %v: %d %s", time.Since(began), code, body)
				}
			}
			if _, err := Ask(t.Context(), filepath.Join(dir, "s"), HealthPath); err == nil || !strings.Contains(err.Error(), w.GrantID) {
				t.Errorf("the probe says %v", err)
			}
			if exists(filepath.Join(dir, "one.txt")) || k.minted.Load() != 0 {
				t.Error("something was written or minted")
			}
			k.approve(t, p, w.GrantID)
			eventually(t, "the file is there", func() bool { return exists(filepath.Join(dir, "one.txt")) })
			if code, body := ask(t, http.MethodGet, url, "Authorization", token); code != http.StatusOK {
				t.Errorf("approved: %d %s", code, body)
			}
			if st := a.Status().Tasks[0].Scopes[0]; st.Waiting != nil || st.Error != "" || st.GrantID != w.GrantID || k.asked() != 1 {
				t.Errorf("approved: %+v, asked %d times", st, k.asked())
			}
		})
	}
}

// An agent that ends, or whose scope is another now, leaves nothing to decide.
func TestAgentGivesBackWhatWaits(t *testing.T) {
	k, _ := newKitWithPeople(t, time.Now)
	dir := t.TempDir()
	a := k.agent(t, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{rebuildTask(dir, true)}})
	first := a.waits(t).GrantID
	changed := rebuildTask(dir, true)
	changed.Scopes[0].Params = map[string]Values{"bucket": {"test"}}
	must(t, a.Reload(Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{changed}}, nil))
	eventually(t, "the first is given back", func() bool { return k.state(t, first) == valetkeyv1.GrantState_GRANT_STATE_RELEASED })
	var second string
	eventually(t, "the other waits", func() bool { second = a.waits(t).GrantID; return second != first })
	must(t, a.Close())
	if got := k.state(t, second); got != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("after the end the other is %s", got)
	}
}

// clock is a client's own.
type clock struct {
	mu  sync.Mutex
	off time.Duration // locked by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// A file is no reason to ask people again who have let a request lapse. A fetch is,
// and so is a reload.
func TestAFileDoesNotAskPeopleAgain(t *testing.T) {
	t.Run("a fetch does", func(t *testing.T) {
		asksAgain(t, func(a *Agent, token string) {
			_, _ = ask(t, http.MethodGet, a.hub.url("/v1/one/s3-bucket-rebuild"), "Authorization", token)
		})
	})
	t.Run("a reload does", func(t *testing.T) {
		asksAgain(t, func(a *Agent, _ string) { must(t, a.Reload(a.cfg.Config, nil)) })
	})
}

func asksAgain(t *testing.T, again func(a *Agent, token string)) {
	t.Helper()
	var c clock
	k, p := newKitWithPeople(t, c.now)
	dir := t.TempDir()
	a := k.agent(t, Config{Tasks: []TaskConfig{rebuildTask(dir, true)}})
	first := a.waits(t).GrantID
	k.h.Clock.Add(approval.DefaultWait + time.Second)
	eventually(t, "the lapse is told", func() bool {
		st := a.Status().Tasks[0].Scopes[0]
		return strings.Contains(st.Error, "LAPSED") && st.Waiting == nil
	})
	o := a.jobs["one"].outlets["s3-bucket-rebuild"]
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 20 {
		c.add(time.Hour)
		if _, err := o.look(soon, false); !errors.Is(err, valetkey.ErrLapsed) {
			t.Fatal(err)
		}
	}
	if k.asked() != 1 {
		t.Fatalf("people were asked %d times", k.asked())
	}
	// What comes of the next is in the file, whoever asked for it.
	again(a, read(t, filepath.Join(dir, "one.token")))
	second := a.waits(t).GrantID
	k.approve(t, p, second)
	eventually(t, "the file is there", func() bool { return exists(filepath.Join(dir, "one.txt")) })
	if k.asked() != 2 || first == second {
		t.Errorf("people were asked %d times, for %s and %s", k.asked(), first, second)
	}
}
