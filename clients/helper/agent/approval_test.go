package agent

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func TestAgentWaitsForPeople(t *testing.T) {
	for name, wait := range map[string]bool{"wait": true, "look again": false} {
		t.Run(name, func(t *testing.T) {
			k, p := newKitWithPeople(t, time.Now)
			dir := t.TempDir()
			a := newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{rebuildTask(dir, wait)}})
			w := a.waits(t)
			if len(w.Needs) != 1 || w.Needs[0] != (valetkey.Need{Group: "sre", Approvals: 2}) || time.Until(w.Until) > quorum.DefaultWait || time.Until(w.Until) < time.Minute {
				t.Errorf("it waits for %+v", w)
			}
			url, token := a.hub.URL("/v1/one/s3-bucket-rebuild"), read(t, filepath.Join(dir, "one.token"))
			for range 3 {
				began := time.Now()
				code, body := ask(t, http.MethodGet, url, "Authorization", token)
				if code != http.StatusForbidden || !strings.Contains(body, "NEEDS_APPROVAL") || !strings.Contains(body, w.GrantID) || time.Since(began) > 2*time.Second {
					t.Errorf("a fetch after %v: %d %s", time.Since(began), code, body)
				}
			}
			if _, err := serve.Ask(t.Context(), filepath.Join(dir, "s"), HealthPath); err == nil || !strings.Contains(err.Error(), w.GrantID) {
				t.Errorf("the probe says %v", err)
			}
			if exists(filepath.Join(dir, "one.txt")) || k.Minted.Load() != 0 {
				t.Error("something was written or minted")
			}
			k.Approve(t, p, w.GrantID)
			eventually(t, "the file is there", func() bool { return exists(filepath.Join(dir, "one.txt")) })
			if code, body := ask(t, http.MethodGet, url, "Authorization", token); code != http.StatusOK {
				t.Errorf("approved: %d %s", code, body)
			}
			if st := a.Status().Tasks[0].Scopes[0]; st.Waiting != nil || st.Error != "" || st.GrantID != w.GrantID || k.H.Asked() != 1 {
				t.Errorf("approved: %+v, asked %d times", st, k.H.Asked())
			}
		})
	}
}

// An agent that ends, or whose scope is another now, leaves nothing to decide.
func TestAgentGivesBackWhatWaits(t *testing.T) {
	k, _ := newKitWithPeople(t, time.Now)
	dir := t.TempDir()
	a := newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{rebuildTask(dir, true)}})
	first := a.waits(t).GrantID
	changed := rebuildTask(dir, true)
	changed.Scopes[0].Params = map[string]Values{"bucket": {"test"}}
	must(t, a.Reload(Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{changed}}, nil))
	eventually(t, "the first is given back", func() bool { return k.H.State(first) == valetkeyv1.GrantState_GRANT_STATE_RELEASED })
	var second string
	eventually(t, "the other waits", func() bool { second = a.waits(t).GrantID; return second != first })
	must(t, a.Close())
	if got := k.H.State(second); got != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("after the end the other is %s", got)
	}
}

// A file is no reason to ask people again who have let a request lapse. A fetch is,
// and so is a reload.
func TestAFileDoesNotAskPeopleAgain(t *testing.T) {
	t.Run("a fetch does", func(t *testing.T) {
		asksAgain(t, func(a *Agent, token string) {
			_, _ = ask(t, http.MethodGet, a.hub.URL("/v1/one/s3-bucket-rebuild"), "Authorization", token)
		})
	})
	t.Run("a reload does", func(t *testing.T) {
		asksAgain(t, func(a *Agent, _ string) { must(t, a.Reload(a.cfg.Config, nil)) })
	})
}

func asksAgain(t *testing.T, again func(a *Agent, token string)) {
	t.Helper()
	var c clienttest.Clock
	k, p := newKitWithPeople(t, c.Now)
	dir := t.TempDir()
	a := newAgent(t, k, Config{Tasks: []TaskConfig{rebuildTask(dir, true)}})
	first := a.waits(t).GrantID
	k.H.Clock.Add(quorum.DefaultWait + time.Second)
	eventually(t, "the lapse is told", func() bool {
		st := a.Status().Tasks[0].Scopes[0]
		return strings.Contains(st.Error, "LAPSED") && st.Waiting == nil
	})
	o := a.jobs["one"].outlets["s3-bucket-rebuild"]
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 20 {
		c.Add(time.Hour)
		if _, err := o.look(soon, false); !errors.Is(err, valetkey.ErrLapsed) {
			t.Fatal(err)
		}
	}
	if k.H.Asked() != 1 {
		t.Fatalf("people were asked %d times", k.H.Asked())
	}
	// What comes of the next is in the file, whoever asked for it.
	again(a, read(t, filepath.Join(dir, "one.token")))
	second := a.waits(t).GrantID
	k.Approve(t, p, second)
	eventually(t, "the file is there", func() bool { return exists(filepath.Join(dir, "one.txt")) })
	if k.H.Asked() != 2 || first == second {
		t.Errorf("people were asked %d times, for %s and %s", k.H.Asked(), first, second)
	}
}
