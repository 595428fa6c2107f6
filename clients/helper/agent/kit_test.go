package agent

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
)

var (
	must, ask, read, exists   = clienttest.Must, clienttest.Ask, clienttest.Read, clienttest.Exists
	eventually, took, discard = brokertest.Eventually, clienttest.Took, clienttest.Discard
	writeFile                 = clienttest.WriteFile
	ofOther, asRoot           = clienttest.OfOther, clienttest.AsRoot
	newKit, newKitWithPeople  = clienttest.New, clienttest.NewWithPeople
)

// hangs is how long what has to end without an answer may take: what Close still
// says to the broker, and a busy machine.
const hangs = serve.CloseTimeout + 2*time.Second

// taskOf is a task with one scope in every output that AWS has.
func taskOf(name, dir string) TaskConfig {
	at := filepath.Join(dir, name)
	return TaskConfig{Name: name, Purpose: "a test", Environment: "staging", Scopes: []ScopeConfig{{
		Scope: "s3-prefix-read", Params: map[string]Values{"bucket": {"prod"}, "prefix": {name + "/"}},
		Outputs: Outputs{
			Container: &ContainerOutput{TokenFile: at + ".token", EnvFile: at + ".env"},
			Process:   &ProcessOutput{Socket: at + ".sock", Profile: name, ConfigFile: filepath.Join(dir, "config")},
			Templates: []TemplateOutput{{Text: "{{.AWS.SecretAccessKey}}", File: at + ".txt"}},
		},
	}}}
}

func newAgent(t *testing.T, k *clienttest.Kit, c Config) *Agent {
	t.Helper()
	a, err := New(Setup{Client: k.Client, Config: c, Program: "/usr/bin/valetkey", Log: discard()})
	must(t, err)
	t.Cleanup(func() { _ = a.Close() }) // some tests do so themselves
	return a
}

// waits has an agent's only scope wait for people, and says for which grant.
func (a *Agent) waits(t *testing.T) (w WaitingStatus) {
	t.Helper()
	eventually(t, "the status says that it waits for people", func() bool {
		st := a.Status().Tasks[0].Scopes
		if len(st) == 1 && st[0].Waiting != nil {
			w = *st[0].Waiting
			return strings.Contains(st[0].Error, "NEEDS_APPROVAL") && strings.Contains(st[0].Error, w.GrantID)
		}
		return false
	})
	return w
}

// rebuildTask is a task with one scope that people have to approve.
func rebuildTask(dir string, wait bool) TaskConfig {
	task := taskOf("one", dir)
	task.Scopes[0].Scope, task.Scopes[0].Params, task.Scopes[0].Wait = "s3-bucket-rebuild", map[string]Values{"bucket": {"prod"}}, wait
	return task
}

// kubeTask is a task with one scope in a kubeconfig for EKS.
func kubeTask(name, dir string) TaskConfig {
	at := filepath.Join(dir, name)
	return TaskConfig{Name: name, Purpose: "a test", Environment: "staging", Scopes: []ScopeConfig{{
		Name: "eks", Scope: "s3-prefix-read", Params: map[string]Values{"bucket": {"prod"}, "prefix": {name + "/"}},
		Outputs: Outputs{Kubeconfig: &KubeconfigOutput{
			File: at + ".kubeconfig", Socket: at + ".sock",
			KubeCluster: files.KubeCluster{
				Server: "https://127.0.0.1:6443", CertificateAuthority: filepath.Join(dir, `c: "a' #.pem`), TLSServerName: "k8s.example.org",
				Namespace: "web", EKSCluster: "prod", Region: "eu-central-1",
			},
		}},
	}}}
}

// waitFor waits for what an agent says of the one scope of a task.
func waitFor(t *testing.T, a *Agent, what string, ok func(ScopeStatus) bool) {
	t.Helper()
	eventually(t, what, func() bool {
		st := a.Status().Tasks
		return len(st) == 1 && len(st[0].Scopes) == 1 && ok(st[0].Scopes[0])
	})
}
