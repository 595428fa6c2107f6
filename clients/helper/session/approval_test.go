package session

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func rebuilds(wait bool) serve.ScopeSpec {
	return serve.ScopeSpec{Scope: "s3-bucket-rebuild", Params: valetkey.Params{"bucket": {"prod"}}, Wait: wait}
}

// opening opens a session in the background, and says which grant waits for people.
func opening(ctx context.Context, k *clienttest.Kit, dir string, wait bool) (waits chan string, opened chan *Session, failed chan error) {
	waits, opened, failed = make(chan string, 1), make(chan *Session, 1), make(chan error, 1)
	go func() {
		s, err := Open(ctx, Config{
			Client: k.Client, Task: clienttest.Task, Scopes: []serve.ScopeSpec{reads("a/"), rebuilds(wait)},
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
	waits, opened, failed := opening(t.Context(), k, t.TempDir(), true)
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
	k.Approve(t, p, id)
	select {
	case s := <-opened:
		if s.Grants()[scope] != id {
			t.Errorf("the grants are %v, want %s", s.Grants(), id)
		}
		must(t, s.Close())
	case err := <-failed:
		t.Fatal(err)
	}
	eventually(t, "nothing lives on", func() bool { return k.H.Minter.Live() == 0 })
}

// Whatever ends a session before people have approved, nothing is left for them to
// decide.
func TestSessionThatDoesNotComeToBe(t *testing.T) {
	for name, tt := range map[string]struct {
		wait bool
		end  func(k *clienttest.Kit, p clienttest.People, id string, cancel context.CancelFunc)
		want error
		left valetkeyv1.GrantState
	}{
		"interrupted":   {true, func(_ *clienttest.Kit, _ clienttest.People, _ string, cancel context.CancelFunc) { cancel() }, context.Canceled, valetkeyv1.GrantState_GRANT_STATE_RELEASED},
		"does not wait": {false, func(*clienttest.Kit, clienttest.People, string, context.CancelFunc) {}, valetkey.ErrNeedsApproval, valetkeyv1.GrantState_GRANT_STATE_RELEASED},
		"rejected": {true, func(k *clienttest.Kit, p clienttest.People, id string, _ context.CancelFunc) {
			_, err := k.H.Decide(p[0], id, evidence.Reject)
			must(t, err)
		}, valetkey.ErrRejected, valetkeyv1.GrantState_GRANT_STATE_REJECTED},
		"lapsed": {true, func(k *clienttest.Kit, _ clienttest.People, _ string, _ context.CancelFunc) {
			k.H.Clock.Add(quorum.DefaultWait + time.Second)
		},
			valetkey.ErrLapsed, valetkeyv1.GrantState_GRANT_STATE_LAPSED},
	} {
		t.Run(name, func(t *testing.T) {
			k, p := newKitWithPeople(t, time.Now)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := t.TempDir()
			waits, _, failed := opening(ctx, k, dir, tt.wait)
			_, id, _ := strings.Cut(<-waits, " ")
			tt.end(k, p, id, cancel)
			if err := <-failed; !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if got := k.H.State(id); got != tt.left || k.H.Asked() != 1 {
				t.Errorf("the request is %s, and people were asked %d times", got, k.H.Asked())
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
				t.Errorf("%v is left (%v)", files, err)
			}
			eventually(t, "the other scope's credential is ended", func() bool { return k.H.Minter.Live() == 0 })
		})
	}
}
