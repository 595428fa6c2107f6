package helper

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// tap is an address in front of a broker that can be shut: connections are taken
// then, and nothing passes on them or on those there are, until it is opened.
type tap struct {
	lis  net.Listener
	done chan struct{}

	mu   sync.Mutex
	pass chan struct{} // closed while it is open; locked by mu
}

func newTap(t *testing.T, to string) *tap {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &tap{lis: lis, done: make(chan struct{}), pass: make(chan struct{})}
	close(p.pass)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close() // nobody is there
				continue
			}
			wg.Go(func() { p.pump(out, in) })
			wg.Go(func() { p.pump(in, out) })
		}
	})
	t.Cleanup(func() {
		close(p.done)
		_ = lis.Close() // once
		wg.Wait()
	})
	return p
}

func (p *tap) addr() string { return p.lis.Addr().String() }

// pump closes both when either is.
func (p *tap) pump(to, from net.Conn) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.done:
		case <-stop:
		}
		_, _ = to.Close(), from.Close() // the other pump may have
	}()
	for buf := make([]byte, 32<<10); ; {
		n, err := from.Read(buf)
		p.mu.Lock()
		pass := p.pass
		p.mu.Unlock()
		select {
		case <-pass:
		case <-p.done:
			return
		}
		if _, lost := to.Write(buf[:n]); err != nil || lost != nil {
			return
		}
	}
}

func (p *tap) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass = make(chan struct{})
}

func (p *tap) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.pass: // it is
	default:
		close(p.pass)
	}
}

// skewed is a clock of the client's, ahead of the broker's.
type skewed struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *skewed) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *skewed) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// hangs is how long what has to end without an answer may take: what Close still
// says to the broker, and a busy machine.
const hangs = closeTimeout + 2*time.Second

// took fails a test where what began then has taken longer than it may.
func took(t *testing.T, what string, began time.Time, most time.Duration) {
	t.Helper()
	if d := time.Since(began); d > most {
		t.Errorf("%s took %v, and may take %v", what, d, most)
	}
}

// TestFetchesDoNotWaitForABroker has a renewal be due while the broker hangs: what
// lives is given at once, and the renewal goes on once there is an answer.
func TestFetchesDoNotWaitForABroker(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	p, c := newTap(t, k.h.Addr()), &skewed{}
	k.client = k.dial(t, valetkey.WithAddr(p.addr()), valetkey.WithClock(c.now))
	a := k.agent(t, Config{Tasks: []TaskConfig{taskOf("one", dir)}})
	eventually(t, "it serves", func() bool { return exists(filepath.Join(dir, "one.env")) })
	url, token := a.hub.url("/v1/one/s3-prefix-read"), read(t, filepath.Join(dir, "one.token"))
	fetch := func() (id string) {
		t.Helper()
		code, body := ask(t, http.MethodGet, url, "Authorization", token)
		var got awsAnswer
		if err := json.Unmarshal([]byte(body), &got); code != http.StatusOK || err != nil {
			t.Fatalf("%d: %v", code, err)
		}
		return got.AccessKeyID
	}
	first := fetch()
	p.shut()
	c.add(12 * time.Minute) // of 15
	began := time.Now()
	for range 200 {
		if id := fetch(); id != first {
			t.Fatal("it is another credential")
		}
		if _, err := Ask(t.Context(), filepath.Join(dir, "one.sock"), "/"); err != nil {
			t.Fatal(err)
		}
	}
	took(t, "400 fetches", began, 5*time.Second)
	if st := a.Status().Tasks[0].Scopes[0]; !st.Renewing || st.CredentialID != first {
		t.Errorf("the status is %+v", st)
	}
	p.open()
	eventually(t, "it is renewed", func() bool { return fetch() != first })
	if n := k.minted.Load(); n != 2 {
		t.Errorf("%d were minted", n)
	}
}

