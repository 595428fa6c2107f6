package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const (
	taskID  = "task_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	grantID = "grant_aaaaaaaaaaaaaaaaaaaaaaaaaa"
)

// edge is a server at the other end of the wire that answers as it is told.
type edge struct {
	valetkeyv1.UnimplementedAgentServiceServer

	requests []proto.Message
	request  func(*valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error)
	mint     func() (*valetkeyv1.MintCredentialResponse, error)
	explain  *valetkeyv1.ExplainScopeResponse
}

func (e *edge) OpenTask(_ context.Context, r *valetkeyv1.OpenTaskRequest) (*valetkeyv1.OpenTaskResponse, error) {
	e.requests = append(e.requests, r)
	return &valetkeyv1.OpenTaskResponse{Task: &valetkeyv1.Task{Id: taskID, Purpose: r.GetPurpose()}}, nil
}

func (e *edge) RequestGrant(_ context.Context, r *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
	e.requests = append(e.requests, r)
	return e.request(r)
}

func (e *edge) MintCredential(context.Context, *valetkeyv1.MintCredentialRequest) (*valetkeyv1.MintCredentialResponse, error) {
	return e.mint()
}

func (e *edge) WatchGrant(r *valetkeyv1.WatchGrantRequest, s grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
	return s.Send(&valetkeyv1.WatchGrantResponse{Grant: &valetkeyv1.Grant{Id: r.GetGrantId(), State: valetkeyv1.GrantState_GRANT_STATE_CLEARED}})
}

func (e *edge) GetGrant(_ context.Context, r *valetkeyv1.GetGrantRequest) (*valetkeyv1.GetGrantResponse, error) {
	return &valetkeyv1.GetGrantResponse{Grant: &valetkeyv1.Grant{Id: r.GetGrantId(), State: valetkeyv1.GrantState_GRANT_STATE_ACTIVE}}, nil
}

func (e *edge) ListGrants(_ context.Context, r *valetkeyv1.ListGrantsRequest) (*valetkeyv1.ListGrantsResponse, error) {
	e.requests = append(e.requests, r)
	return &valetkeyv1.ListGrantsResponse{Grants: []*valetkeyv1.Grant{{Id: grantID, State: valetkeyv1.GrantState_GRANT_STATE_CLEARED}}}, nil
}

func (e *edge) GetTask(_ context.Context, r *valetkeyv1.GetTaskRequest) (*valetkeyv1.GetTaskResponse, error) {
	return &valetkeyv1.GetTaskResponse{Task: &valetkeyv1.Task{Id: r.GetTaskId(), Purpose: "find the failing upload"}}, nil
}

func (e *edge) ExplainScope(_ context.Context, r *valetkeyv1.ExplainScopeRequest) (*valetkeyv1.ExplainScopeResponse, error) {
	e.requests = append(e.requests, r)
	return e.explain, nil
}

// operators is its side for them.
type operators struct {
	valetkeyv1.UnimplementedOperatorServiceServer
	e *edge
}

func (o operators) ListGrants(_ context.Context, r *valetkeyv1.OperatorServiceListGrantsRequest) (*valetkeyv1.OperatorServiceListGrantsResponse, error) {
	o.e.requests = append(o.e.requests, r)
	page := &valetkeyv1.OperatorServiceListGrantsResponse{Grants: []*valetkeyv1.Grant{{Id: grantID + r.GetPageToken(), State: valetkeyv1.GrantState_GRANT_STATE_ACTIVE}}}
	if r.GetPageToken() == "" {
		page.NextPageToken = "2"
	}
	return page, nil
}

// start runs e and returns a function that runs the command against it.
func start(t *testing.T, e *edge) func(args ...string) (code int, stdout, stderr string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	valetkeyv1.RegisterAgentServiceServer(srv, e)
	valetkeyv1.RegisterOperatorServiceServer(srv, operators{e: e})
	go func() { _ = srv.Serve(lis) }()
	t.Cleanup(srv.Stop)
	return func(args ...string) (int, string, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, &stdout, &stderr, func(opts ...valetkey.Option) (*valetkey.Client, error) {
			conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { _ = conn.Close() })
			return valetkey.New(t.Context(), append(opts, valetkey.WithConn(conn), valetkey.WithRetryFor(time.Second))...)
		})
		return code, stdout.String(), stderr.String()
	}
}

