package awssts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
)

const (
	denyPolicy = awssts.DefaultDenyPolicy
	fakeRole   = "arn:aws:iam::123456789012:role/path/test"
	fakeRoleID = "AROAEXAMPLEEXAMPLE123"
)

// fakeIAM holds the inline policies of one role, within IAM's quota.
type fakeIAM struct {
	url string

	mu       sync.Mutex
	arn      string
	policies map[string]string
	calls    map[string]int
	// before and after run around the effect of a call, and may answer in its stead.
	before, after func(action string, w http.ResponseWriter, r *http.Request) (answered bool)
	now           func() time.Time // its clock; nil for the time
}

func newFakeIAM(t *testing.T) *fakeIAM {
	t.Helper()
	f := &fakeIAM{arn: fakeRole, policies: map[string]string{}, calls: map[string]int{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *fakeIAM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	action := r.PostForm.Get("Action")
	f.mu.Lock()
	f.calls[action]++
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil && before(action, w, r) {
		return
	}
	status, body := f.effect(action, r.PostForm)
	if after != nil && after(action, w, r) {
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	if f.now != nil {
		w.Header().Set("Date", f.now().UTC().Format(http.TimeFormat))
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, body)
}

func (f *fakeIAM) effect(action string, form url.Values) (int, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := func(status int, code string) (int, string) {
		return status, fmt.Sprintf(`<ErrorResponse><Error><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, marker)
	}
	if form.Get("RoleName") != "test" {
		return fault(http.StatusNotFound, "NoSuchEntity")
	}
	name, result := form.Get("PolicyName"), ""
	switch action {
	case "GetRole":
		result = fmt.Sprintf(`<Role><Arn>%s</Arn><RoleId>%s</RoleId><RoleName>test</RoleName><Path>/path/</Path></Role>`, f.arn, fakeRoleID)
	case "GetRolePolicy":
		text, ok := f.policies[name]
		if !ok {
			return fault(http.StatusNotFound, "NoSuchEntity")
		}
		result = fmt.Sprintf(`<RoleName>test</RoleName><PolicyName>%s</PolicyName><PolicyDocument>%s</PolicyDocument>`, name, url.PathEscape(text))
	case "PutRolePolicy":
		next := maps.Clone(f.policies)
		next[name] = form.Get("PolicyDocument")
		total := 0
		for _, text := range next {
			total += len(strings.Join(strings.Fields(text), ""))
		}
		if total > 10240 {
			return fault(http.StatusConflict, "LimitExceeded")
		}
		f.policies = next
	case "DeleteRolePolicy":
		if _, ok := f.policies[name]; !ok {
			return fault(http.StatusNotFound, "NoSuchEntity")
		}
		delete(f.policies, name)
	default:
		return fault(http.StatusBadRequest, "InvalidAction")
	}
	return http.StatusOK, fmt.Sprintf(`<%[1]sResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

func (f *fakeIAM) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeIAM) count(action string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[action]
}

func (f *fakeIAM) policy(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.policies[name]
}

// denied are the user ids that a policy denies, as any reader of IAM policies would see them.
func (f *fakeIAM) denied(t *testing.T, name string) []string {
	t.Helper()
	text := f.policy(name)
	if text == "" {
		return nil
	}
	var doc struct {
		Statement []struct {
			Effect, Action, Resource string
			Condition                map[string]map[string]any
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range doc.Statement {
		if s.Effect != "Deny" || s.Action != "*" || s.Resource != "*" || len(s.Condition) != 1 {
			t.Errorf("statement %+v", s)
		}
		users, _ := s.Condition["StringEquals"]["aws:userid"].([]any)
		for _, u := range users {
			out = append(out, fmt.Sprint(u))
		}
	}
	slices.Sort(out)
	return out
}

// denyMinter is a minter whose revocations go to f.
func denyMinter(t *testing.T, f *fakeIAM, change func(*awssts.Config)) (*awssts.Minter, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	m := newMinter(t, minttest.NewDesk(t), "http://"+minttest.FreeAddr(t), func(c *awssts.Config) {
		c.RoleARN, c.RoleDeny = fakeRole, &awssts.RoleDeny{Endpoint: f.url}
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		if change != nil {
			change(c)
		}
	})
	return m, log
}

// aHandle is an orphan's: the session's name is known, and no answer's role id.
func aHandle(life time.Duration) mint.Handle {
	return minttest.Order(prefixPermissions(), life).Handle(mint.ProviderAWS)
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
