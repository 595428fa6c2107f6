package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// kubeAgent is an agent with a kubeconfig for each kind of credential.
func (s *sidecar) kubeAgent(t *testing.T, head, ttl string) *agent {
	t.Helper()
	dir := s.mkdir(t, "agent")
	eks, ca := cluster(t, eksCheck(t, "prod", "eu-central-1", sessionIn(filepath.Join(dir, "session"))))
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(ca), 0o600))
	plain, ca := cluster(t, func(token string) error {
		if token != ofVault {
			return errors.New("it is not Vault's")
		}
		return nil
	})
	return s.agent(t, head+`tasks:
  - name: deploy
    purpose: look at pods
    environment: staging
    scopes:
      - name: eks
        scope: s3-prefix-read
        params: {bucket: prod, prefix: reports/}
        ttl: `+ttl+`
        outputs:
          kubeconfig: {file: eks.kubeconfig, socket: eks.sock, server: "`+eks+`", certificate_authority: ca.pem, eks_cluster: prod, region: eu-central-1}
          templates: [{text: "`+eksSession+`", file: session}]
      - name: account
        scope: kube-creds
        params: {role: deploy}
        outputs:
          kubeconfig:
            file: account.kubeconfig
            socket: account.sock
            server: "`+strings.Replace(plain, "127.0.0.1", "localhost", 1)+`"
            certificate_authority_data: `+base64.StdEncoding.EncodeToString([]byte(ca))+`
            tls_server_name: example.com
            namespace: web
`)
}

// kubectl lists the names of pods.
func (s *sidecar) kubectl(t *testing.T, config string) (output, int) {
	t.Helper()
	return run(t, []string{"HOME=" + s.mkdir(t, "empty"), "KUBECONFIG="}, filepath.Join(clientsDir(t), "kubectl"),
		"--kubeconfig", config, "--request-timeout", "20s", "get", "pods", "-o", "name")
}

// TestKubectl has kubectl ask two clusters, each with its kind of token, and others
// get nothing.
func TestKubectl(t *testing.T) {
	s := newSidecar(t).withKubernetes(t).start(t)
	a := s.kubeAgent(t, "", "15m")
	for name, want := range map[string]string{"eks": "pod/of-default", "account": "pod/of-web"} {
		if out, code := s.kubectl(t, filepath.Join(a.dir, name+".kubeconfig")); code != 0 || strings.TrimSpace(out.stdout) != want {
			t.Errorf("%s: kubectl exits %d: %s%s", name, code, out.stdout, out.stderr)
		}
	}
	t.Run("as aws has it", func(t *testing.T) { s.asAWS(t, a) })
	t.Run("no token is kept", func(t *testing.T) {
		all := []string{a.stderr.String(), a.read(t, "agent.sock.journal"), a.read(t, "eks.kubeconfig"), a.read(t, "account.kubeconfig")}
		for _, format := range []string{"json", "table"} {
			out, code := run(t, nil, program(t, "valetkey"), "agent", "status", "--socket", a.socket(), "-o", format)
			if code != 0 || out.stdout == "" {
				t.Fatalf("agent status exits %d: %s", code, out.stderr)
			}
			all = append(all, out.stdout)
		}
		for i, text := range all {
			if strings.Contains(text, "k8s-aws-v1.") || strings.Contains(text, ofVault) || strings.Contains(text, strings.Fields(a.read(t, "session"))[1]) {
				t.Errorf("text %d has one", i)
			}
		}
	})
	t.Run("its end", func(t *testing.T) {
		for _, name := range []string{"eks", "account"} {
			held := a.scope(t, "deploy", name).ExpiresAt
			if got := s.credential(t, a, name).expires; got.After(held) || got.Before(time.Now()) || got.After(time.Now().Add(14*time.Minute)) != (name == "account") {
				t.Errorf("%s: the token ends at %v, its credential at %v", name, got, held)
			}
		}
	})
	if n := minted(t, s); n != 2 {
		t.Errorf("%d credentials were minted for two scopes", n)
	}
	kept := filepath.Join(s.mkdir(t, "kept"), "eks.kubeconfig")
	must(t, os.WriteFile(kept, []byte(a.read(t, "eks.kubeconfig")), 0o600))
	a.stop(t)
	s.nothingLeft(t)
	if left := leftIn(t, a.dir); !slices.Equal(left, []string{"agent.yaml", "ca.pem"}) {
		t.Errorf("what is left is %v", left)
	}
	if out, code := s.kubectl(t, kept); code == 0 || !strings.Contains(out.stderr, "see that the agent runs, and that the task is not over") {
		t.Errorf("after its task kubectl exits %d: %s%s", code, out.stdout, out.stderr)
	}
}

