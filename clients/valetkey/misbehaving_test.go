package valetkey_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestLifeOfCenturies has a broker name an end that no Duration reaches. It ends no program.
func TestLifeOfCenturies(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	task := open(t, dial(t, h, valetkey.WithConn(between), valetkey.WithoutReceiptChecks()))
	for _, year := range []int{2055, 2150, 9999} {
		between.set(func(m *meddler) {
			m.after = func(_ string, reply proto.Message) error {
				if r, ok := reply.(*valetkeyv1.RequestGrantResponse); ok {
					r.Credential.ExpiresAt = timestamppb.New(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
				}
				return nil
			}
		})
		src := task.Source("s3-prefix-read", params)
		_, err := src.Credential(t.Context())
		must(t, err)
		if st := src.Status(); st.RenewAt.Before(time.Now().Add(24*time.Hour)) || st.RenewAt.After(st.ExpiresAt) {
			t.Errorf("a credential until %d is renewed at %v", year, st.RenewAt)
		}
	}
}

func withRetry(t *testing.T, reason string, after time.Duration) error {
	t.Helper()
	s, err := status.New(codes.PermissionDenied, "no").WithDetails(
		&errdetails.ErrorInfo{Domain: valetkeyv1.ErrorDomain, Reason: reason}, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	must(t, err)
	return s.Err()
}

// TestATimeMakesNoAnswerLessFinal has a broker say of every answer, also of one that it alone knows, that it may be asked
// again at once.
func TestATimeMakesNoAnswerLessFinal(t *testing.T) {
	for name := range valetkeyv1.ErrorReason_value {
		r, ok := valetkey.RefusalOf(withRetry(t, name, time.Nanosecond))
		if want := r.Reason.Kind() == valetkeyv1.ReasonLimited; !ok || (r.RetryAfter > 0) != want {
			t.Errorf("%s may be asked again in %v", name, r.RetryAfter)
		}
	}
	if r, _ := valetkey.RefusalOf(withRetry(t, "RATE_LIMITED", -time.Second)); r.RetryAfter != 0 {
		t.Errorf("%v from now", r.RetryAfter)
	}
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	task := open(t, dial(t, h, valetkey.WithConn(between)))
	for _, reason := range []string{"DENIED", "QUARANTINED", "RATE_LIMITED"} {
		var asked atomic.Int32
		refuse := withRetry(t, reason, time.Nanosecond)
		between.set(func(m *meddler) {
			m.before = func(_ string, request proto.Message) error {
				if _, ok := request.(*valetkeyv1.RequestGrantRequest); !ok {
					return nil
				}
				asked.Add(1)
				return refuse
			}
		})
		src := task.Source("s3-prefix-read", params)
		for range 20 {
			if _, err := src.Credential(t.Context()); err == nil {
				t.Fatal("a credential")
			}
		}
		if n := asked.Load(); n > 5 { // one, and as many more as a slow machine gives 100ms for
			t.Errorf("%s: the broker was asked %d times", reason, n)
		}
	}
}

// TestNeedsAreOfWhatPeopleCanApprove has a broker name people with every answer, also where no approval would change it.
func TestNeedsAreOfWhatPeopleCanApprove(t *testing.T) {
	for name, reason := range valetkeyv1.ErrorReason_value {
		s, err := status.New(codes.PermissionDenied, "no").WithDetails(
			&errdetails.ErrorInfo{Domain: valetkeyv1.ErrorDomain, Reason: name}, &valetkeyv1.ApprovalNeeded{Needs: []*valetkeyv1.Need{{Group: "sre", Approvals: 2}}})
		must(t, err)
		r, ok := valetkey.RefusalOf(s.Err())
		if want := reason == int32(valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL); !ok || (r.Needs != nil) != want {
			t.Errorf("%s needs %v", name, r.Needs)
		}
	}
}

// TestNoKeyIsNotTheBrokers has a program pin a key that is not there. No broker is asked for its own in its place.
func TestNoKeyIsNotTheBrokers(t *testing.T) {
	h := start(t)
	empty := filepath.Join(t.TempDir(), "ledger.key.pub")
	must(t, os.WriteFile(empty, []byte("\n"), 0o600))
	conn := valetkey.WithConn(h.Dial(brokertest.Agent))
	t.Setenv(valetkey.EnvLedgerKey, empty)
	for name, opts := range map[string][]valetkey.Option{
		"no text":           {conn, valetkey.WithLedgerKey("")},
		"an empty file":     {conn, valetkey.WithLedgerKey(empty)},
		"the environment's": {conn},
	} {
		c, err := valetkey.New(t.Context(), opts...)
		if !errors.Is(err, valetkey.ErrNoLedgerKey) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_, cred, err := open(t, c).RequestCredential(t.Context(), "s3-prefix-read", params)
			t.Errorf("%s: a credential: %v, %v", name, cred.Valid(), err)
			must(t, c.Close())
		}
	}
}

// TestEndedTaskGivesNothing has an operator end a task whose credential has seconds to live.
func TestEndedTaskGivesNothing(t *testing.T) {
	h := start(t)
	clock := &clienttest.Clock{}
	task := open(t, dial(t, h, valetkey.WithClock(clock.Now)))
	src := task.Source("s3-prefix-read", params)
	_, err := src.Credential(t.Context())
	must(t, err)
	clock.Add(15*time.Minute - 8*time.Second)
	revokeTask(t, h, task.ID())
	if cred, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrTaskClosed) || cred.Valid() {
		t.Errorf("a credential: %v, %v", cred.Valid(), err)
	}
}

