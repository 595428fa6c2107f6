package awssts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes/iam"
)

// marker is in every bad answer; it must reach no error.
const marker = "SECRET-IN-BODY"

type answerFunc func(w http.ResponseWriter, r *http.Request, form url.Values)

// fakeSTS answers by its functions in turn, the last one for ever.
type fakeSTS struct {
	url string

	mu      sync.Mutex
	answers []answerFunc // guarded by mu
	forms   []url.Values // guarded by mu
	headers []http.Header
}

func newFakeSTS(t *testing.T, answers ...answerFunc) *fakeSTS {
	t.Helper()
	f := &fakeSTS{answers: answers}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		f.mu.Lock()
		answer := f.answers[0]
		if len(f.answers) > 1 {
			f.answers = f.answers[1:]
		}
		f.forms = append(f.forms, r.PostForm)
		f.headers = append(f.headers, r.Header.Clone())
		f.mu.Unlock()
		answer(w, r, r.PostForm)
	}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *fakeSTS) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.forms)
}

// session is a fake STS's good answer, field by field.
type session struct {
	id, secret, token, name string
	life                    time.Duration
	noExpiry                bool
}

func good(change func(*session)) answerFunc {
	return func(w http.ResponseWriter, _ *http.Request, form url.Values) {
		s := session{id: "ASIA1", secret: marker, token: "token-" + marker, name: form.Get("RoleSessionName")}
		var seconds int
		_, _ = fmt.Sscan(form.Get("DurationSeconds"), &seconds)
		s.life = time.Duration(seconds) * time.Second
		if change != nil {
			change(&s)
		}
		expiry := "<Expiration>" + time.Now().Add(s.life).UTC().Format(time.RFC3339) + "</Expiration>"
		if s.noExpiry {
			expiry = ""
		}
		action := form.Get("Action")
		w.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><AssumedRoleUser><AssumedRoleId>AROA:%[2]s</AssumedRoleId>`+
			`<Arn>arn:aws:sts::123456789012:assumed-role/test/%[2]s</Arn></AssumedRoleUser><Credentials><AccessKeyId>%[3]s</AccessKeyId>`+
			`<SecretAccessKey>%[4]s</SecretAccessKey><SessionToken>%[5]s</SessionToken>%[6]s</Credentials></%[1]sResult></%[1]sResponse>`,
			action, s.name, s.id, s.secret, s.token, expiry)
	}
}

func fails(status int, code string) answerFunc {
	return func(w http.ResponseWriter, _ *http.Request, _ url.Values) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, marker)
	}
}

func raw(status int, body string) answerFunc {
	return func(w http.ResponseWriter, _ *http.Request, _ url.Values) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}
}

func hangs(_ http.ResponseWriter, r *http.Request, _ url.Values) { <-r.Context().Done() }

func cuts(w http.ResponseWriter, _ *http.Request, _ url.Values) {
	w.Header().Set("Content-Length", "1000")
	_, _ = fmt.Fprint(w, "<AssumeRoleResponse>"+marker)
	panic(http.ErrAbortHandler) // how a handler cuts its connection
}

func newMinter(t *testing.T, desk *minttest.Desk, endpoint string, change func(*awssts.Config)) *awssts.Minter {
	t.Helper()
	cfg := awssts.Config{
		Role: "test", RoleARN: "arn:aws:iam::123456789012:role/test", Endpoint: endpoint, Dialect: iam.DialectAWS,
		Permits: desk.Verifier, Timeout: 500 * time.Millisecond,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAX", "broker-secret", ""),
	}
	if change != nil {
		change(&cfg)
	}
	m, err := awssts.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func check(t *testing.T, err, want error, maybe bool) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if got := mint.Maybe(err); got != maybe {
		t.Errorf("Maybe is %v for %v", got, err)
	}
	if err != nil && (strings.Contains(err.Error(), marker) || strings.Contains(err.Error(), "broker-secret")) {
		t.Errorf("the error holds a secret: %v", err)
	}
}

// TestAnswers is the contract for every answer STS can give, good or bad.
func TestAnswers(t *testing.T) {
	throttle := fails(http.StatusBadRequest, "Throttling")
	for _, tc := range []struct {
		name    string
		answers []answerFunc
		want    error // nil: a credential
		maybe   bool  // whether one may exist after the error
		calls   int
	}{
		{"good", []answerFunc{good(nil)}, nil, false, 1},
		{"throttled once", []answerFunc{throttle, good(nil)}, nil, false, 2},
		{"throttled for good", []answerFunc{throttle}, mint.ErrUnavailable, false, 2},
		{"too many requests", []answerFunc{raw(http.StatusTooManyRequests, marker)}, mint.ErrUnavailable, false, 2},
		{"hangs", []answerFunc{hangs}, mint.ErrUnavailable, true, 1},
		{"broken", []answerFunc{fails(http.StatusServiceUnavailable, "ServiceUnavailable")}, mint.ErrUnavailable, true, 1},
		{"proxy's page", []answerFunc{raw(http.StatusBadGateway, "<html>"+marker)}, mint.ErrUnavailable, true, 1},
		{"refuses", []answerFunc{fails(http.StatusForbidden, "AccessDenied")}, mint.ErrRefused, false, 1},
		{"refuses with a secret as code", []answerFunc{fails(http.StatusForbidden, marker)}, mint.ErrRefused, false, 1},
		{"no such role", []answerFunc{fails(http.StatusBadRequest, "ValidationError")}, mint.ErrRefused, false, 1},
		{"packed policy", []answerFunc{fails(http.StatusBadRequest, "PackedPolicyTooLarge")}, mint.ErrTooLarge, false, 1},
		{"garbage", []answerFunc{raw(http.StatusOK, "{"+marker)}, mint.ErrInvalid, true, 1},
		{"empty", []answerFunc{raw(http.StatusOK, "")}, mint.ErrInvalid, true, 1},
		{"cut off", []answerFunc{cuts}, mint.ErrUnavailable, true, 1},
		{"longer life", []answerFunc{good(func(s *session) { s.life += 10 * time.Minute })}, mint.ErrInvalid, true, 1},
		{"life over", []answerFunc{good(func(s *session) { s.life = -time.Minute })}, mint.ErrInvalid, true, 1},
		{"no expiry", []answerFunc{good(func(s *session) { s.noExpiry = true })}, mint.ErrInvalid, true, 1},
		{"no key id", []answerFunc{good(func(s *session) { s.id = "" })}, mint.ErrInvalid, true, 1},
		{"no secret", []answerFunc{good(func(s *session) { s.secret = "" })}, mint.ErrInvalid, true, 1},
		{"no token", []answerFunc{good(func(s *session) { s.token = "" })}, mint.ErrInvalid, true, 1},
		{"another session", []answerFunc{good(func(s *session) { s.name = "other" })}, mint.ErrInvalid, true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, desk := newFakeSTS(t, tc.answers...), minttest.NewDesk(t)
			m := newMinter(t, desk, f.url, nil)
			p := desk.Permit(minttest.Order(prefixPermissions(), 5*time.Minute))
			cred, err := m.Mint(t.Context(), p)
			if f.calls() != tc.calls {
				t.Errorf("%d calls, want %d", f.calls(), tc.calls)
			}
			if tc.want == nil {
				if err != nil || !cred.Valid() || cred.Handle().AccessKeyID != "ASIA1" {
					t.Errorf("no credential: %v", err)
				}
			} else {
				check(t, err, tc.want, tc.maybe)
				if cred.Valid() {
					t.Error("a credential together with an error")
				}
			}
			// Whatever happened, the permit is spent.
			calls := f.calls()
			_, err = m.Mint(t.Context(), p)
			check(t, err, mint.ErrPermit, false)
			if f.calls() != calls {
				t.Error("a spent permit was sent")
			}
		})
	}
}

func TestShorterLifeIsTold(t *testing.T) {
	f, desk := newFakeSTS(t, good(func(s *session) { s.life = time.Minute })), minttest.NewDesk(t)
	o := minttest.Order(prefixPermissions(), 5*time.Minute)
	cred, err := newMinter(t, desk, f.url, nil).Mint(t.Context(), desk.Permit(o))
	if err != nil || !cred.ExpiresAt().Before(o.NotAfter.Add(-3*time.Minute)) {
		t.Errorf("expires %v, ordered %v: %v", cred.ExpiresAt(), o.NotAfter, err)
	}
}

func TestClocksApart(t *testing.T) {
	for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		f, desk := newFakeSTS(t, good(nil)), minttest.NewDesk(t)
		m := newMinter(t, desk, f.url, func(c *awssts.Config) { c.Now = func() time.Time { return time.Now().Add(off) } })
		_, err := m.Mint(t.Context(), desk.Permit(minttest.Order(prefixPermissions(), 20*time.Minute)))
		check(t, err, mint.ErrInvalid, true)
		check(t, err, mint.ErrClock, true)
		// AWS refuses a signature that is minutes off, and does not say why.
		f = newFakeSTS(t, fails(http.StatusForbidden, "SignatureDoesNotMatch"))
		m = newMinter(t, desk, f.url, func(c *awssts.Config) { c.Now = func() time.Time { return time.Now().Add(off) } })
		_, err = m.Mint(t.Context(), desk.Permit(minttest.Order(prefixPermissions(), 20*time.Minute)))
		check(t, err, mint.ErrRefused, false)
		check(t, err, mint.ErrClock, false)
	}
}

func TestConnectionRefusedAndBreaker(t *testing.T) {
	desk := minttest.NewDesk(t)
	m := newMinter(t, desk, "http://"+minttest.FreeAddr(t), nil)
	mintOne := func(ctx context.Context) error {
		_, err := m.Mint(ctx, desk.Permit(minttest.Order(prefixPermissions(), 5*time.Minute)))
		return err
	}
	check(t, mintOne(t.Context()), mint.ErrUnavailable, false)

	f := newFakeSTS(t, fails(http.StatusInternalServerError, "InternalFailure"))
	m = newMinter(t, desk, f.url, nil)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 { // callers that hang up say nothing about STS
		check(t, mintOne(canceled), mint.ErrUnavailable, false)
	}
	for range 5 {
		check(t, mintOne(t.Context()), mint.ErrUnavailable, true)
	}
	calls := f.calls()
	check(t, mintOne(t.Context()), mint.ErrUnavailable, false)
	if f.calls() != calls {
		t.Error("the open breaker let a call through")
	}
}

func TestRevokeAnswers(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answer  answerFunc
		outcome mint.RevokeOutcome
		want    error
	}{
		{"done", raw(http.StatusNoContent, ""), mint.RevokedUpstream, nil},
		{"no such call", raw(http.StatusNotFound, "<html>"), mint.DeadlineOnly, nil},
		{"MinIO's own no", raw(http.StatusNotFound, `{"Code":"XMinioAdminNoSuchUser"}`), 0, mint.ErrRefused},
		{"denied", raw(http.StatusForbidden, `{"Code":"AccessDenied","Message":"`+marker+`"}`), 0, mint.ErrRefused},
		{"broken", raw(http.StatusBadGateway, marker), 0, mint.ErrUnavailable},
		{"hangs", hangs, 0, mint.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, desk := newFakeSTS(t, tc.answer), minttest.NewDesk(t)
			m := newMinter(t, desk, f.url, func(c *awssts.Config) { c.Dialect = iam.DialectMinIO })
			h := minttest.Order(prefixPermissions(), time.Minute).Handle(mint.ProviderAWS)
			outcome, err := m.Revoke(t.Context(), h)
			if outcome != tc.outcome || !errors.Is(err, tc.want) || err != nil && strings.Contains(err.Error(), marker) {
				t.Errorf("got %v %v, want %v %v", outcome, err, tc.outcome, tc.want)
			}
		})
	}
	f, desk := newFakeSTS(t, raw(http.StatusTeapot, "")), minttest.NewDesk(t)
	outcome, err := newMinter(t, desk, f.url, nil).Revoke(t.Context(), mint.Handle{LeaseTag: "vk-x"})
	if outcome != mint.DeadlineOnly || err != nil || f.calls() != 0 {
		t.Errorf("AWS: %v %v, %d calls", outcome, err, f.calls())
	}
}
