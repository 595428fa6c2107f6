package agent

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

func TestReloadChangesWhatChanged(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	both := Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{taskOf("one", dir), taskOf("two", dir)}}
	a := newAgent(t, k, both)
	for _, name := range []string{"one", "two"} {
		eventually(t, name+" is written", func() bool { return exists(filepath.Join(dir, name+".txt")) && exists(filepath.Join(dir, name+".env")) })
	}
	if got := read(t, filepath.Join(dir, "config")); !strings.Contains(got, "[profile one]") || !strings.Contains(got, "[profile two]") {
		t.Errorf("the profiles are\n%s", got)
	}
	one, token := a.hub.URL("/v1/one/s3-prefix-read"), read(t, filepath.Join(dir, "one.token"))
	two, other := a.hub.URL("/v1/two/s3-prefix-read"), read(t, filepath.Join(dir, "two.token"))
	if code, _ := ask(t, http.MethodGet, one, "Authorization", other); code != http.StatusUnauthorized {
		t.Errorf("one task's token at another's address: %d", code)
	}
	// Fetches go on while tasks come and go.
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		for ctx.Err() == nil {
			if code, body := ask(t, http.MethodGet, one, "Authorization", token); code != http.StatusOK {
				t.Errorf("what did not change: %d %s", code, body)
				return
			}
			_ = a.Status()
		}
	})
	must(t, a.Reload(Config{Socket: both.Socket, Tasks: both.Tasks[:1]}, nil))
	if code, _ := ask(t, http.MethodGet, two, "Authorization", other); code != http.StatusUnauthorized {
		t.Errorf("a task that is over: %d", code)
	}
	for _, f := range []string{"two.txt", "two.env", "two.token", "two.sock"} {
		if exists(filepath.Join(dir, f)) {
			t.Errorf("%s is left", f)
		}
	}
	if got := read(t, filepath.Join(dir, "config")); strings.Contains(got, "two") {
		t.Errorf("the profiles are\n%s", got)
	}
	for name, c := range map[string]Config{
		"another socket": {Socket: filepath.Join(dir, "t"), Tasks: both.Tasks}, "nothing": {Socket: both.Socket},
	} {
		if err := a.Reload(c, nil); err == nil || a.Status().ConfigError == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.Reload(Config{}, errors.New("unread")); err == nil || !strings.Contains(a.Status().ConfigError, "unread") {
		t.Error("a file that does not load is not told")
	}
	must(t, a.Reload(both, nil))
	eventually(t, "the other is back", func() bool { return exists(filepath.Join(dir, "two.txt")) })
	cancel()
	wg.Wait()
	if n := k.Minted.Load(); n != 3 {
		t.Errorf("%d credentials were minted, want 3", n)
	}
	must(t, a.Close())
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestAScopeThatGoesIsGivenBack(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	task := taskOf("one", dir)
	task.Scopes = append(task.Scopes, taskOf("more", dir).Scopes[0])
	task.Scopes[1].Name = "more"
	a := newAgent(t, k, Config{Tasks: []TaskConfig{task}})
	for _, f := range []string{"one.txt", "more.txt"} {
		eventually(t, f+" is written", func() bool { return exists(filepath.Join(dir, f)) })
	}
	task.Scopes = task.Scopes[:1]
	must(t, a.Reload(Config{Tasks: []TaskConfig{task}}, nil))
	if exists(filepath.Join(dir, "more.txt")) || !exists(filepath.Join(dir, "one.txt")) {
		t.Error("the files are not those of what is left")
	}
	eventually(t, "one credential lives", func() bool { return k.H.Minter.Live() == 1 })
}

func TestWatchFollowsTheFile(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	path := filepath.Join(dir, "agent.yaml")
	text := func(prefix string) string {
		return strings.Replace(good, "bucket: b, keys: [x, y]", "bucket: prod, prefix: "+prefix, 1)
	}
	file := func(prefix string) {
		must(t, os.WriteFile(path, []byte(strings.Replace(text(prefix), "scope: s\n", "scope: s3-prefix-read\n", 1)), 0o600))
	}
	file("a/")
	c, err := Load(path)
	must(t, err)
	a := newAgent(t, k, c)
	now := make(chan os.Signal, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		a.Watch(ctx, path, now)
		close(done)
	}()
	file("b/")
	now <- syscall.SIGHUP
	eventually(t, "the other prefix is asked for", func() bool {
		s := a.Status().Tasks[0].Scopes
		return len(s) == 1 && s[0].Params["prefix"][0] == "b/" && s[0].CredentialID != ""
	})
	file("ccc/")
	eventually(t, "a change is seen without a signal", func() bool {
		s := a.Status().Tasks[0].Scopes
		return len(s) == 1 && s[0].Params["prefix"][0] == "ccc/" && s[0].CredentialID != ""
	})
	cancel()
	<-done
}

func TestADenialIsToldAndNotRepeated(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	task := taskOf("one", dir)
	task.Scopes[0].Scope, task.Scopes[0].Params = "s3-bucket-rebuild", map[string]Values{"bucket": {"prod"}}
	task.Scopes = append(task.Scopes, ScopeConfig{Name: "none", Scope: "none", Outputs: Outputs{VaultSink: &FileOutput{File: filepath.Join(dir, "sink")}}})
	a := newAgent(t, k, Config{Tasks: []TaskConfig{task}})
	var st []ScopeStatus
	eventually(t, "both are told", func() bool {
		st = a.Status().Tasks[0].Scopes
		return len(st) == 2 && st[0].Error != "" && st[1].Error != ""
	})
	for _, s := range st {
		want := valetkey.ErrUnknownScope.Error()
		if s.Name == "s3-bucket-rebuild" {
			want = valetkey.ErrNeedsApproval.Error()
		}
		if !strings.Contains(s.Error, want) || s.CredentialID != "" {
			t.Errorf("%s: %+v", s.Name, s)
		}
	}
	code, body := ask(t, http.MethodGet, a.hub.URL("/v1/one/s3-bucket-rebuild"), "Authorization", read(t, filepath.Join(dir, "one.token")))
	if code != http.StatusForbidden || !strings.Contains(body, "NEEDS_APPROVAL") {
		t.Errorf("%d: %s", code, body)
	}
	if exists(filepath.Join(dir, "sink")) || exists(filepath.Join(dir, "one.txt")) || k.Minted.Load() != 0 {
		t.Error("something was written or minted")
	}
}

// TestNobodyIsReadyBeforeTheTasks asks from before there is an agent, for a scope
// that never comes.
func TestNobodyIsReadyBeforeTheTasks(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	task := taskOf("one", dir)
	task.Scopes[0].Scope = "none"
	socket := filepath.Join(dir, "s")
	first := make(chan error, 1)
	go func() {
		for t.Context().Err() == nil {
			if _, err := serve.Ask(t.Context(), socket, HealthPath); err == nil || !strings.Contains(err.Error(), "see that the agent runs") {
				first <- err
				return
			}
		}
	}()
	newAgent(t, k, Config{Socket: socket, Tasks: []TaskConfig{task}})
	if err := <-first; err == nil {
		t.Error("the first answer is that all is well")
	}
}
