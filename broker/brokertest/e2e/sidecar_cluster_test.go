package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

// cluster is what kubectl needs of a Kubernetes API to list pods, for whoever has a
// token that check takes. Its one pod is called by the namespace.
func cluster(t *testing.T, check func(token string) error) (server, ca string) {
	t.Helper()
	mux := http.NewServeMux()
	for path, body := range map[string]string{
		"GET /api":    `{"kind":"APIVersions","versions":["v1"]}`,
		"GET /apis":   `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"GET /api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["list"]}]}`,
		"GET /api/v1/namespaces/{namespace}/pods": `{"kind":"PodList","apiVersion":"v1","items":[
			{"kind":"Pod","apiVersion":"v1","metadata":{"name":"of-%s"}}]}`,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(strings.ReplaceAll(body, "%s", r.PathValue("namespace")))) // kubectl says what it did not get
		})
	}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if err := check(token); err != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401,"message":%q}`, err)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
}

// eksCheck takes what EKS takes for a cluster: an address of STS that this session
// has signed for it.
func eksCheck(t *testing.T, name, region string, session func() []string) func(token string) error {
	return func(token string) error {
		asked, err := eksAddress(token)
		if err != nil {
			return err
		}
		at, err := time.Parse("20060102T150405Z", asked.Query().Get("X-Amz-Date"))
		if err != nil || time.Since(at).Abs() > 15*time.Minute {
			return fmt.Errorf("it was signed at %v: %w", at, err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			"https://sts."+region+".amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
		if err != nil {
			return err
		}
		req.Header.Set("x-k8s-aws-id", name)
		s := session()
		const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of no body
		want, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: s[0], SecretAccessKey: s[1], SessionToken: s[2]},
			req, empty, "sts", region, at)
		if err != nil {
			return err
		}
		signed, err := url.Parse(want)
		if err != nil {
			return err
		}
		if asked.Scheme+asked.Host+asked.Path != signed.Scheme+signed.Host+signed.Path || asked.Query().Encode() != signed.Query().Encode() {
			return errors.New("it is not signed by the session, for this cluster")
		}
		return nil
	}
}

// eksSession is a template, and keepSession a line of shell for a command in a
// session, that leave what signs tokens in a file for sessionIn.
const (
	eksSession  = "{{.AWS.AccessKeyID}} {{.AWS.SecretAccessKey}} {{.AWS.SessionToken}}"
	keepSession = `curl -sS -H "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" "$AWS_CONTAINER_CREDENTIALS_FULL_URI" > session; `
)

// sessionIn reads what one of them has left. Without it nothing is signed rightly.
func sessionIn(file string) func() []string {
	return func() []string {
		raw, err := os.ReadFile(file)
		var c struct{ AccessKeyID, SecretAccessKey, Token string }
		if fields := strings.Fields(string(raw)); err == nil && len(fields) == 3 {
			return fields
		} else if err == nil && json.Unmarshal(raw, &c) == nil {
			return []string{c.AccessKeyID, c.SecretAccessKey, c.Token}
		}
		return []string{"", "", ""}
	}
}

// eksAddress is what is in a token.
func eksAddress(token string) (*url.URL, error) {
	encoded, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || !ok {
		return nil, errors.New("it is no token of EKS")
	}
	return url.Parse(string(raw))
}

// ofVault is a token that Vault gives, with a lease, as its Kubernetes engine has
// it. That engine itself answers no GET, which is how a scope reads.
const ofVault = "eyJhbGciOiJub25lIn0.of-vault"

// withKubernetes adds a Vault with such a token, and a scope that reads it.
func (s *sidecar) withKubernetes(t *testing.T) *sidecar {
	t.Helper()
	s.vault = servers.Vault(t)
	w := &world{root: vaultClient(t, s.vault)}
	w.set(t, "sys/mounts/kube", map[string]any{"type": "kv", "options": map[string]string{"version": "1", "leased_passthrough": "true"}})
	w.set(t, "kube/creds/deploy", map[string]any{
		"service_account_name": "deploy", "service_account_namespace": "web", "service_account_token": ofVault, "ttl": "14m30s", // which ends before a grant does: nothing revokes it
	})
	must(t, os.WriteFile(filepath.Join(s.dir, "vault-token"), []byte(s.vault.RootToken), 0o600))
	s.mkdir(t, "dev")
	dev := &site{dir: s.dev}
	dev.write(t, "DEV-ONLY", "")
	must(t, os.CopyFS(dev.path("catalog"), example.Files))
	dev.write(t, "catalog/kube-creds.yaml", `name: kube-creds
description: A token of a service account.
provider: vault
role: vault
params:
  role: {type: identifier, description: The engine's role.}
read: kube/creds/{role}
ttl: {default: 15m, max: 1h}
`)
	dev.append(t, "catalog/ceilings/vault-role.hcl", "\npath \"kube/creds/+\" {\n  capabilities = [\"read\"]\n}\n")
	dev.append(t, "catalog/policies/secrets.cedar", `
@id("secrets.kube")
@reason("a test")
permit (principal, action == Valetkey::Action::"kube-creds", resource);
`)
	return s
}
