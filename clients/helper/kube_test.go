package helper

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/goccy/go-yaml"

	"github.com/valetkey/valetkey/clients/valetkey"
)

var eksSession = valetkey.AWSSecret{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "of-a-test", SessionToken: "a+session/token=="}

// TestEKSToken holds a token against the same signer, asked for the same address.
func TestEKSToken(t *testing.T) {
	for name, v := range map[string]string{
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1", "AWS_REGION": "us-west-2", "AWS_USE_FIPS_ENDPOINT": "true",
	} {
		t.Setenv(name, v) // none of them may lead elsewhere
	}
	for region, host := range map[string]string{
		"eu-central-1": "sts.eu-central-1.amazonaws.com", "us-east-1": "sts.us-east-1.amazonaws.com", "cn-north-1": "sts.cn-north-1.amazonaws.com.cn",
	} {
		token, err := eksToken(t.Context(), &eksSession, "prod", region)
		must(t, err)
		encoded, ok := strings.CutPrefix(token, "k8s-aws-v1.")
		raw, err := base64.RawURLEncoding.DecodeString(encoded)
		must(t, err)
		u, err := url.Parse(string(raw))
		must(t, err)
		q := u.Query()
		at, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
		must(t, err)
		if !ok || u.Scheme != "https" || u.Host != host || u.Path != "/" || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s: the token is for %s", region, u.Host)
		}
		for key, want := range map[string]string{
			"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
			"X-Amz-Security-Token": eksSession.SessionToken,
			"X-Amz-Credential":     "ASIAEXAMPLE/" + at.Format("20060102") + "/" + region + "/sts/aws4_request",
		} {
			if q.Get(key) != want {
				t.Errorf("%s: %s is %q, want %q", region, key, q.Get(key), want)
			}
		}
		if u.RawQuery != signedAgain(t, u, at, region, "prod").RawQuery {
			t.Errorf("%s: the signature is not of cluster prod", region)
		}
		if q.Get("X-Amz-Signature") == signedAgain(t, u, at, region, "staging").Query().Get("X-Amz-Signature") {
			t.Errorf("%s: the signature is of any cluster", region)
		}
	}
}

// signedAgain signs what a token asks for, for a cluster.
func signedAgain(t *testing.T, u *url.URL, at time.Time, region, cluster string) *url.URL {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+u.Host+"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	must(t, err)
	req.Header.Set(eksHeader, cluster)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{
		AccessKeyID: eksSession.AccessKeyID, SecretAccessKey: eksSession.SecretAccessKey, SessionToken: eksSession.SessionToken,
	}, req, empty, "sts", region, at)
	must(t, err)
	out, err := url.Parse(signed)
	must(t, err)
	return out
}

// TestKubeTokenEnds is that no token is said to live longer than its credential.
func TestKubeTokenEnds(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 999, time.UTC)
	eks := KubeCluster{EKSCluster: "prod", Region: "eu-central-1"}
	account := valetkey.Secret{Vault: &valetkey.VaultSecret{DataJSON: []byte(`{"service_account_token":"of-vault"}`)}}
	for name, c := range map[string]struct {
		cluster KubeCluster
		secret  valetkey.Secret
		life    time.Duration
		want    time.Duration // 0 for an error
		says    string
	}{
		"EKS, a long life":       {eks, valetkey.Secret{AWS: &eksSession}, time.Hour, 14 * time.Minute, ""},
		"EKS, a short one":       {eks, valetkey.Secret{AWS: &eksSession}, 5 * time.Minute, 5 * time.Minute, ""},
		"EKS, one of seconds":    {eks, valetkey.Secret{AWS: &eksSession}, 9700 * time.Millisecond, 9 * time.Second, ""},
		"a service account":      {KubeCluster{}, account, time.Hour, time.Hour, ""},
		"EKS, but of Vault":      {eks, account, time.Hour, 0, errNoAWS.Error()},
		"an account, but of AWS": {KubeCluster{}, valetkey.Secret{AWS: &eksSession}, time.Hour, 0, errNoServiceAccount.Error()},
		"a login": {
			KubeCluster{}, valetkey.Secret{Vault: &valetkey.VaultSecret{DataJSON: []byte(`{"username":"u"}`)}}, time.Hour, 0, errNoServiceAccount.Error(),
		},
		"a wrapped account": {KubeCluster{}, valetkey.Secret{Vault: &valetkey.VaultSecret{WrappingToken: "w"}}, time.Hour, 0, errNoServiceAccount.Error()},
	} {
		got, err := c.cluster.token(t.Context(), c.secret, now.Add(c.life), now)
		if c.want == 0 {
			if err == nil || !strings.Contains(err.Error(), c.says) || got != (execStatus{}) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		must(t, err)
		if want := now.Truncate(time.Second).Add(c.want).Format(time.RFC3339); got.ExpirationTimestamp != want || got.Token == "" {
			t.Errorf("%s: it ends at %s, want %s", name, got.ExpirationTimestamp, want)
		}
	}
}