func refuse(t *testing.T, r valetkeyv1.ErrorReason) error {
	t.Helper()
	s, err := status.New(codes.PermissionDenied, "the broker's text").WithDetails(&errdetails.ErrorInfo{
		Domain: valetkeyv1.ErrorDomain, Reason: r.Name(), Metadata: map[string]string{"works_until": "noon"},
	}, &valetkeyv1.ApprovalNeeded{Needs: []*valetkeyv1.Need{{Group: "any", Approvals: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

func awsCredential() *valetkeyv1.Credential {
	return &valetkeyv1.Credential{
		Kind: &valetkeyv1.Credential_Aws{Aws: &valetkeyv1.AwsCredential{
			AccessKeyId: "AKIA", SecretAccessKey: "it's secret", SessionToken: "token", EndpointUrl: "http://127.0.0.1:9000",
		}},
		ExpiresAt: timestamppb.New(time.Unix(1_800_000_000, 0)),
	}
}

func TestUsage(t *testing.T) {
	call := start(t, &edge{})
	for _, args := range [][]string{
		{}, {"nonsense"}, {"request", "s3-read"}, {"request", "s3-read", "bare", "--task", taskID}, {"revoke", grantID},
		{"mint", grantID, "--format", "xml"}, {"grants", "--limit", "0"}, {"-o", "yaml", "scopes"},
	} {
		if code, stdout, stderr := call(args...); code != exitUsage || stdout != "" || stderr == "" {
			t.Errorf("valetkey %q: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	if code, stdout, _ := call("--help"); code != exitOK || !strings.Contains(stdout, "ledger verify") {
		t.Errorf("--help: exit %d, %q", code, stdout)
	}
	if code, stdout, _ := call("version", "-o", "json"); code != exitOK || !json.Valid([]byte(stdout)) {
		t.Errorf("version: exit %d, %q", code, stdout)
	}
}

func TestDialingNeedsToKnowWhere(t *testing.T) {
	t.Setenv("VALETKEY_ADDR", "")
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	for _, args := range [][]string{
		{"scopes"},
		{"scopes", "--broker", "127.0.0.1:1"},
		{"scopes", "--broker", "127.0.0.1:1", "--workload-api", "unix:///none", "--broker-id", "not-an-id"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr, nil); code != exitUsage {
			t.Errorf("valetkey %q: exit %d, %s", args, code, stderr.String())
		}
	}
}

func TestTaskOpenPrintsTheIDAlone(t *testing.T) {
	e := &edge{}
	call := start(t, e)
	for range 2 {
		code, stdout, _ := call("task", "open", "fix the build", "-e", "production")
		if code != exitOK || stdout != taskID+"\n" {
			t.Fatalf("exit %d, stdout %q", code, stdout)
		}
	}
	a, b := e.requests[0].(*valetkeyv1.OpenTaskRequest), e.requests[1].(*valetkeyv1.OpenTaskRequest)
	if a.GetIdempotencyKey() == b.GetIdempotencyKey() || len(a.GetIdempotencyKey()) < 26 {
		t.Errorf("idempotency keys %q and %q", a.GetIdempotencyKey(), b.GetIdempotencyKey())
	}
}

func TestRequest(t *testing.T) {
	e := &edge{}
	call := start(t, e)
	grant := &valetkeyv1.Grant{Id: grantID, TaskId: taskID, Scope: "s3-read", State: valetkeyv1.GrantState_GRANT_STATE_CLEARED}
	grant.Parameters = map[string]*valetkeyv1.Value{"bucket": {Values: []string{"b"}}, "prefix": {Values: []string{"a=1,2/", "c/"}}}
	e.request = func(r *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
		resp := &valetkeyv1.RequestGrantResponse{Grant: grant}
		if r.GetMint() && grant.GetState() == valetkeyv1.GrantState_GRANT_STATE_CLEARED {
			resp.Credential, resp.Receipt = awsCredential(), &valetkeyv1.Receipt{Index: 7}
		}
		return resp, nil
	}
	args := []string{"request", "s3-read", "bucket=b", "prefix=a=1,2", "prefix=c", "--task", taskID, "--ttl", "5m"}
	if code, stdout, stderr := call(args...); code != exitOK || !strings.Contains(stdout, grantID) {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	r := e.requests[0].(*valetkeyv1.RequestGrantRequest)
	if got := r.GetParameters()["prefix"].GetValues(); len(got) != 2 || got[0] != "a=1,2" || got[1] != "c" || r.GetTtl().AsDuration() != 5*time.Minute {
		t.Errorf("sent %v", r)
	}
	code, stdout, stderr := call(append(args, "--mint", "--no-receipt-checks")...)
	if code != exitOK || strings.Contains(stderr, "secret") || !strings.Contains(stderr, "record 7") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", stdout+`printf %s "$AWS_SECRET_ACCESS_KEY"`).Output()
	if err != nil || string(out) != "it's secret" {
		t.Errorf("the shell reads %q (%v) from %q", out, err, stdout)
	}
	grant.State, grant.Needs = valetkeyv1.GrantState_GRANT_STATE_PENDING, []*valetkeyv1.Need{{Group: "sre", Approvals: 2}}
	for _, more := range [][]string{nil, {"--mint", "--no-receipt-checks"}} {
		if code, stdout, stderr := call(append(args, more...)...); code != exitNeedsApproval || !strings.Contains(stdout+stderr, grantID) || (stdout == "") != (more != nil) || !strings.Contains(stderr, "2 of group sre") {
			t.Errorf("pending, %v: exit %d, stdout %q, stderr %q", more, code, stdout, stderr)
		}
	}
	grant.State = valetkeyv1.GrantState_GRANT_STATE_DENIED
	if code, _, _ := call(args...); code != exitDenied {
		t.Errorf("denied: exit %d", code)
	}
}

func TestRefusals(t *testing.T) {
	e := &edge{}
	call := start(t, e)
	want := map[valetkeyv1.ErrorReason]int{
		valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL: exitNeedsApproval,
		valetkeyv1.ErrorReason_ERROR_REASON_DENIED:         exitDenied,
		valetkeyv1.ErrorReason_ERROR_REASON_FROZEN:         exitDenied,
		valetkeyv1.ErrorReason_ERROR_REASON_UNPROVEN:       exitDenied,
		valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL:       exitError,
	}
	for value := range valetkeyv1.ErrorReason_name {
		r := valetkeyv1.ErrorReason(value)
		if value == 0 {
			continue
		}
		e.request = func(*valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
			return nil, refuse(t, r)
		}
		code, stdout, stderr := call("request", "s3-wipe", "--task", taskID)
		if code == exitOK || stdout != "" {
			t.Errorf("%s: exit %d, stdout %q", r, code, stdout)
		}
		if c, ok := want[r]; ok && c != code {
			t.Errorf("%s: exit %d, want %d", r, code, c)
		}
		for _, text := range []string{r.Name(), "the broker's text", "works_until: noon", "Next: " + r.Advice()} {
			if !strings.Contains(stderr, text) {
				t.Errorf("%s: stderr %q lacks %q", r, stderr, text)
			}
		}
		// What is denied is not shown as if people could approve it.
		if said := strings.Contains(stderr, "needs: 2 of group any"); said != (r == valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL) {
			t.Errorf("%s: stderr %q says what it needs: %v", r, stderr, said)
		}
	}
	e.request = func(*valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
		return nil, status.Error(codes.Unavailable, "gone")
	}
	if code, _, stderr := call("request", "s3-read", "--task", taskID); code != exitError || !strings.Contains(stderr, "--broker") {
		t.Errorf("unavailable: exit %d, stderr %q", code, stderr)
	}
}

func TestMintFormats(t *testing.T) {
	cred := awsCredential()
	e := &edge{mint: func() (*valetkeyv1.MintCredentialResponse, error) {
		return &valetkeyv1.MintCredentialResponse{Credential: cred}, nil
	}}
	call := start(t, e)
	_, stdout, _ := call("mint", grantID, "--no-receipt-checks", "--format", "credential-process")
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got["Version"] != 1.0 || got["AccessKeyId"] != "AKIA" || got["SessionToken"] != "token" || got["Expiration"] != "2027-01-15T08:00:00Z" {
		t.Errorf("credential-process: %v, %q", err, stdout)
	}
	if _, stdout, _ := call("mint", grantID, "--no-receipt-checks", "--format", "json"); !strings.Contains(stdout, `"secret_access_key": "it's secret"`) {
		t.Errorf("json: %q", stdout)
	}
	cred.Kind = &valetkeyv1.Credential_Vault{Vault: &valetkeyv1.VaultCredential{Token: "hvs.x", Address: "http://v"}}
	if _, stdout, _ := call("mint", grantID, "--no-receipt-checks"); !strings.Contains(stdout, "export VAULT_ADDR=http://v\nexport VAULT_TOKEN=hvs.x\n") || !strings.Contains(stdout, " VAULT_NAMESPACE ") {
		t.Errorf("vault: %q", stdout)
	}
	cred.Kind = &valetkeyv1.Credential_Vault{Vault: &valetkeyv1.VaultCredential{
		Token: "t", Accessor: "a", Address: "http://v", Namespace: "n", DataJson: `{"k":1}`, LeaseId: "l", WrappingToken: "w",
	}}
	_, stdout, _ = call("mint", grantID, "--no-receipt-checks", "-o", "json")
	var whole valetkeyv1.MintCredentialResponse
	if err := protojson.Unmarshal([]byte(stdout), &whole); err != nil || !proto.Equal(whole.GetCredential(), cred) {
		t.Errorf("json of vault: %v, %q", err, stdout)
	}
	if code, stdout, _ := call("mint", grantID, "--no-receipt-checks", "--format", "credential-process"); code != exitUsage || stdout != "" {
		t.Errorf("credential-process of vault: exit %d, %q", code, stdout)
	}
}

func TestGrantsReadsAllPages(t *testing.T) {
	e := &edge{}
	call := start(t, e)
	if _, stdout, _ := call("grants"); strings.Count(stdout, "\n") != 3 {
		t.Errorf("want a head and two grants: %q", stdout)
	}
	if _, stdout, stderr := call("grants", "--limit", "1"); strings.Count(stdout, "\n") != 2 || !strings.Contains(stderr, "more") {
		t.Errorf("want one grant and a hint: %q, %q", stdout, stderr)
	}
}

// TestAgentsLookAtTheirOwn reads an agent's own grants and tasks from the agents' service.
func TestAgentsLookAtTheirOwn(t *testing.T) {
	e := &edge{}
	call := start(t, e)
	if code, stdout, _ := call("grants", "--mine", "--task", taskID); code != 0 || strings.Count(stdout, "\n") != 2 {
		t.Errorf("exit %d: want a head and a grant: %q", code, stdout)
	}
	if r, ok := e.requests[0].(*valetkeyv1.ListGrantsRequest); !ok || r.GetTaskId() != taskID {
		t.Errorf("asked for %v", e.requests[0])
	}
	if code, stdout, _ := call("grants", "--mine", grantID); code != 0 || !strings.Contains(stdout, grantID) {
		t.Errorf("exit %d: %q", code, stdout)
	}
	if code, stdout, _ := call("task", "show", taskID); code != 0 || !strings.Contains(stdout, "find the failing upload") {
		t.Errorf("exit %d: %q", code, stdout)
	}
	for _, args := range [][]string{{"--task", taskID}, {"--mine", "--agent", "spiffe://example.org/a"}, {"--mine", grantID, "--task", taskID}} {
		if code, stdout, _ := call(append([]string{"grants"}, args...)...); code != exitUsage || stdout != "" {
			t.Errorf("%q: exit %d, %q", args, code, stdout)
		}
	}
}

func TestOthersTextCannotDriveTheTerminal(t *testing.T) {
	if got := clean("a\x1b[2Jb\nc\u009bd"); got != "a [2Jb c d" {
		t.Errorf("%q", got)
	}
}

func TestLedgerVerify(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "valetkey.dev/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	record := []byte(`{"v":1}`)
	leaf := tlog.RecordHash(record)
	signed, err := note.Sign(&note.Note{Text: "valetkey.dev/log\n1\n" + leaf.String() + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte) {
		t.Helper()
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("checkpoint", signed)
	put("key.pub", []byte(vkey+"\n"))
	put("tile/0/000.p/1", leaf[:])
	put("tile/entries/000.p/1", append([]byte{0, byte(len(record))}, record...))
	call := start(t, &edge{})
	saved := filepath.Join(dir, "saved")
	for _, key := range []string{vkey, filepath.Join(dir, "key.pub")} {
		if code, stdout, stderr := call("ledger", "verify", dir, "--key", key, "--checkpoint", saved); code != exitOK || !strings.Contains(stdout, "agree") {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	}
	if data, err := os.ReadFile(saved); err != nil || !bytes.Equal(data, signed) {
		t.Errorf("saved checkpoint %q (%v)", data, err)
	}
	put("tile/entries/000.p/1", append([]byte{0, byte(len(record))}, `{"v":2}`...))
	if code, _, stderr := call("ledger", "verify", dir, "--key", vkey); code != exitVerification || !strings.Contains(stderr, "record 0") {
		t.Errorf("tampered: exit %d, %q", code, stderr)
	}
	if code, _, _ := call("ledger", "verify", dir, "--key", vkey, "--checkpoint", saved, "--full"); code != exitVerification {
		t.Errorf("tampered, full: exit %d", code)
	}
	for _, args := range [][]string{{"--floor", "3"}, {"--hardware", "none"}} {
		if code, _, _ := call(append([]string{"ledger", "verify", dir, "--key", vkey}, args...)...); code != exitUsage {
			t.Errorf("%q without the people: exit %d", args, code)
		}
	}
	put("empty", nil)
	if code, _, _ := call("ledger", "verify", dir, "--key", vkey, "--checkpoint", filepath.Join(dir, "empty")); code != exitError {
		t.Errorf("empty checkpoint file: exit %d", code)
	}
	if code, _, _ := call("ledger", "verify", filepath.Join(dir, "absent"), "--key", vkey); code != exitError {
		t.Errorf("absent log: exit %d", code)
	}
}
