package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
)

func served(s ScopeStatus) bool { return s.Served && s.OutputError == "" }

func TestKubeconfig(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	task := kubeTask("one", dir)
	conf := task.Scopes[0].Outputs.Kubeconfig
	a := newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task}})
	waitFor(t, a, "it is served", served)
	info, err := os.Stat(conf.File)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("it has mode %v", info.Mode())
	}
	text := read(t, conf.File)
	var got files.Kubeconfig
	must(t, yaml.UnmarshalWithOptions([]byte(text), &got, yaml.Strict()))
	exec := got.Users[0].User.Exec
	if got.CurrentContext != "one/eks" || got.Contexts[0].Context.Namespace != "web" || got.Clusters[0].Cluster.Server != conf.Server ||
		got.Clusters[0].Cluster.Authority != conf.CertificateAuthority || got.Clusters[0].Cluster.TLSServerName != "k8s.example.org" ||
		exec.Command != "/usr/bin/valetkey" || exec.APIVersion != "client.authentication.k8s.io/v1" || exec.InteractiveMode != "Never" ||
		exec.ProvideClusterInfo || strings.Join(exec.Args, " ") != "agent credential --socket "+conf.Socket {
		t.Errorf("it is\n%s", text)
	}
	raw, err := serve.Ask(t.Context(), conf.Socket, "/")
	must(t, err)
	var answer struct {
		APIVersion, Kind string
		Status           struct{ Token string }
	}
	must(t, json.Unmarshal(raw, &answer))
	if answer.Kind != "ExecCredential" || answer.APIVersion != exec.APIVersion || !strings.HasPrefix(answer.Status.Token, "k8s-aws-v1.") {
		t.Error("the socket answers something else")
	}
	if strings.Contains(text+read(t, filepath.Join(dir, "s.journal")), "k8s-aws-v1.") {
		t.Error("there is a token in a file")
	}
	if k.Minted.Load() != 1 {
		t.Errorf("%d credentials were minted", k.Minted.Load())
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
	if _, err := serve.Ask(t.Context(), conf.Socket, "/"); err == nil || !strings.Contains(err.Error(), "see that the agent runs") {
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
	a := newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task}})
	waitFor(t, a, "it is told", func(s ScopeStatus) bool { return strings.Contains(s.OutputError, "remove it or name another") })
	if exists(conf.Socket) {
		t.Error("half of the output is there")
	}
	must(t, a.Close())
	if read(t, conf.File) != mine {
		t.Error("it is replaced")
	}
	must(t, os.Rename(conf.File, conf.File+".mine"))
	must(t, os.Symlink(conf.File+".mine", conf.File))
	a = newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{task}})
	waitFor(t, a, "a link is told", func(s ScopeStatus) bool { return strings.Contains(s.OutputError, "remove it or name another") })
	must(t, a.Close())
	must(t, os.Remove(conf.File)) // which is there
	// What a killed one has noted, of a file that somebody has put a user into since.
	with, err := yaml.Marshal(files.NewKubeconfig("one/eks", "/usr/bin/valetkey", conf.Socket, conf.KubeCluster))
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
		left := newJournal(filepath.Join(dir, "s"), files.Self)
		must(t, left.serves(Config{Tasks: []TaskConfig{task}}))
		a := newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{taskOf("two", dir)}})
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
	a := newAgent(t, k, Config{Tasks: []TaskConfig{task}})
	waitFor(t, a, "it is told", func(s ScopeStatus) bool {
		return strings.Contains(s.OutputError, serve.ErrNoServiceAccount.Error()) && !s.Served
	})
	// Not the broker's fault.
	if _, err := serve.Ask(t.Context(), conf.Socket, "/"); err == nil || !strings.HasSuffix(err.Error(), serve.ErrNoServiceAccount.Error()) {
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