// kubeTask is a task with one scope in a kubeconfig for EKS.
func kubeTask(name, dir string) TaskConfig {
	at := filepath.Join(dir, name)
	return TaskConfig{Name: name, Purpose: "a test", Environment: "staging", Scopes: []ScopeConfig{{
		Name: "eks", Scope: "s3-prefix-read", Params: map[string]Values{"bucket": {"prod"}, "prefix": {name + "/"}},
		Outputs: Outputs{Kubeconfig: &KubeconfigOutput{
			File: at + ".kubeconfig", Socket: at + ".sock",
			KubeCluster: KubeCluster{
				Server: "https://127.0.0.1:6443", CertificateAuthority: filepath.Join(dir, `c: "a' #.pem`), TLSServerName: "k8s.example.org",
				Namespace: "web", EKSCluster: "prod", Region: "eu-central-1",
			},
		}},
	}}}
}

// status waits for what an agent says of the one scope of a task.
func (k *kit) status(t *testing.T, a *Agent, what string, ok func(ScopeStatus) bool) {
	t.Helper()
	eventually(t, what, func() bool {
		st := a.Status().Tasks
		return len(st) == 1 && len(st[0].Scopes) == 1 && ok(st[0].Scopes[0])
	})
}

func served(s ScopeStatus) bool { return s.Served && s.OutputError == "" }

func TestKubeconfig(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	task := kubeTask("one", dir)
	conf := task.Scopes[0].Outputs.Kubeconfig
	a := k.agent(t, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task}})
	k.status(t, a, "it is served", served)
	info, err := os.Stat(conf.File)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("it has mode %v", info.Mode())
	}
	text := read(t, conf.File)
	var got kubeconfig
	must(t, yaml.UnmarshalWithOptions([]byte(text), &got, yaml.Strict()))
	exec := got.Users[0].User.Exec
	if got.CurrentContext != "one/eks" || got.Contexts[0].Context.Namespace != "web" || got.Clusters[0].Cluster.Server != conf.Server ||
		got.Clusters[0].Cluster.Authority != conf.CertificateAuthority || got.Clusters[0].Cluster.TLSServerName != "k8s.example.org" ||
		exec.Command != "/usr/bin/valetkey" || exec.APIVersion != "client.authentication.k8s.io/v1" || exec.InteractiveMode != "Never" ||
		exec.ProvideClusterInfo || strings.Join(exec.Args, " ") != "agent credential --socket "+conf.Socket {
		t.Errorf("it is\n%s", text)
	}
	raw, err := Ask(t.Context(), conf.Socket, "/")
	must(t, err)
	var answer execCredential
	must(t, json.Unmarshal(raw, &answer))
	if answer.Kind != "ExecCredential" || answer.APIVersion != exec.APIVersion || !strings.HasPrefix(answer.Status.Token, eksPrefix) {
		t.Error("the socket answers something else")
	}
	if strings.Contains(text+read(t, filepath.Join(dir, "s.journal")), eksPrefix) {
		t.Error("there is a token in a file")
	}
	if k.minted.Load() != 1 {
		t.Errorf("%d credentials were minted", k.minted.Load())
	}
	// As "kubectl config set-context --current" leaves it.
	got.Contexts[0].Context.Namespace = "another"
	changed, err := yaml.Marshal(got)
	must(t, err)
	must(t, os.WriteFile(conf.File, changed, 0o600))
	must(t, a.Close())
	if exists(conf.File) || exists(conf.Socket) {
		t.Error("the file or the socket is left")
	}
	if _, err := Ask(t.Context(), conf.Socket, "/"); err == nil || !strings.Contains(err.Error(), "see that the agent runs") {
		t.Errorf("a task that is over: %v", err)
	}
}

// TestKubeconfigOfOthers is that no file is replaced or removed that an agent did
// not write, whoever was killed.
func TestKubeconfigOfOthers(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	task := kubeTask("one", dir)
	conf := task.Scopes[0].Outputs.Kubeconfig
	mine := "apiVersion: v1\nkind: Config\nusers:\n- name: me\n  user: {token: mine}\n"
	must(t, os.WriteFile(conf.File, []byte(mine), 0o600))
	a := k.agent(t, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task}})
	k.status(t, a, "it is told", func(s ScopeStatus) bool { return strings.Contains(s.OutputError, "remove it or name another") })
	if exists(conf.Socket) {
		t.Error("half of the output is there")
	}
	must(t, a.Close())
	if read(t, conf.File) != mine {
		t.Error("it is replaced")
	}
	must(t, os.Rename(conf.File, conf.File+".mine"))
	must(t, os.Symlink(conf.File+".mine", conf.File))
	a = k.agent(t, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task}})
	k.status(t, a, "a link is told", func(s ScopeStatus) bool { return strings.Contains(s.OutputError, "remove it or name another") })
	must(t, a.Close())
	must(t, os.Remove(conf.File)) // which is there
	// What a killed one has noted, of a file that somebody has put a user into since.
	with, err := kubeconfigText("one/eks", "/usr/bin/valetkey", conf.Socket, conf.KubeCluster)
	must(t, err)
	for name, c := range map[string]struct {
		text string
		left bool
	}{
		"an agent's": {string(with), false}, "somebody's": {mine, true}, "nobody's": {"{", true}, "empty": {"", true},
		"with another user": {string(with) + "- name: me\n  user:\n    token: mine\n", true},
		"another agent's":   {strings.ReplaceAll(string(with), conf.Socket, conf.Socket+"2"), true},
	} {
		must(t, os.WriteFile(conf.File, []byte(c.text), 0o600))
		left := newJournal(filepath.Join(dir, "s"), self)
		must(t, left.serves(Config{Tasks: []TaskConfig{task}}))
		a := k.agent(t, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{taskOf("two", dir)}})
		if exists(conf.File) != c.left || c.left && read(t, conf.File) != c.text {
			t.Errorf("%s: it is left: %v", name, exists(conf.File))
		}
		must(t, a.Close())
	}
}