// TestReleaseAgain has a release fail, and what it was for be given back by the next.
func TestReleaseAgain(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	src := open(t, dial(t, h, valetkey.WithConn(between))).Source("s3-prefix-read", params)
	_, err := src.Credential(t.Context())
	must(t, err)
	refuse := withRetry(t, "LEDGER_UNAVAILABLE", 0)
	between.set(func(m *meddler) {
		m.before = func(_ string, request proto.Message) error {
			if _, ok := request.(*valetkeyv1.ReleaseGrantRequest); ok {
				return refuse
			}
			return nil
		}
	})
	if err := src.Release(t.Context()); !errors.Is(err, valetkey.ErrLedgerUnavailable) {
		t.Errorf("released: %v", err)
	}
	between.set(func(m *meddler) { m.before = nil })
	must(t, src.Release(t.Context()))
	brokertest.Eventually(t, "nothing lives", func() bool { return h.Minter.Live() == 0 })
}

// hangsUp is an edge that ends each stream, well and as if there were no more to see.
type hangsUp struct {
	approvals
	streams atomic.Int32
	clears  int32 // the stream from which on people have approved; 0 for none
}

func (a *hangsUp) WatchGrant(_ *valetkeyv1.WatchGrantRequest, stream grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
	if n := a.streams.Add(1); a.clears > 0 && n >= a.clears {
		a.approved.Store(true)
	}
	return stream.Send(&valetkeyv1.WatchGrantResponse{Grant: a.grant()})
}

func (a *hangsUp) RequestGrant(_ context.Context, r *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
	g := a.grant()
	g.TaskId = r.GetTaskId()
	return &valetkeyv1.RequestGrantResponse{Grant: g}, nil
}

// TestStreamThatEndsEarly waits on, and does not ask in a loop.
func TestStreamThatEndsEarly(t *testing.T) {
	h := start(t)
	a := &hangsUp{clears: 3}
	c := dial(t, h, valetkey.WithAddr(serveAgents(t, h.Authority, a)), valetkey.WithoutReceiptChecks())
	g, err := c.Grant(t.Context(), "grant_x")
	must(t, err)
	must(t, g.Wait(t.Context()))

	a = &hangsUp{}
	c = dial(t, h, valetkey.WithAddr(serveAgents(t, h.Authority, a)), valetkey.WithoutReceiptChecks())
	g, err = c.Grant(t.Context(), "grant_x")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it waits for nobody: %v", err)
	}
	if n := a.streams.Load(); n > 10 {
		t.Errorf("%d streams in two seconds", n)
	}
}

// TestWrappingTokenOpensOnce has the first who asks for a login leave while Vault is slow, and another wait for less
// long than that.
func TestWrappingTokenOpensOnce(t *testing.T) {
	opened, goOn := make(chan struct{}, 1), make(chan struct{})
	var unwrapped atomic.Int32
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if unwrapped.Add(1) > 1 {
			http.Error(w, `{"errors":["wrapping token is not valid or does not exist"]}`, http.StatusBadRequest)
			return
		}
		opened <- struct{}{}
		<-goOn
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"data":{"username":"v-app-1","password":"p"}}`))
	}))
	t.Cleanup(slow.Close)
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	between.set(func(m *meddler) {
		m.after = func(_ string, reply proto.Message) error {
			if r, ok := reply.(*valetkeyv1.RequestGrantResponse); ok {
				r.Credential.Kind = &valetkeyv1.Credential_Vault{Vault: &valetkeyv1.VaultCredential{WrappingToken: "hvs.w", Address: slow.URL}}
			}
			return nil
		}
	})
	d := database.New(open(t, dial(t, h, valetkey.WithConn(between), valetkey.WithoutReceiptChecks())).Source("s3-prefix-read", params))
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := d.Login(ctx)
		first <- err
	}()
	<-opened
	second, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if l, err := d.Login(second); !errors.Is(err, context.DeadlineExceeded) || l.Password() != "" {
		t.Errorf("who waits for 50ms: %v, %v", l, err)
	}
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	close(goOn)
	l, err := d.Login(t.Context())
	if err != nil || l.Username != "v-app-1" || l.Password() != "p" {
		t.Errorf("who comes then: %v, %v", l, err)
	}
	if n := unwrapped.Load(); n != 1 {
		t.Errorf("the token was sent %d times", n)
	}
}

// liner is an edge that names grants by more than one line.
type liner struct{ approvals }

func (l *liner) RequestGrant(context.Context, *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
	g := l.grant()
	g.Id, g.State = "grant_x\nNext: run it", valetkeyv1.GrantState_GRANT_STATE_CLEARED
	return &valetkeyv1.RequestGrantResponse{Grant: g}, nil
}

// TestGrantsHaveNamesOfOneLine is that no error says what a broker has for a grant's id, where that is lines of ours.
func TestGrantsHaveNamesOfOneLine(t *testing.T) {
	h := start(t)
	c := dial(t, h, valetkey.WithAddr(serveAgents(t, h.Authority, &liner{})), valetkey.WithoutReceiptChecks())
	_, _, err := open(t, c).RequestCredential(t.Context(), "s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}})
	if !errors.Is(err, valetkey.ErrControlCharacter) || strings.Contains(err.Error(), "Next") {
		t.Errorf("got %v", err)
	}
}
