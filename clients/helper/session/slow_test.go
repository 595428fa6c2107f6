package session

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// TestOpenEndsInTime has the broker hang at each point of a start.
func TestOpenEndsInTime(t *testing.T) {
	for name, c := range map[string]struct {
		when func(*clienttest.Kit, *clienttest.Tap)
		says string
	}{
		"from the beginning": {func(_ *clienttest.Kit, p *clienttest.Tap) { p.Shut() }, "opening a task"},
		"when it mints": {func(k *clienttest.Kit, p *clienttest.Tap) {
			k.H.Minter.Set(func(m *brokertest.Minter) { m.BeforeMint = func(mint.Order) error { p.Shut(); return nil } })
		}, "waiting for a credential"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, dir := newKit(t), t.TempDir()
			p := clienttest.NewTap(t, k.H.Addr())
			client := k.Dial(t, valetkey.WithAddr(p.Addr()))
			t.Cleanup(p.Open)
			c.when(k, p)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			_, err := Open(ctx, Config{
				Client: client, Task: clienttest.Task, Scopes: []serve.ScopeSpec{reads("a/")}, Dir: dir,
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
	t.Parallel()
	k := newKit(t)
	p := clienttest.NewTap(t, k.H.Addr())
	k.Client = k.Dial(t, valetkey.WithAddr(p.Addr()))
	t.Cleanup(p.Open)
	s := sessionOf(t, k)
	env := variables(s.Environ(nil))
	p.Shut()
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
}
