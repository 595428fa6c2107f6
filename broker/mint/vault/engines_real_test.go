package vault_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// stubSTS answers as STS and IAM do, with keys that work until they are over or deleted. It stands
// for AWS behind Vault's own AWS engine.
type stubSTS struct {
	url string

	mu    sync.Mutex
	alive map[string]string // the user of each access key, "" for a session; guarded by mu
	n     int               // guarded by mu
}

func newStubSTS(t *testing.T) *stubSTS {
	t.Helper()
	s := &stubSTS{alive: map[string]string{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *stubSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if key, ok := strings.CutPrefix(r.URL.Path, "/try/"); ok {
		if !s.works(key) {
			w.WriteHeader(http.StatusForbidden)
		}
		return
	}
	_ = r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	action := r.PostForm.Get("Action")
	s.n++
	key := fmt.Sprintf("ASIA%016d", s.n)
	keys := fmt.Sprintf("<AccessKeyId>%s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>", key)
	result := ""
	switch action {
	case "GetCallerIdentity":
		result = "<Arn>arn:aws:iam::123456789012:user/vault</Arn><UserId>AIDAEXAMPLE</UserId><Account>123456789012</Account>"
	case "AssumeRole":
		s.alive[key] = ""
		result = "<Credentials>" + keys + "<SessionToken>token</SessionToken><Expiration>" + time.Now().Add(15*time.Minute).UTC().Format(time.RFC3339) +
			"</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn><AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser>"
	case "CreateUser":
		result = "<User><UserName>" + r.PostForm.Get("UserName") + "</UserName></User>"
	case "CreateAccessKey":
		s.alive[key] = r.PostForm.Get("UserName")
		result = "<AccessKey>" + keys + "<UserName>" + r.PostForm.Get("UserName") + "</UserName><Status>Active</Status></AccessKey>"
	case "DeleteAccessKey":
		delete(s.alive, r.PostForm.Get("AccessKeyId"))
	case "ListAccessKeys":
		result = "<IsTruncated>false</IsTruncated><AccessKeyMetadata>"
		for key, user := range s.alive {
			if user == r.PostForm.Get("UserName") {
				result += "<member><AccessKeyId>" + key + "</AccessKeyId></member>"
			}
		}
		result += "</AccessKeyMetadata>"
	case "ListGroupsForUser":
		result = "<IsTruncated>false</IsTruncated><Groups></Groups>"
	case "ListUserPolicies":
		result = "<IsTruncated>false</IsTruncated><PolicyNames></PolicyNames>"
	case "ListAttachedUserPolicies":
		result = "<IsTruncated>false</IsTruncated><AttachedPolicies></AttachedPolicies>"
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `%[3]s<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result, xml.Header)
}

func (s *stubSTS) works(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.alive[key]
	return ok
}

// keyProbe tries an access key at the stub, as an operator's probe would at AWS.
func (s *stubSTS) keyProbe(t *testing.T) []string {
	t.Helper()
	return script(t, `key=$(sed -n 's/.*"access_key":"\([A-Z0-9]*\)".*/\1/p')
case $(curl -s -o /dev/null -w '%{http_code}' "`+s.url+`/try/$key") in 200) exit 0;; 403) exit 1;; esac
exit 2`)
}

// script is a command with that text.
func script(t *testing.T, text string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{file}
}

// TestVaultAWSEngine is Vault's own AWS engine in front of an STS: it says yes to the revocation of
// an STS lease and does nothing, which only a look at the key itself can tell. A user's key it
// does delete.
func TestVaultAWSEngine(t *testing.T) {
	w, aws, ctx := newWorld(t), newStubSTS(t), t.Context()
	w.write(t, "sys/mounts/aws", map[string]any{"type": "aws"})
	w.write(t, "aws/config/root", map[string]any{
		"access_key": "AKIAEXAMPLE", "secret_key": "secret", "region": "us-east-1", "sts_endpoint": aws.url, "iam_endpoint": aws.url, "sts_region": "us-east-1",
	})
	w.write(t, "aws/roles/session", map[string]any{"credential_type": "assumed_role", "role_arns": "arn:aws:iam::123456789012:role/r"})
	w.write(t, "aws/roles/user", map[string]any{"credential_type": "iam_user", "policy_document": `{"Version":"2012-10-17","Statement":[]}`})
	key := func(c mint.Credential) string {
		var data struct {
			Key string `json:"access_key"`
		}
		if err := json.Unmarshal(c.Reveal().Vault.DataJSON, &data); err != nil || data.Key == "" {
			t.Fatalf("no access key: %v", err)
		}
		return data.Key
	}
	session := scopes.Permissions{VaultRead: "aws/creds/session"}

	t.Run("a session is never told dead", func(t *testing.T) {
		m := w.minter(t, nil)
		cred, err := m.Mint(ctx, w.desk.Permit(minttest.Order(session, time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(cred.ExpiresAt()); left > 15*time.Minute || left < 14*time.Minute {
			t.Errorf("told to live %v", left)
		}
		outcome, err := m.Revoke(ctx, cred.Handle())
		if err != nil || outcome != mint.DeadlineOnly || !cred.Handle().Ends().Equal(cred.ExpiresAt()) {
			t.Errorf("revoke: %v %v, ends %v", outcome, err, cred.Handle().Ends())
		}
		if !aws.works(key(cred)) {
			t.Error("Vault ends STS sessions after all: this test proves nothing any more")
		}
		_, err = m.Mint(ctx, w.desk.Permit(minttest.Order(session, 10*time.Minute)))
		outlives(t, err, true, "not declared revocable")
	})
	t.Run("declared, and seen to be otherwise", func(t *testing.T) {
		m := w.minter(t, func(c *vault.Config) {
			c.Mounts, c.Settle = map[string]vault.Mount{"aws/": {Revocable: true, Probe: aws.keyProbe(t)}}, 2*time.Second
		})
		_, err := m.Mint(ctx, w.desk.Permit(minttest.Order(session, time.Minute)))
		outlives(t, err, true, "worked for 2s after its lease was revoked")
		user := scopes.Permissions{VaultRead: "aws/creds/user"}
		cred, err := m.Mint(ctx, w.desk.Permit(minttest.Order(user, time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		if outcome, err := m.Revoke(ctx, cred.Handle()); err != nil || outcome != mint.RevokedUpstream || aws.works(key(cred)) {
			t.Errorf("revoke: %v %v, works %v", outcome, err, aws.works(key(cred)))
		}
	})
	t.Run("nor by a token that reads it", func(t *testing.T) {
		for path, caps := range map[string]string{"aws/creds/session": "read", "aws/sts/*": "update", "auth/token/create": "update", "+/creds/session": "read", "nowhere/*": "read"} {
			_, err := w.minter(t, nil).Mint(ctx, w.desk.Permit(minttest.Order(scopes.Permissions{Vault: []vaultacl.Rule{
				{Path: "secret/data/a/*", Capabilities: []string{"read"}}, {Path: path, Capabilities: []string{caps}},
			}}, time.Minute)))
			if !errors.Is(err, mint.ErrOutlives) || mint.Maybe(err) {
				t.Errorf("%s: %v", path, err)
			}
		}
		if n := w.policies(t); n != 0 {
			t.Errorf("%d policies left", n)
		}
	})
}

// postgresProbe is the page's, for this server.
func postgresProbe(t *testing.T, pg servers.PostgresServer) map[string]vault.Mount {
	t.Helper()
	host, port, _ := strings.Cut(pg.Addr, ":")
	text := strings.Replace(printed(t, "psql -X"), "-h db.example.org", "-h "+host+" -p "+port, 1)
	if !strings.Contains(text, port) {
		t.Fatal("the page's probe has no host to replace")
	}
	return map[string]vault.Mount{"database/": {Revocable: true, Probe: script(t, text)}}
}

// TestDatabaseRoleThatRevokesNothing: the same engine, and a role whose revocation leaves the
// account as it is. Only the probe of that path can tell.
func TestDatabaseRoleThatRevokesNothing(t *testing.T) {
	w, pg := newWorld(t), servers.Postgres(t)
	w.database(t, pg)
	w.write(t, "database/roles/kept", map[string]any{
		"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h", "revocation_statements": "SELECT 1",
		"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}';`,
	})
	m := w.minter(t, func(c *vault.Config) { c.Mounts, c.Settle = postgresProbe(t, pg), 2*time.Second })
	_, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: "database/creds/kept"}, time.Minute)))
	outlives(t, err, true, "after its lease was revoked")
	cred, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: "database/creds/reader"}, time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := m.Revoke(t.Context(), cred.Handle()); err != nil || outcome != mint.RevokedUpstream {
		t.Errorf("revoke: %v %v", outcome, err)
	}
	// Without a declaration nothing says when an account ends, however short its lease is: Vault takes
	// that back, and leaves the account of this role.
	w.write(t, "database/roles/kept", map[string]any{"db_name": "pg", "default_ttl": "1s", "max_ttl": "1s"})
	for _, path := range []string{"database/creds/reader", "database/creds/kept"} {
		_, err = w.minter(t, nil).Mint(t.Context(), w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: path}, time.Hour)))
		outlives(t, err, true, "does not say when it ends by itself, and its mount is not declared revocable")
	}
}
