package e2e_test

import (
	"crypto/rand"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// callers are who the local authority gives SVIDs to, by socket.
var callers = map[string]string{
	"broker": brokerID, "operator": operatorID, "alice": aliceID, "bob": "spiffe://example.org/agent/bob/s1", "bob2": "spiffe://example.org/agent/bob/s2", "plugin": pluginID,
}

// stsPause is how long the fake STS takes. It is there so that a killed broker
// leaves open intents.
const stsPause = 3 * time.Millisecond

// fakeSTS is an STS on loopback that always answers, and remembers what it gave.
type fakeSTS struct {
	url string

	mu      sync.Mutex
	issued  map[string]string // access key id by session name; locked by mu
	revoked map[string]bool   // by session name; locked by mu
	// held and hold, when not nil, are for the next call: it closes the one and
	// waits for the other. Locked by mu.
	held, hold chan struct{}
}

// holdNext has the next call wait for until. The answer is closed when it waits.
func (f *fakeSTS) holdNext(until chan struct{}) (held chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held, f.hold = make(chan struct{}), until
	return f.held
}

func (f *fakeSTS) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.issued)
}

type stsAnswer struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	ID      string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	Secret  string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token   string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expires string   `xml:"AssumeRoleResult>Credentials>Expiration"`
}

func newFakeSTS(t *testing.T) *fakeSTS {
	t.Helper()
	f := &fakeSTS{issued: map[string]string{}, revoked: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", f.assumeRole)
	mux.HandleFunc("POST /minio/admin/v3/revoke-tokens/builtin", f.revoke)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *fakeSTS) assumeRole(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.FormValue("DurationSeconds"))
	if err != nil {
		http.Error(w, "no duration", http.StatusBadRequest)
		return
	}
	// What is given counts from here on, whether or not the answer arrives.
	id := "ASIA" + rand.Text()
	f.mu.Lock()
	f.issued[r.FormValue("RoleSessionName")] = id
	held, hold := f.held, f.hold
	f.held, f.hold = nil, nil
	f.mu.Unlock()
	if hold != nil {
		close(held)
		<-hold
	}
	<-time.After(stsPause)
	w.Header().Set("Content-Type", "text/xml")
	_ = xml.NewEncoder(w).Encode(stsAnswer{
		ID: id, Secret: rand.Text(), Token: rand.Text(),
		Expires: time.Now().Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339),
	})
}

func (f *fakeSTS) revoke(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.revoked[r.FormValue("tokenRevokeType")] = true
	f.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// local is a site whose SPIFFE authority and STS outlive its brokers.
type local struct {
	*site
	sts *fakeSTS
}

// rolesAt are the example catalog's roles: an S3-compatible server that is its own
// STS, and a Vault that is not there.
func rolesAt(endpoint string) string {
	return `  s3:
    provider: aws
    role_arn: arn:aws:iam::000000000000:role/e2e
    region: us-east-1
    endpoint: ` + endpoint + `
    s3_endpoint: ` + endpoint + `
    dialect: minio
    ceiling: catalog/ceilings/s3-role.json
  vault:
    provider: vault
    ceiling: catalog/ceilings/vault-role.hcl
    address: http://127.0.0.1:1
    auth: {method: token, token_file: /nonexistent}
`
}

func newLocal(t *testing.T) *local {
	t.Helper()
	l := &local{site: newSite(t), sts: newFakeSTS(t)}
	authority, err := devauthority.New(devauthority.Config{TrustDomain: trustDomain, SocketDir: l.dir})
	must(t, err)
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, id := range callers {
		must(t, authority.Serve(t.Context(), name+".sock", spiffeid.RequireFromString(id)))
	}
	l.config(t, "  workload_api: "+l.socket("broker")+"\n", rolesAt(l.sts.url))
	return l
}

func (l *local) socket(caller string) string { return "unix://" + l.path(caller+".sock") }

// awsEnv is for the fake STS, which asks for no signature.
func awsEnv() []string { return []string{"AWS_ACCESS_KEY_ID=AKIAE2E", "AWS_SECRET_ACCESS_KEY=e2e"} }

func (l *local) args() []string { return []string{"serve", "--config", l.path("valetkeyd.yaml")} }

func (l *local) start(t *testing.T) *daemon {
	t.Helper()
	return start(t, program(t, "valetkeyd"), awsEnv(), l.args()...)
}

// dial connects as a caller, through the Go client.
func (l *local) dial(t *testing.T, d *daemon, caller string) *valetkey.Client {
	t.Helper()
	c, err := valetkey.New(t.Context(), valetkey.WithAddr(d.grpc), valetkey.WithBrokerID(spiffeid.RequireFromString(brokerID)),
		valetkey.WithWorkloadAPI(l.socket(caller)), valetkey.WithLedgerKey(l.vkey))
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func openTask(t *testing.T, c *valetkey.Client) string {
	t.Helper()
	resp, err := c.Agent.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{
		IdempotencyKey: valetkey.NewIdempotencyKey(), Purpose: "end to end", Environment: "staging",
	})
	must(t, err)
	return resp.GetTask().GetId()
}

// ask is a request for a grant and its first credential.
func ask(task string) *valetkeyv1.RequestGrantRequest {
	return &valetkeyv1.RequestGrantRequest{
		IdempotencyKey: valetkey.NewIdempotencyKey(), TaskId: task, Scope: "s3-prefix-read", Mint: true,
		Parameters: map[string]*valetkeyv1.Value{"bucket": {Values: []string{"prod"}}, "prefix": {Values: []string{"reports/"}}},
	}
}