// asAWS holds a token against the one that AWS's own command makes of the session.
func (s *sidecar) asAWS(t *testing.T, a *agent) {
	session := strings.Fields(a.read(t, "session"))
	out, code := run(t, []string{
		"HOME=" + s.mkdir(t, "empty"), "AWS_ACCESS_KEY_ID=" + session[0], "AWS_SECRET_ACCESS_KEY=" + session[1], "AWS_SESSION_TOKEN=" + session[2],
	}, filepath.Join(clientsDir(t), "aws"), "eks", "get-token", "--cluster-name", "prod", "--region", "eu-central-1")
	var theirs struct{ Status struct{ Token string } }
	if code != 0 || json.Unmarshal([]byte(out.stdout), &theirs) != nil {
		t.Fatalf("aws eks get-token exits %d: %s", code, out.stderr)
	}
	want, err := eksAddress(theirs.Status.Token)
	must(t, err)
	got, err := eksAddress(s.credential(t, a, "eks").token)
	must(t, err)
	if got.Scheme != want.Scheme || got.Host != want.Host || got.Path != want.Path {
		t.Errorf("it is for %s, theirs for %s", got.Host, want.Host)
	}
	ours, aws := got.Query(), want.Query()
	if x, y := slices.Sorted(maps.Keys(ours)), slices.Sorted(maps.Keys(aws)); !slices.Equal(x, y) {
		t.Errorf("it has %v, theirs has %v", x, y)
	}
	for key := range aws {
		if key != "X-Amz-Date" && key != "X-Amz-Signature" && ours.Get(key) != aws.Get(key) {
			t.Errorf("its %s is not theirs", key)
		}
	}
}

// execCredential is what kubectl is told.
type execCredential struct {
	token   string
	expires time.Time
}

// credential asks as the kubeconfig has kubectl ask.
func (s *sidecar) credential(t *testing.T, a *agent, name string) execCredential {
	t.Helper()
	out, code := run(t, nil, program(t, "valetkey"), "agent", "credential", "--socket", filepath.Join(a.dir, name+".sock"))
	var answer struct {
		Status struct {
			Token               string
			ExpirationTimestamp time.Time
		}
	}
	if code != 0 || json.Unmarshal([]byte(out.stdout), &answer) != nil {
		t.Fatalf("agent credential exits %d: %s", code, out.stderr)
	}
	return execCredential{answer.Status.Token, answer.Status.ExpirationTimestamp}
}

func leftIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range left {
		names = append(names, f.Name())
	}
	return names
}

// TestKubectlOfOthers has other users ask, and those alone that are named get a token.
func TestKubectlOfOthers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: other users are not tried here")
		return
	}
	s := newSidecar(t).withKubernetes(t).start(t)
	curl, err := filepath.EvalSymlinks(filepath.Join(clientsDir(t), "curl"))
	must(t, err)
	asks := func(a *agent, uid uint32) (code string, given bool) {
		out, _ := runAs(t, uid, curl, "-sS", "-w", "\n%{http_code}", "--unix-socket", filepath.Join(a.dir, "account.sock"), "http://localhost/")
		return out.stdout[strings.LastIndex(out.stdout, "\n")+1:], strings.Contains(out.stdout, ofVault)
	}
	const named, stranger = 65533, 65534
	for head, want := range map[string]map[uint32]string{"": {named: "000", stranger: "000"}, "uids: [0, 65533]\n": {named: "200", stranger: "403"}} {
		a := s.kubeAgent(t, head, "15m")
		must(t, os.Chmod(s.dir, 0o711)) // so that only the socket is what refuses
		must(t, os.Chmod(a.dir, 0o711))
		for uid, code := range want {
			if got, given := asks(a, uid); got != code || given != (code == "200") {
				t.Errorf("with %q user %d gets %s, want %s; a token: %v", head, uid, got, code, given)
			}
		}
		a.stop(t)
	}
}

