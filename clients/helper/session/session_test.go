package session

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

func TestFetchingNeverMints(t *testing.T) {
	k := newKit(t)
	s := sessionOf(t, k)
	env := variables(s.Environ(nil))
	var wg sync.WaitGroup
	ids := make([]string, 64)
	for i := range ids {
		wg.Go(func() {
			code, body := ask(t, http.MethodGet, env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], "Authorization", env["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
			var a clienttest.AWSAnswer
			if err := json.Unmarshal([]byte(body), &a); err != nil || a.SecretAccessKey == "" || a.Token == "" || a.Expiration == "" {
				t.Errorf("%d: %v", code, err)
			}
			ids[i] = a.AccessKeyID
		})
	}
	wg.Wait()
	if slices.Sort(ids); ids[0] != ids[len(ids)-1] || k.Minted.Load() != 1 {
		t.Errorf("64 fetches: %d credentials minted, %s and %s given", k.Minted.Load(), ids[0], ids[len(ids)-1])
	}
	must(t, s.Close())
	if _, err := http.Get(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"]); err == nil { //nolint:bodyclose,noctx // there is none
		t.Error("the address of a closed session answers")
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the folder of a closed session is there: %v", err)
	}
	must(t, s.Close())
}

func TestEnvironHasNoOtherCredential(t *testing.T) {
	s := sessionOf(t, newKit(t))
	t.Cleanup(func() { must(t, s.Close()) })
	env := variables(s.Environ([]string{
		"PATH=/bin", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_SESSION_TOKEN=c", "AWS_PROFILE=admin", "AWS_ROLE_ARN=r",
		"AWS_WEB_IDENTITY_TOKEN_FILE=/f", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x", "AWS_ENDPOINT_URL_STS=http://evil", "VAULT_TOKEN=root",
		"AWS_MAX_ATTEMPTS=2", "NO_PROXY=a.example", "HTTP_PROXY=http://proxy", "PGPASSWORD=p", "AWS_CONFIG_FILE=/home/x/.aws/config",
		"KUBECONFIG=/home/x/prod", "PGPASSFILE=/home/x/.pgpass", "PGSERVICE=prod", "PGSSLKEY=/k", "BAO_TOKEN=root", "BAO_ADDR=http://evil",
		"VAULT_CONFIG_PATH=/f", "VAULT_CLIENT_KEY=/k", "AWS_CREDENTIAL_PROFILES_FILE=/f", "AWS_SSO_SESSION=s", "RCLONE_CONFIG_PROD_ACCESS_KEY_ID=a",
		"MC_HOST_prod=https://a:b@s3", "PGUSER=u", "KUBERNETES_SERVICE_HOST=10.0.0.1", "BASH_ENV=/e",
	}))
	for _, gone := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_ENDPOINT_URL_STS", "PGPASSWORD", "KUBERNETES_SERVICE_HOST", "BASH_ENV", "PGSERVICE", "PGSSLKEY",
		"BAO_TOKEN", "BAO_ADDR", "VAULT_CONFIG_PATH", "VAULT_CLIENT_KEY", "AWS_CREDENTIAL_PROFILES_FILE", "AWS_SSO_SESSION",
		"RCLONE_CONFIG_PROD_ACCESS_KEY_ID", "MC_HOST_prod",
	} {
		if v, ok := env[gone]; ok {
			t.Errorf("%s=%s goes on to the command", gone, v)
		}
	}
	for name, want := range map[string]string{
		"PATH": "/bin", "AWS_MAX_ATTEMPTS": "2", "PGUSER": "u", "NO_PROXY": "a.example,localhost,127.0.0.1,::1", "no_proxy": "a.example,localhost,127.0.0.1,::1",
		"AWS_CONFIG_FILE": s.path("aws-config"), "VALETKEY_TASK": s.TaskID(), "AWS_EC2_METADATA_DISABLED": "true",
		"KUBECONFIG": s.path("no-kubeconfig"), "PGPASSFILE": s.path("no-pgpass"), "VAULT_TOKEN": environ.NotGranted, "AWS_SHARED_CREDENTIALS_FILE": s.path("aws-credentials"),
	} {
		if env[name] != want {
			t.Errorf("%s=%q, want %q", name, env[name], want)
		}
	}
	if text := read(t, env["KUBECONFIG"]); text != environ.NowhereKubeconfig {
		t.Errorf("KUBECONFIG leads to %q", text)
	}
	for _, empty := range []string{"PGPASSFILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		if text := read(t, env[empty]); text != "" {
			t.Errorf("%s leads to %q", empty, text)
		}
	}
	config, err := os.ReadFile(env["AWS_CONFIG_FILE"])
	must(t, err)
	if !strings.Contains(string(config), "[profile s3-prefix-read]\ncredential_process = /usr/bin/valetkey agent credential --socket "+s.dir) {
		t.Errorf("the profile is\n%s", config)
	}
}

func TestOpenUndoesWhatItMade(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	for name, c := range map[string]struct {
		scopes []serve.ScopeSpec
		want   error
	}{
		"no such scope":  {[]serve.ScopeSpec{reads("a/"), {Scope: "none"}}, valetkey.ErrUnknownScope},
		"people first":   {[]serve.ScopeSpec{{Scope: "s3-bucket-rebuild", Params: valetkey.Params{"bucket": {"prod"}}}}, valetkey.ErrNeedsApproval},
		"one name twice": {[]serve.ScopeSpec{reads("a/"), reads("b/")}, nil},
		"no scope":       {nil, nil},
		"an odd name":    {[]serve.ScopeSpec{{Name: "a b", Scope: "s3-prefix-read"}}, nil},
	} {
		_, err := Open(t.Context(), Config{
			Client: k.Client, Task: clienttest.Task, Scopes: c.scopes, Dir: dir,
		})
		if err == nil || c.want != nil && !isReason(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("%v was left behind", left)
	}
}

func isReason(err, want error) bool {
	refused, ok := valetkey.RefusalOf(err)
	return ok && refused.Is(want)
}
