package agent

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// TestFetchesDoNotWaitForABroker has a renewal be due while the broker hangs: what
// lives is given at once, and the renewal goes on once there is an answer.
func TestFetchesDoNotWaitForABroker(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	p, c := clienttest.NewTap(t, k.H.Addr()), &clienttest.Clock{}
	k.Client = k.Dial(t, valetkey.WithAddr(p.Addr()), valetkey.WithClock(c.Now))
	a := newAgent(t, k, Config{Tasks: []TaskConfig{taskOf("one", dir)}})
	eventually(t, "it serves", func() bool { return exists(filepath.Join(dir, "one.env")) })
	url, token := a.hub.URL("/v1/one/s3-prefix-read"), read(t, filepath.Join(dir, "one.token"))
	fetch := func() (id string) {
		t.Helper()
		code, body := ask(t, http.MethodGet, url, "Authorization", token)
		var got clienttest.AWSAnswer
		if err := json.Unmarshal([]byte(body), &got); code != http.StatusOK || err != nil {
			t.Fatalf("%d: %v", code, err)
		}
		return got.AccessKeyID
	}
	first := fetch()
	p.Shut()
	c.Add(12 * time.Minute) // of 15
	began := time.Now()
	for range 200 {
		if id := fetch(); id != first {
			t.Fatal("it is another credential")
		}
		if _, err := serve.Ask(t.Context(), filepath.Join(dir, "one.sock"), "/"); err != nil {
			t.Fatal(err)
		}
	}
	took(t, "400 fetches", began, 5*time.Second)
	if st := a.Status().Tasks[0].Scopes[0]; !st.Renewing || st.CredentialID != first {
		t.Errorf("the status is %+v", st)
	}
	p.Open()
	eventually(t, "it is renewed", func() bool { return fetch() != first })
	if n := k.Minted.Load(); n != 2 {
		t.Errorf("%d were minted", n)
	}
}

// TestCloseEndsInTime has the broker hang at the end, while something is asked.
func TestCloseEndsInTime(t *testing.T) {
	t.Parallel()
	k, dir := newKit(t), t.TempDir()
	p, c := clienttest.NewTap(t, k.H.Addr()), &clienttest.Clock{}
	k.Client = k.Dial(t, valetkey.WithAddr(p.Addr()), valetkey.WithClock(c.Now))
	a := newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{taskOf("one", dir), taskOf("two", dir)}})
	for _, f := range []string{"one.env", "two.env"} {
		eventually(t, f+" is written", func() bool { return exists(filepath.Join(dir, f)) })
	}
	p.Shut()
	c.Add(time.Hour) // what it has is dead, and who asks waits
	url, token := a.hub.URL("/v1/one/s3-prefix-read"), read(t, filepath.Join(dir, "one.token"))
	asked := make(chan int, 1) // an answer's code; 0 for none
	go func() {
		code := 0
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err == nil {
			req.Header.Set("Authorization", token)
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(req); err == nil {
				code = resp.StatusCode
				_ = resp.Body.Close() // only looked at
			}
		}
		asked <- code
	}()
	eventually(t, "it asks the broker", func() bool {
		for _, task := range a.Status().Tasks {
			if task.Name == "one" && task.Scopes[0].Renewing {
				return true
			}
		}
		return false
	})
	began := time.Now()
	if err := a.Close(); err == nil {
		t.Error("that the tasks may be open is not told")
	}
	took(t, "Close", began, hangs)
	if code := <-asked; code != 0 && code != http.StatusForbidden {
		t.Errorf("who asked was answered with %d", code)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	if len(left) != 1 || left[0] != filepath.Join(dir, "s.journal") { // for the next to end the tasks
		t.Errorf("%v is left", left)
	}
	began = time.Now()
	if err := k.Client.Close(); err == nil {
		t.Error("the client tells nothing")
	}
	took(t, "closing the client", began, hangs)
}

// TestStatusDoesNotWaitForABroker has tasks be opened and closed, and scopes be given
// back, while the broker hangs: who asks for the status has it at once.
func TestStatusDoesNotWaitForABroker(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	p := clienttest.NewTap(t, k.H.Addr())
	k.Client = k.Dial(t, valetkey.WithAddr(p.Addr()))
	task := taskOf("one", dir)
	for _, name := range []string{"b", "c", "d"} {
		more := taskOf(name, dir).Scopes[0]
		more.Name = name
		task.Scopes = append(task.Scopes, more)
	}
	conf := Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task, taskOf("old", dir)}}
	a := newAgent(t, k, conf)
	eventually(t, "it serves", func() bool { return exists(filepath.Join(dir, "old.env")) && exists(filepath.Join(dir, "d.env")) })
	p.Shut()
	changed := task
	changed.Scopes = task.Scopes[:1]
	conf.Tasks = []TaskConfig{changed, taskOf("new", dir)}
	began, reloaded := time.Now(), make(chan error, 1)
	go func() { reloaded <- a.Reload(conf, nil) }()
	var asked int
	for done := false; !done; {
		select {
		case err := <-reloaded:
			must(t, err)
			done = true
		default:
			asked++
			one := time.Now()
			_, err := serve.Ask(t.Context(), conf.Socket, StatusPath)
			must(t, err)
			took(t, "a status during a reload", one, time.Second)
		}
	}
	took(t, "a reload", began, hangs)
	if asked < 100 {
		t.Errorf("the status was asked for %d times during the reload", asked)
	}
	if exists(filepath.Join(dir, "old.env")) || exists(filepath.Join(dir, "d.env")) {
		t.Error("what is gone has left its files")
	}
	if _, err := serve.Ask(t.Context(), conf.Socket, HealthPath); err == nil || !strings.Contains(err.Error(), "task new is not open: the broker has not answered yet") {
		t.Errorf("the probe says %v", err)
	}
	p.Open()
	eventually(t, "the other task is served", func() bool {
		_, err := serve.Ask(t.Context(), conf.Socket, HealthPath)
		return err == nil
	})
}
