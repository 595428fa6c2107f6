package e2e_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestSidecarSnippets runs what docs/clients-sidecar.md prints, in its order and in
// one folder.
func TestSidecarSnippets(t *testing.T) {
	const file = "docs/clients-sidecar.md"
	s := newSidecar(t).start(t)
	root := s3Client(s.minio.Endpoint, s.minio.AccessKey, s.minio.SecretKey, "")
	_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("logs")})
	must(t, err)
	_, err = root.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("logs"), Key: aws.String("2026/a"), Body: strings.NewReader("of 2026")})
	must(t, err)
	p := &docs{dir: s.mkdir(t, "docs"), daemon: s.daemon}
	// Debian's reads no endpoint from the environment, as the document says.
	shim := "#!/bin/sh\nexec " + clientsDir(t) + "/aws --endpoint-url " + s.minio.Endpoint + " \"$@\"\n"
	must(t, os.WriteFile(filepath.Join(s.mkdir(t, "bin"), "aws"), []byte(shim), 0o700))
	must(t, os.Symlink(filepath.Join(clientsDir(t), "kubectl"), filepath.Join(s.dir, "bin", "kubectl")))
	eks, ca := cluster(t, eksCheck(t, "prod", "eu-central-1", sessionIn(filepath.Join(p.dir, "session"))))
	must(t, os.WriteFile(filepath.Join(p.dir, "ca.pem"), []byte(ca), 0o600))
	env := append(s.operators(t), "PATH="+filepath.Join(s.dir, "bin")+":"+binaries+":"+os.Getenv("PATH"), "VALETKEY_AGENT_SOCKET=")
	runs := func(before, after string) reader {
		return func(t *testing.T, text string) {
			out := p.shell(t, append(env, s.env...), before+text+after)
			if !strings.Contains(out.stdout, "2026") {
				t.Errorf("it prints %q", out.stdout)
			}
		}
	}
	readers := map[string]reader{
		file + ", Sidecar, 1": func(t *testing.T, text string) {
			text = replaced(t, text, map[string]string{"127.0.0.1:8700": s.grpc, "unix:///run/spire/agent.sock": "unix://" + s.dev + "/agent.sock"})
			p.shell(t, append(env, "VKEY="+strings.TrimPrefix(s.env[3], "VALETKEY_LEDGER_KEY=")), text+"valetkey scopes")
		},
		file + ", One command, 1": runs("", "echo 2026"),
		file + ", One command, 2": runs("", "echo 2026"),
		file + ", `valetkey shell --scope s3-prefix-read bucket=logs prefix=2026/ -e staging`": func(t *testing.T, text string) {
			out := p.shell(t, append(env, s.env...), "echo 'aws s3 cp s3://logs/2026/a -' | SHELL=/bin/sh "+text)
			if !strings.Contains(out.stdout, "of 2026") {
				t.Errorf("the shell prints %q", out.stdout)
			}
		},
		file + ", When people have to approve, 1": func(t *testing.T, text string) {
			_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("scratch")})
			must(t, err)
			_, err = root.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("scratch"), Key: aws.String("old"), Body: strings.NewReader("stale")})
			must(t, err)
			text = strings.TrimSpace(text) + ` 2> said & command=$!
until grant=$(grep -o 'grant_[a-z0-9]*' said | head -n 1) && [ "$grant" ]; do sleep 0.1; done
for who in bob carol; do SPIFFE_ENDPOINT_SOCKET=unix://$DEV/$who.sock valetkey approve "$grant" --key "$DEV/$who.key" --yes; done
wait $command`
			if out := p.shell(t, append(append(env, s.env...), "DEV="+s.dev), text); !strings.Contains(out.stdout, "remove_bucket: scratch") {
				t.Errorf("it prints %q", out.stdout)
			}
		},
		file + ", `valetkey exec`": func(*testing.T, string) {}, // a name alone
		file + ", A host or a pod, 1": func(t *testing.T, text string) {
			must(t, os.WriteFile(filepath.Join(p.dir, "agent.yaml"), []byte(text), 0o600))
		},
		file + ", A host or a pod, 2": func(t *testing.T, text string) {
			started, rest, ok := strings.Cut(text, "\n")
			if !ok {
				t.Fatal("it starts no agent")
			}
			ready := "\nuntil valetkey agent status --socket agent.sock --check 2> /dev/null; do sleep 0.1; done\n"
			out := p.shell(t, append(env, s.env...), started+ready+rest+"\nkill $!; wait $!")
			if strings.Count(out.stdout, " a\n") != 2 || !strings.Contains(out.stdout, "objects") {
				t.Errorf("it prints:\n%s", out.stdout)
			}
		},
		file + ", `valetkey agent --scope s3-prefix-read bucket=logs prefix=2026/ -e staging --purpose report`": func(t *testing.T, text string) {
			dir := filepath.Join(p.dir, "quick")
			script := text + " --dir " + dir + " & until valetkey agent status --socket " + dir + "/agent.sock --check 2> /dev/null; do sleep 0.1; done\n" +
				"(set -a; . " + dir + "/s3-prefix-read.env; aws s3 ls s3://logs/2026/); kill $!; wait $!"
			if out := p.shell(t, append(env, s.env...), script); !strings.Contains(out.stdout, " a\n") {
				t.Errorf("it prints %q", out.stdout)
			}
		},
		file + ", Kubernetes, 1": func(t *testing.T, text string) {
			base, err := os.ReadFile(filepath.Join(p.dir, "agent.yaml"))
			must(t, err)
			text = replaced(t, text, map[string]string{"https://k8s.example.org:6443": eks})
			text = strings.ReplaceAll("\n"+strings.TrimSpace(text), "\n", "\n          ") + "\n          templates: [{text: '" + eksSession + "', file: session}]\n"
			must(t, os.WriteFile(filepath.Join(p.dir, "kube.yaml"), append(bytes.TrimSpace(base), text...), 0o600))
		},
		file + ", Kubernetes, 2": func(t *testing.T, text string) {
			ready := "valetkey agent --config kube.yaml &\nuntil valetkey agent status --socket agent.sock --check 2> /dev/null; do sleep 0.1; done\n"
			if out := p.shell(t, append(env, s.env...), ready+text+"kill $!; wait $!"); !strings.Contains(out.stdout, "of-web") {
				t.Errorf("it prints:\n%s", out.stdout)
			}
		},
		file + ", Kubernetes, 3": func(t *testing.T, text string) {
			text = replaced(t, text, map[string]string{"https://k8s.example.org:6443": eks, "kubectl get": "sh -ec '" + keepSession + "kubectl get"})
			if out := p.shell(t, append(env, s.env...), strings.TrimSpace(text)+"'"); !strings.Contains(out.stdout, "of-web") {
				t.Errorf("it prints:\n%s", out.stdout)
			}
		},
		file + ", `valetkey agent status --check`": func(t *testing.T, text string) {
			if _, code := run(t, []string{"VALETKEY_AGENT_SOCKET=" + p.dir + "/nobody.sock"}, program(t, "valetkey"), strings.Fields(text)[1:]...); code != 1 {
				t.Errorf("without an agent it exits %d", code)
			}
		},
	}
	found := snippets(t, file)
	for _, sn := range found {
		read, ok := readers[sn.where]
		if !ok {
			t.Errorf("nobody runs this snippet:\n%s\n%s", sn.where, sn.text)
			continue
		}
		t.Run(sn.where, func(t *testing.T) { read(t, sn.text) })
		delete(readers, sn.where)
	}
	for _, where := range slices.Sorted(maps.Keys(readers)) {
		if !slices.ContainsFunc(found, func(s snippet) bool { return s.where == where }) {
			t.Errorf("no document has this snippet any more: %s", where)
		}
	}
	eventually(t, 2*time.Minute, "the summary was written", func() bool {
		_, err := root.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("logs"), Key: aws.String("summary/a")})
		return err == nil
	})
	s.nothingLeft(t)
}
