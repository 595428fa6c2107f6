package valetkey_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestOutage takes the broker away, and checks that the credential is given until
// it dies, that this is said, and that a new broker is found.
func TestOutage(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	clock := &clienttest.Clock{}
	c := dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithClock(clock.Now), valetkey.WithRetryFor(200*time.Millisecond))
	src := open(t, c).Source("s3-prefix-read", params)
	first, err := src.Credential(t.Context())
	must(t, err)

	f.point("")
	h.Stop()
	clock.Add(12 * time.Minute) // renewal is due, and fails
	cred, err := src.Credential(t.Context())
	must(t, err)
	brokertest.Eventually(t, "the failure is told", func() bool { return errors.Is(src.Status().Err, valetkey.ErrUnavailable) })
	if cred.ID() != first.ID() {
		t.Error("another credential without a broker")
	}
	clock.Add(2*time.Minute + 55*time.Second) // five seconds are left: callers wait for the next, and take what there is
	cred, err = src.Credential(t.Context())
	must(t, err)
	if cred.ID() != first.ID() {
		t.Error("another credential without a broker")
	}
	clock.Add(10 * time.Second)
	if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrUnavailable) {
		t.Errorf("a dead credential without a broker: %v", err)
	}

	h.Start()
	f.point(h.Addr())
	brokertest.Eventually(t, "the new broker is found", func() bool {
		cred, err = src.Credential(t.Context())
		return err == nil
	})
	if cred.ID() == first.ID() || src.Status().Err != nil {
		t.Errorf("%s again, and %v", cred.ID(), src.Status().Err)
	}
}

// TestRestartMidRefresh stops the broker while it mints: the answer is lost, the
// call is sent again to the next broker, and one credential comes of it.
func TestRestartMidRefresh(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	task := open(t, dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithRetryFor(20*time.Second)))
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.Minter.Set(func(m *brokertest.Minter) {
		m.BeforeMint = func(mint.Order) error {
			once.Do(func() { close(reached); <-goOn })
			return nil
		}
	})
	type answer struct {
		cred valetkey.Credential
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		_, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
		got <- answer{cred, err}
	}()
	<-reached
	f.point("")
	close(goOn)
	h.Stop()
	h.Start()
	f.point(h.Addr())
	a := <-got
	must(t, a.err)
	if !a.cred.Receipt().Verified {
		t.Error("not verified")
	}
	// The lost one may be alive until its grant ends; nothing else is.
	if n := len(h.Minter.Secrets()); n != 2 {
		t.Errorf("%d were minted", n)
	}
}

// TestRefusalIsRemembered counts what a denied program costs its broker.
func TestRefusalIsRemembered(t *testing.T) {
	h := start(t)
	clock := &clienttest.Clock{}
	src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}})
	ask := func() {
		t.Helper()
		for range 20 {
			if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrNeedsApproval) {
				t.Fatal(err)
			}
		}
	}
	before := len(h.Records())
	ask()
	if n := len(h.Records()) - before; n != 1 {
		t.Errorf("20 questions made %d records", n)
	}
	clock.Add(61 * time.Second)
	ask()
	if n := len(h.Records()) - before; n != 2 {
		t.Errorf("a minute later there are %d records", n)
	}
}

