package awssts_test

import (
	"bytes"
	"crypto/rand"
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
	unlisted      bool             // the broker may not list the role's policies
	boundary      string           // of the role; "" for none
	// caller is who a key belongs to; may are the actions that each principal may do, "*" for all.
	caller map[string]string
	may    map[string][]string
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
	_, signer, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	signer, _, _ = strings.Cut(signer, "/")
	r.PostForm.Set("signer", signer)
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
	if action == "ListRolePolicies" && f.unlisted {
		return fault(http.StatusForbidden, "AccessDenied")
	}
	switch action {
	case "GetCallerIdentity", "AssumeRole", "AssumeRoleWithWebIdentity":
		return http.StatusOK, f.stsAnswer(action, form)
	case "SimulatePrincipalPolicy":
		return f.simulated(form, fault)
	}
	if form.Get("RoleName") != "test" {
		return fault(http.StatusNotFound, "NoSuchEntity")
	}
	name, result := form.Get("PolicyName"), ""
	switch action {
	case "GetRole":
		result = fmt.Sprintf(`<Role><Arn>%s</Arn><RoleId>%s</RoleId><RoleName>test</RoleName><Path>/path/</Path>%s</Role>`, f.arn, fakeRoleID, f.boundary)
	case "GetRolePolicy":
		text, ok := f.policies[name]
		if !ok {
			return fault(http.StatusNotFound, "NoSuchEntity")
		}
		result = fmt.Sprintf(`<RoleName>test</RoleName><PolicyName>%s</PolicyName><PolicyDocument>%s</PolicyDocument>`, name, url.PathEscape(text))
	case "ListRolePolicies":
		result = "<IsTruncated>false</IsTruncated><PolicyNames>"
		for _, name := range slices.Sorted(maps.Keys(f.policies)) {
			result += "<member>" + name + "</member>"
		}
		result += "</PolicyNames>"
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
		if _, ok := s.Condition["StringLike"]; ok {
			continue // an agent's cut; see cutAgents
		}
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

// cutAgents are the patterns of user ids whose sessions up to a time a policy denies.
func (f *fakeIAM) cutAgents(t *testing.T, name string) (out []string) {
	t.Helper()
	var doc struct {
		Statement []struct{ Condition map[string]map[string]any }
	}
	if text := f.policy(name); text != "" {
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range doc.Statement {
		users, _ := s.Condition["StringLike"]["aws:userid"].([]any)
		for _, u := range users {
			if s.Condition["DateLessThan"]["aws:TokenIssueTime"] == nil {
				t.Errorf("%v is cut for ever", u)
			}
			out = append(out, fmt.Sprint(u))
		}
	}
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

// aHandle is an orphan's: the session's name is known, and no answer's role id. Each is another
// agent's.
func aHandle(life time.Duration) mint.Handle { return handleOf(rand.Text(), life) }

// handleOf is a handle of one agent's.
func handleOf(agent string, life time.Duration) mint.Handle {
	o := minttest.Order(prefixPermissions(), life)
	o.SessionName = minttest.SessionName(agent)
	return o.Handle(mint.ProviderAWS)
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
