package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// rebuildScope is what two of group sre have to approve.
const rebuildScope = "--scope s3-bucket-rebuild bucket="

// person runs the command line as one of the dev broker's people.
func (s *sidecar) person(t *testing.T, name string, args ...string) (output, int) {
	t.Helper()
	return run(t, append(s.env, "SPIFFE_ENDPOINT_SOCKET=unix://"+filepath.Join(s.dev, name+".sock"), "VALETKEY_APPROVER_KEY="+filepath.Join(s.dev, name+".key")),
		program(t, "valetkey"), args...)
}

func (s *sidecar) approve(t *testing.T, grant string) {
	t.Helper()
	for _, name := range []string{"bob", "carol"} {
		if out, code := s.person(t, name, "approve", grant, "--yes"); code != 0 {
			t.Fatalf("approving as %s exits %d: %s", name, code, out.stderr)
		}
	}
}

// state is a grant's, as the operator sees it.
func (s *sidecar) state(t *testing.T, grant string) string {
	t.Helper()
	out, code := s.person(t, "operator", "grants")
	if code != 0 {
		t.Fatalf("grants exits %d: %s", code, out.stderr)
	}
	for line := range strings.Lines(out.stdout) {
		if strings.Contains(line, grant) {
			return line
		}
	}
	return ""
}

// waiting starts valetkey exec --wait, and says which grant it waits for.
func (s *sidecar) waiting(t *testing.T, bucket string, command ...string) (cmd *exec.Cmd, said *heard, grant string) {
	t.Helper()
	args := append([]string{"exec", "-e", "staging", "--wait"}, strings.Fields(rebuildScope+bucket)...)
	cmd, said = exec.Command(program(t, "valetkey"), append(append(args, "--"), command...)...), &heard{}
	cmd.Env = append(append(os.Environ(), s.operators(t)...), s.env...)
	cmd.Stdout, cmd.Stderr = said, said
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	eventually(t, 2*time.Minute, "it says whom it waits for", func() bool {
		grant = grantID.FindString(said.String())
		return strings.Contains(said.String(), "valetkey approve "+grant+"\n")
	})
	for _, want := range []string{"s3-bucket-rebuild waits for 2 of group sre, until 20", "valetkey approve"} {
		if !said.has(want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	return cmd, said, grant
}

// TestSidecarApproval has the aws command line delete a bucket: refused without
// people, and done once two of them have signed.
func TestSidecarApproval(t *testing.T) {
	s := newSidecar(t).start(t)
	root := s3Client(s.minio.Endpoint, s.minio.AccessKey, s.minio.SecretKey, "")
	for _, bucket := range []string{"old", "kept"} {
		_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)})
		must(t, err)
	}
	there := func(bucket string) bool {
		_, err := root.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(bucket)})
		return err == nil
	}
	remove := func(bucket string) []string {
		return []string{filepath.Join(clientsDir(t), "aws"), "--endpoint-url", s.minio.Endpoint, "s3", "rb", "s3://" + bucket}
	}

	out, code := s.exec(t, rebuildScope+"old", remove("old")...)
	grant := grantID.FindString(out.stderr)
	if code != 4 || !there("old") || grant == "" || !strings.Contains(out.stderr, "needs: 2 of group sre") || !strings.Contains(out.stderr, "say --wait") {
		t.Errorf("without --wait it exits %d: %s", code, out.stderr)
	}
	if state := s.state(t, grant); !strings.Contains(state, "released") {
		t.Errorf("what was not waited for is left: %s", state)
	}

	t.Run("interrupted", func(t *testing.T) {
		cmd, said, grant := s.waiting(t, "old", remove("old")...)
		must(t, cmd.Process.Signal(os.Interrupt))
		if code := ends(t, cmd); code != 1 || !said.has("stopped while "+grant+" waited for people") || !there("old") {
			t.Errorf("it exits %d: %s", code, said)
		}
		if state := s.state(t, grant); !strings.Contains(state, "released") {
			t.Errorf("what was interrupted is left: %s", state)
		}
		if out, code := s.person(t, "bob", "approve", grant, "--yes"); code == 0 || !strings.Contains(out.stderr, "NOT_PENDING") {
			t.Errorf("approving it exits %d: %s", code, out.stderr)
		}
	})
	t.Run("killed", func(t *testing.T) {
		cmd, _, grant := s.waiting(t, "old", remove("old")...)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
		eventually(t, revocationLimit, "what a killed one waited for is given back", func() bool { return strings.Contains(s.state(t, grant), "released") })
	})
	t.Run("approved", func(t *testing.T) {
		both := "\"$@\"; " + strings.Join(remove("kept"), " ") + " 2>&1 | grep AccessDenied"
		cmd, said, grant := s.waiting(t, "old", append([]string{"/bin/sh", "-c", both, "sh"}, remove("old")...)...)
		if !there("old") {
			t.Fatal("it did not wait")
		}
		s.approve(t, grant)
		if code := ends(t, cmd); code != 0 || there("old") || !there("kept") {
			t.Errorf("approved it exits %d, old is there: %v, kept is there: %v: %s", code, there("old"), there("kept"), said)
		}
	})
	t.Run("rejected", func(t *testing.T) {
		cmd, said, grant := s.waiting(t, "kept", remove("kept")...)
		if out, code := s.person(t, "bob", "reject", grant, "--yes", "--comment", "no"); code != 0 {
			t.Fatalf("rejecting exits %d: %s", code, out.stderr)
		}
		if code := ends(t, cmd); code != 3 || !said.has("REJECTED") || !there("kept") || said.has("bob") {
			t.Errorf("rejected it exits %d: %s", code, said)
		}
	})
	t.Run("agent", func(t *testing.T) {
		a := s.launchAgent(t, `tasks:
  - name: tidy
    purpose: empty what is old
    environment: staging
    scopes:
      - scope: s3-bucket-rebuild
        params: {bucket: prod}
        wait: true
        outputs:
          templates: [{text: "{{.AWS.AccessKeyID}}", file: id}]
`)
		var waits string
		eventually(t, 2*time.Minute, "the status says that it waits", func() bool {
			out, code := run(t, nil, program(t, "valetkey"), "agent", "status", "--socket", a.socket())
			waits = grantID.FindString(out.stdout)
			return code == 0 && strings.Contains(out.stdout, "for people: valetkey approve "+waits)
		})
		if a.check(t) != 1 {
			t.Error("the probe passes while it waits")
		}
		s.approve(t, waits)
		eventually(t, 2*time.Minute, "the agent serves", func() bool { return a.check(t) == 0 })
		if id := a.read(t, "id"); id == "" || a.scope(t, "tidy", "s3-bucket-rebuild").CredentialID != id {
			t.Errorf("the file has %q", id)
		}
		a.stop(t)
	})
	s.nothingLeft(t)
}