// TestLogs reads what a source logs in the background: that it waits for people when
// that begins, and failures, each once however many tries there are.
func TestLogs(t *testing.T) {
	bob, carol := brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "carol", "sre")
	for record, c := range map[string]struct {
		people []brokertest.Person
		times  int
	}{
		"grant.needs_approval": {nil, 6}, // each try is refused
		"grant.pending":        {[]brokertest.Person{bob, carol}, 1},
	} {
		t.Run(record, func(t *testing.T) {
			h := brokertest.NewRunning(t, brokertest.Config{People: c.people})
			clock, between := &clienttest.Clock{}, &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
			var logged bytes.Buffer
			client := dial(t, h, valetkey.WithConn(between), valetkey.WithClock(clock.Now), valetkey.WithLogger(logTo(&logged)))
			src := open(t, client).Source("s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}})
			broken := errors.New("broken")
			ask := func(lost, want error, level, says string) {
				t.Helper()
				between.set(func(m *meddler) { m.before = func(string, proto.Message) error { return lost } })
				logged.Reset()
				for range 3 {
					if _, err := src.Credential(t.Context()); !errors.Is(err, want) {
						t.Fatal(err)
					}
					clock.Add(61 * time.Second) // a refusal is remembered for a minute
				}
				lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
				if len(lines) != 1 || !strings.Contains(lines[0], `"level":"`+level+`"`) || !strings.Contains(lines[0], says) || !strings.Contains(lines[0], "s3-bucket-rebuild") {
					t.Errorf("three tries that end with %v are logged as %q", want, lines)
				}
			}
			ask(nil, valetkey.ErrNeedsApproval, "INFO", "waits for people")
			if c.people == nil { // else the broker is asked over a stream, which goes on
				ask(broken, broken, "WARN", "broken")
				ask(nil, valetkey.ErrNeedsApproval, "INFO", "waits for people")
			}
			if n := strings.Count(strings.Join(h.Records(), "\n"), `"`+record+`"`); n != c.times {
				t.Errorf("there are %d records, want %d", n, c.times)
			}
			logged.Reset()
			for _, p := range c.people {
				_, err := h.Decide(p, src.Status().GrantID, evidence.Approve)
				must(t, err)
			}
			if _, err := src.Credential(t.Context()); (err == nil) != (c.people != nil) {
				t.Errorf("people have approved, and it says %v", err)
			}
			if logged.Len() > 0 {
				t.Errorf("a credential is logged as %s", logged.String())
			}
		})
	}
}

// TestFrozenMidLife freezes an agent: what it has goes on, and what it asks is refused.
func TestFrozenMidLife(t *testing.T) {
	h := start(t)
	clock := &clienttest.Clock{}
	src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("s3-prefix-read", params)
	first, err := src.Credential(t.Context())
	must(t, err)
	freeze(t, h, true)
	clock.Add(12 * time.Minute)
	cred, err := src.Credential(t.Context())
	must(t, err)
	brokertest.Eventually(t, "the refusal is told", func() bool { return errors.Is(src.Status().Err, valetkey.ErrFrozen) })
	if cred.ID() != first.ID() {
		t.Error("a frozen agent has another credential")
	}
	clock.Add(4 * time.Minute)
	if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrFrozen) {
		t.Errorf("a frozen agent's dead credential: %v", err)
	}
	freeze(t, h, false)
	clock.Add(time.Minute)
	_, err = src.Credential(t.Context())
	must(t, err)
}

// TestTaskEndedElsewhere has an operator end the task under a source.
func TestTaskEndedElsewhere(t *testing.T) {
	h := start(t)
	clock := &clienttest.Clock{}
	task := open(t, dial(t, h, valetkey.WithClock(clock.Now)))
	src := task.Source("s3-prefix-read", params)
	_, err := src.Credential(t.Context())
	must(t, err)
	revokeTask(t, h, task.ID())
	clock.Add(12 * time.Minute)
	brokertest.Eventually(t, "the end is noticed", func() bool {
		_, err := src.Credential(t.Context())
		return errors.Is(err, valetkey.ErrTaskClosed)
	})
}

// TestForgeryMintsOnce has every receipt prove nothing: asking on must not mint on.
func TestForgeryMintsOnce(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent), after: func(_ string, reply proto.Message) error {
		if r, ok := reply.(*valetkeyv1.RequestGrantResponse); ok {
			r.Receipt.InclusionProof[0][0] ^= 1
		}
		return nil
	}}
	src := open(t, dial(t, h, valetkey.WithConn(between))).Source("s3-prefix-read", params)
	for range 20 {
		if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrReceipt) {
			t.Fatal(err)
		}
	}
	if n := len(h.Minter.Secrets()); n != 1 {
		t.Errorf("%d were minted", n)
	}
}