// TestKubectlFaults has the broker go, the task be revoked and the agent be killed.
func TestKubectlFaults(t *testing.T) {
	s := newSidecar(t).withKubernetes(t).start(t)
	a := s.kubeAgent(t, "", "24s")
	eks := filepath.Join(a.dir, "eks.kubeconfig")
	pods := func() (output, int) { return s.kubectl(t, eks) }
	again := func() { s.start(t) } // for longer than the test below
	t.Run("the broker is away", func(t *testing.T) {
		s.kill()
		dies := a.scope(t, "deploy", "eks").ExpiresAt
		if got := s.credential(t, a, "eks").expires; got.After(dies) {
			t.Errorf("the token ends at %v, its credential at %v", got, dies)
		}
		if out, code := pods(); code != 0 {
			t.Errorf("a credential that lives: kubectl exits %d: %s", code, out.stderr)
		}
		eventually(t, 60*time.Second, "a dead one is not given, and kubectl says why", func() bool {
			out, code := pods()
			if code == 0 && time.Now().After(dies.Add(2*time.Second)) {
				t.Fatal("a dead one is given")
			}
			return code != 0 && strings.Contains(out.stderr, "see that the broker runs")
		})
		again()
		eventually(t, 60*time.Second, "the broker is back", func() bool { _, code := pods(); return code == 0 })
	})
	t.Run("killed", func(t *testing.T) {
		must(t, a.cmd.Process.Kill())
		<-a.done
		if out, code := pods(); code == 0 || !strings.Contains(out.stderr, "see that the agent runs") {
			t.Errorf("kubectl exits %d: %s", code, out.stderr)
		}
		a = s.agent(t, twoTasksOf("read.txt"))
		for _, name := range []string{"eks.kubeconfig", "account.kubeconfig", "eks.sock", "account.sock"} {
			if _, err := os.Lstat(filepath.Join(a.dir, name)); !os.IsNotExist(err) {
				t.Errorf("the next agent leaves %s: %v", name, err)
			}
		}
		a.stop(t)
	})
	t.Run("a task that an operator ends", func(t *testing.T) {
		a = s.kubeAgent(t, "", "15m")
		kept := filepath.Join(s.mkdir(t, "kept"), "eks.kubeconfig")
		must(t, os.WriteFile(kept, []byte(a.read(t, "eks.kubeconfig")), 0o600))
		out, code := run(t, append(s.env, "SPIFFE_ENDPOINT_SOCKET=unix://"+s.dev+"/operator.sock"), program(t, "valetkey"),
			"revoke", a.status(t).Tasks[0].ID, "--cause", "a test")
		if code != 0 {
			t.Fatalf("revoke exits %d: %s", code, out.stderr)
		}
		eventually(t, 60*time.Second, "kubectl says that it is over, and the file is gone", func() bool {
			out, code := s.kubectl(t, kept)
			_, err := os.Lstat(eks)
			return code != 0 && strings.Contains(out.stderr, "the task is over") && os.IsNotExist(err)
		})
		a.stop(t)
	})
	s.nothingLeft(t)
}

// TestExecKubectl has kubectl find its cluster in the environment of one command.
func TestExecKubectl(t *testing.T) {
	s := newSidecar(t).withKubernetes(t).start(t)
	eks, eksCA := cluster(t, eksCheck(t, "prod", "eu-central-1", sessionIn(filepath.Join(s.dir, "session"))))
	plain, plainCA := cluster(t, func(token string) error {
		if token != ofVault {
			return errors.New("it is not Vault's")
		}
		return nil
	})
	must(t, os.WriteFile(filepath.Join(s.dir, "eks.pem"), []byte(eksCA), 0o600))
	must(t, os.WriteFile(filepath.Join(s.dir, "plain.pem"), []byte(plainCA), 0o600))
	ofEKS := " --kube-server " + eks + " --kube-ca " + s.dir + "/eks.pem --eks-cluster prod --eks-region eu-central-1"
	ofPlain := " --kube-server " + plain + " --kube-ca " + s.dir + "/plain.pem --kube-namespace web"
	const account = "--scope kube-creds role=deploy"
	script := `cd "$TMPDIR/.."; test -z "$AWS_CONTAINER_CREDENTIALS_FULL_URI" || ` + keepSession + `
		` + clientsDir(t) + `/kubectl --request-timeout 20s get pods -o name; cat "$KUBECONFIG" > kept`
	for _, c := range []struct {
		name, flags string
		code        int
		says        string // in what it prints, or in its error
	}{
		{"EKS", readScope + ofEKS, 0, "pod/of-default"},
		{"a service account", account + ofPlain, 0, "pod/of-web"},
		{"beside an AWS session", account + " " + readScope + ofPlain, 0, "pod/of-web"},
		{"EKS, but of Vault", "--scope vault-kv-read team=web" + ofEKS, 1, "no AWS credential"},
		{"an account, but of AWS", readScope + ofPlain, 1, "no service_account_token"},
		{"two accounts", account + " --scope other=kube-creds role=deploy" + ofPlain, 1, "one command can have one such credential"},
		{"no server", readScope + " --kube-ca " + s.dir + "/eks.pem", 2, "go with --kube-server"},
		{"a token in the clear", account + strings.Replace(ofPlain, "https:", "http:", 1), 1, "over TLS alone"},
		{"no region", readScope + strings.Replace(ofEKS, "--eks-region eu-central-1", "", 1), 1, "a name and a region"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := s.exec(t, c.flags, "/bin/sh", "-ec", script)
			if code != c.code || !strings.Contains(out.stdout+out.stderr, c.says) || (out.stdout == "") != (code != 0) {
				t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
			}
		})
	}
	kept, err := os.ReadFile(filepath.Join(s.dir, "kept"))
	must(t, err)
	if strings.Contains(string(kept), ofVault) {
		t.Error("the token is in the kubeconfig")
	}
	if out, code := s.kubectl(t, filepath.Join(s.dir, "kept")); code == 0 || !strings.Contains(out.stderr, "the task is not over") {
		t.Errorf("after its task kubectl exits %d: %s%s", code, out.stdout, out.stderr)
	}
	s.nothingLeft(t)
}