// TestOpenEndsInTime has the broker hang at each point of a start.
func TestOpenEndsInTime(t *testing.T) {
	for name, c := range map[string]struct {
		when func(*kit, *tap)
		says string
	}{
		"from the beginning": {func(_ *kit, p *tap) { p.shut() }, "opening a task"},
		"when it mints": {func(k *kit, p *tap) {
			k.h.Minter.Set(func(m *brokertest.Minter) { m.BeforeMint = func(mint.Order) error { p.shut(); return nil } })
		}, "waiting for a credential"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, dir := newKit(t), t.TempDir()
			p := newTap(t, k.h.Addr())
			client := k.dial(t, valetkey.WithAddr(p.addr()))
			t.Cleanup(p.open)
			c.when(k, p)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			_, err := Open(ctx, SessionConfig{
				Client: client, Task: valetkey.TaskSpec{Purpose: "a test", Environment: "staging"}, Scopes: []ScopeSpec{reads("a/")}, Dir: dir,
			})
			took(t, "Open", began, time.Second+hangs)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, and not that it was %s", err, c.says)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%v is left (%v)", left, err)
			}
		})
	}
}

// TestCloseEndsInTime has the broker hang at the end, while something is asked.
func TestCloseEndsInTime(t *testing.T) {
	t.Run("a session", func(t *testing.T) {
		t.Parallel()
		k := newKit(t)
		p := newTap(t, k.h.Addr())
		k.client = k.dial(t, valetkey.WithAddr(p.addr()))
		t.Cleanup(p.open)
		s := k.session(t)
		env := variables(s.Environ(nil))
		p.shut()
		began := time.Now()
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), s.TaskID()) {
			t.Errorf("that the task may be open is told as %v", err)
		}
		took(t, "Close", began, hangs)
		if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
			t.Errorf("its folder: %v", err)
		}
		if _, err := http.Get(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"]); err == nil { //nolint:bodyclose,noctx // there is none
			t.Error("its address answers")
		}
	})
	t.Run("an agent", func(t *testing.T) {
		t.Parallel()
		k, dir := newKit(t), t.TempDir()
		p, c := newTap(t, k.h.Addr()), &skewed{}
		k.client = k.dial(t, valetkey.WithAddr(p.addr()), valetkey.WithClock(c.now))
		a := k.agent(t, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{taskOf("one", dir), taskOf("two", dir)}})
		for _, f := range []string{"one.env", "two.env"} {
			eventually(t, f+" is written", func() bool { return exists(filepath.Join(dir, f)) })
		}
		p.shut()
		c.add(time.Hour) // what it has is dead, and who asks waits
		url, token := a.hub.url("/v1/one/s3-prefix-read"), read(t, filepath.Join(dir, "one.token"))
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
		if err := k.client.Close(); err == nil {
			t.Error("the client tells nothing")
		}
		took(t, "closing the client", began, hangs)
	})
}

// TestStatusDoesNotWaitForABroker has tasks be opened and closed, and scopes be given
// back, while the broker hangs: who asks for the status has it at once.
func TestStatusDoesNotWaitForABroker(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	p := newTap(t, k.h.Addr())
	k.client = k.dial(t, valetkey.WithAddr(p.addr()))
	task := taskOf("one", dir)
	for _, name := range []string{"b", "c", "d"} {
		more := taskOf(name, dir).Scopes[0]
		more.Name = name
		task.Scopes = append(task.Scopes, more)
	}
	conf := Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task, taskOf("old", dir)}}
	a := k.agent(t, conf)
	eventually(t, "it serves", func() bool { return exists(filepath.Join(dir, "old.env")) && exists(filepath.Join(dir, "d.env")) })
	p.shut()
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
			_, err := Ask(t.Context(), conf.Socket, StatusPath)
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
	if _, err := Ask(t.Context(), conf.Socket, HealthPath); err == nil || !strings.Contains(err.Error(), "task new is not open: the broker has not answered yet") {
		t.Errorf("the probe says %v", err)
	}
	p.open()
	eventually(t, "the other task is served", func() bool {
		_, err := Ask(t.Context(), conf.Socket, HealthPath)
		return err == nil
	})
}