// TestKubeconfigOfAnotherKind is a scope that gives something else.
func TestKubeconfigOfAnotherKind(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	task := kubeTask("one", dir)
	conf := task.Scopes[0].Outputs.Kubeconfig
	conf.EKSCluster, conf.Region = "", ""
	a := k.agent(t, Config{Tasks: []TaskConfig{task}})
	k.status(t, a, "it is told", func(s ScopeStatus) bool {
		return strings.Contains(s.OutputError, errNoServiceAccount.Error()) && !s.Served
	})
	// Not the broker's fault.
	if _, err := Ask(t.Context(), conf.Socket, "/"); err == nil || !strings.HasSuffix(err.Error(), errNoServiceAccount.Error()) {
		t.Errorf("the socket says %v", err)
	}
}

func TestKubeconfigRefuses(t *testing.T) {
	const ok = `kubeconfig: {file: k, socket: s, server: "https://k8s.example.org:6443", eks_cluster: prod, region: eu-central-1}`
	load := func(text string) error {
		_, err := Load(writeFile(t, "agent.yaml", strings.Replace(good, "container: {token_file: t}", text, 1)))
		return err
	}
	must(t, load(ok))
	must(t, load(strings.Replace(ok, "}", ", certificate_authority: ca.pem, tls_server_name: 10.0.0.1, namespace: kube-system}", 1)))
	more := func(s string) [2]string { return [2]string{"}", ", " + s + "}"} }
	for name, c := range map[string]struct {
		change [2]string
		says   string
	}{
		"no file":                    {[2]string{"file: k, ", ""}, "file: name one"},
		"no socket":                  {[2]string{"socket: s, ", ""}, "socket: name a path"},
		"a line in the file's name":  {[2]string{"file: k", `file: "k\nx: y"`}, "control character"},
		"a line in the socket's":     {[2]string{"socket: s", `socket: "s\n"`}, "control character"},
		"no server":                  {[2]string{`server: "https://k8s.example.org:6443", `, ""}, "server:"},
		"a token in the clear":       {[2]string{"https:", "http:"}, "over TLS alone"},
		"a line in the server":       {[2]string{":6443", `:6443\n    token: x`}, "server:"},
		"a password in the server":   {[2]string{"k8s.example", "u:p@k8s.example"}, "server:"},
		"a question in the server":   {[2]string{":6443", `:6443/?x`}, "server:"},
		"a line in the cluster":      {[2]string{"prod", `"prod\nx-amz-x: y"`}, "eks_cluster:"},
		"a long cluster":             {[2]string{"prod", strings.Repeat("p", 101)}, "eks_cluster:"},
		"a cluster without a region": {[2]string{", region: eu-central-1", ""}, "a name and a region"},
		"a region without a cluster": {[2]string{"eks_cluster: prod, ", ""}, "a name and a region"},
		"another host for a region":  {[2]string{"eu-central-1", "evil.example/x-1"}, "region:"},
		"a line in the region":       {[2]string{"eu-central-1", `"eu-central-1\n"`}, "region:"},
		"a line in the CA's name":    {more(`certificate_authority: "c\nx"`), "certificate_authority:"},
		"two CAs":                    {more("certificate_authority: c, certificate_authority_data: YQ=="), "one of them"},
		"a CA that is none":          {more("certificate_authority_data: YQ=="), "no certificate"},
		"a CA with lines":            {more(`certificate_authority_data: "YQ\n=="`), "no certificate"},
		"a line in the TLS name":     {more(`tls_server_name: "a\nb"`), "tls_server_name:"},
		"a line in the namespace":    {more(`namespace: "a\nb"`), "namespace:"},
		"a namespace that is none":   {more("namespace: A_b"), "namespace:"},
		"an unknown key":             {more("insecure_skip_tls_verify: true"), "insecure_skip_tls_verify"},
		"one file twice":             {[2]string{"file: k", "file: s"}, "already"},
		"the profile's file": {
			[2]string{"kubeconfig:", "process: {socket: p, profile: p, config_file: k}, kubeconfig:"}, "already",
		},
	} {
		text := strings.Replace(ok, c.change[0], c.change[1], 1)
		if text == ok {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if err := load(text); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
