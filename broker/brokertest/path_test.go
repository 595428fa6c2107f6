package brokertest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// reasonOf is the reason code that err carries.
func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func wantReason(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	if status.Code(err) != code || reasonOf(err) != reason {
		t.Errorf("got %v %q (%v), want %v %q", status.Code(err), reasonOf(err), err, code, reason)
	}
}

func openTask(t *testing.T, c valetkeyv1.AgentServiceClient, key string) string {
	t.Helper()
	resp, err := c.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: key, Purpose: "test", Environment: "production"})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetTask().GetId()
}

func vals(v ...string) *valetkeyv1.Value { return &valetkeyv1.Value{Values: v} }

// ask is a request that the example policies allow.
func ask(task, key string) *valetkeyv1.RequestGrantRequest {
	return &valetkeyv1.RequestGrantRequest{
		IdempotencyKey: key, TaskId: task, Scope: "s3-prefix-write", Mint: true,
		Parameters: map[string]*valetkeyv1.Value{"bucket": vals("prod"), "prefix": vals("reports/")},
	}
}

type record struct {
	Type, Reason, Outcome string
	Decision              string
	Grant                 string `json:"grant_id"`
	Issuance              string `json:"issuance_id"`
	Count                 int64
	CallerKey             string `json:"caller_key"`
	ClaimedDomain         string `json:"claimed_trust_domain"`
}

func recordsOf(t *testing.T, h *brokertest.Harness) []record {
	t.Helper()
	var out []record
	for _, raw := range h.Records() {
		var r record
		if err := json.Unmarshal([]byte(raw), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func typesOf(t *testing.T, h *brokertest.Harness) string {
	t.Helper()
	var out []string
	for _, r := range recordsOf(t, h) {
		out = append(out, r.Type)
	}
	return strings.Join(out, " ")
}

func has(t *testing.T, h *brokertest.Harness, kind, reason string) bool {
	t.Helper()
	for _, r := range recordsOf(t, h) {
		if r.Type == kind && (reason == "" || r.Reason == reason) {
			return true
		}
	}
	return false
}

func wantRecord(t *testing.T, h *brokertest.Harness, kind, reason string) {
	t.Helper()
	if !has(t, h, kind, reason) {
		t.Errorf("no record %s %s among: %s", kind, reason, typesOf(t, h))
	}
}

func TestCredentialComesWithItsRecord(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	resp, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetCredential().GetAws().GetSecretAccessKey() == "" || resp.GetGrant().GetState() != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Fatalf("grant %v", resp.GetGrant())
	}
	v, err := note.NewVerifier(h.Key.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(resp.GetReceipt().GetCheckpoint()), note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(n.Text, "\n")
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	if err := json.Unmarshal([]byte(lines[1]), &size); err != nil {
		t.Fatal(err)
	}
	var proof tlog.RecordProof
	for _, p := range resp.GetReceipt().GetInclusionProof() {
		proof = append(proof, tlog.Hash(p))
	}
	if err := tlog.CheckRecord(proof, size, root, resp.GetReceipt().GetIndex(), tlog.RecordHash(resp.GetReceipt().GetRecord())); err != nil {
		t.Fatal(err)
	}
	if got, want := typesOf(t, h), "broker.started task.opened grant.cleared issuance.intended issuance.issued"; got != want {
		t.Errorf("records %s, want %s", got, want)
	}
}

// A grant and each of its records say why the tier is what it is, and which permissions they are about.
func TestTierReasonsAndPermissionsAreRecorded(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	r := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	explained, err := c.ExplainScope(t.Context(), &valetkeyv1.ExplainScopeRequest{Scope: r.GetScope(), Parameters: r.GetParameters(), Environment: "production"})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(explained.GetPermissions()))
	digest, reasons := hex.EncodeToString(sum[:]), strings.Join(explained.GetTierReasons(), "; ")
	resp, err := c.RequestGrant(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: resp.GetGrant().GetId()}); err != nil {
		t.Fatal(err)
	}
	listed, err := h.OperatorClient().ListGrants(t.Context(), &valetkeyv1.OperatorServiceListGrantsRequest{})
	if err != nil || len(listed.GetGrants()) != 1 {
		t.Fatalf("%v, %v", listed, err)
	}
	for _, g := range []*valetkeyv1.Grant{resp.GetGrant(), listed.GetGrants()[0]} {
		if g.GetPermissionsDigest() != digest || strings.Join(g.GetTierReasons(), "; ") != reasons || !strings.Contains(reasons, "s3:PutObject") {
			t.Errorf("the grant says %q of %s, want %q of %s", g.GetTierReasons(), g.GetPermissionsDigest(), reasons, digest)
		}
	}
	about := 0
	for _, raw := range h.Records() {
		var rec struct {
			Type, Tier  string
			TierReasons []string `json:"tier_reasons"`
			Permissions string   `json:"permissions_digest"`
		}
		if err := json.Unmarshal([]byte(raw), &rec); err != nil {
			t.Fatal(err)
		}
		if rec.Tier == "" {
			continue
		}
		about++
		if rec.Permissions != digest || strings.Join(rec.TierReasons, "; ") != reasons {
			t.Errorf("%s says %q of %q", rec.Type, rec.TierReasons, rec.Permissions)
		}
	}
	if about < 5 { // cleared, and twice intended and issued
		t.Errorf("%d records are about the grant's permissions", about)
	}
}

func TestSecretsAreNowhere(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	if _, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1")); err != nil {
		t.Fatal(err)
	}
	h.Stop() // so that all is in the files
	places := h.Logs()
	err := filepath.WalkDir(h.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		places += string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	secrets := h.Minter.Secrets()
	if len(secrets) == 0 {
		t.Fatal("nothing was minted")
	}
	for _, s := range secrets {
		if strings.Contains(places, s) {
			t.Error("a secret is in the store or the log")
		}
	}
}

func TestRefusals(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 6000, Burst: 1000}})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	long := strings.Repeat("x", 10<<20)
	for name, tc := range map[string]struct {
		edit   func(*valetkeyv1.RequestGrantRequest)
		code   codes.Code
		reason string
	}{
		"wildcard":       {func(r *valetkeyv1.RequestGrantRequest) { r.Parameters["prefix"] = vals("a/*") }, codes.InvalidArgument, "INVALID_PARAMETER"},
		"IAM variable":   {func(r *valetkeyv1.RequestGrantRequest) { r.Parameters["prefix"] = vals("${aws:username}") }, codes.InvalidArgument, "INVALID_PARAMETER"},
		"newline":        {func(r *valetkeyv1.RequestGrantRequest) { r.Parameters["prefix"] = vals("a\nb") }, codes.InvalidArgument, "INVALID_PARAMETER"},
		"two for one":    {func(r *valetkeyv1.RequestGrantRequest) { r.Parameters["prefix"] = vals("a/", "b/") }, codes.InvalidArgument, "INVALID_PARAMETER"},
		"missing":        {func(r *valetkeyv1.RequestGrantRequest) { delete(r.Parameters, "prefix") }, codes.InvalidArgument, "INVALID_PARAMETER"},
		"unknown":        {func(r *valetkeyv1.RequestGrantRequest) { r.Parameters["x"] = vals("a") }, codes.InvalidArgument, "INVALID_PARAMETER"},
		"2 KB":           {func(r *valetkeyv1.RequestGrantRequest) { r.Parameters["prefix"] = vals(long[:2048]) }, codes.InvalidArgument, "INVALID_REQUEST"},
		"10 MB":          {func(r *valetkeyv1.RequestGrantRequest) { r.Parameters["prefix"] = vals(long) }, codes.ResourceExhausted, ""},
		"unknown scope":  {func(r *valetkeyv1.RequestGrantRequest) { r.Scope = "s3-raed" }, codes.NotFound, "UNKNOWN_SCOPE"},
		"stale version":  {func(r *valetkeyv1.RequestGrantRequest) { r.ScopeVersion = "sha256:00" }, codes.FailedPrecondition, "STALE_SCOPE_VERSION"},
		"ttl over max":   {func(r *valetkeyv1.RequestGrantRequest) { r.Ttl = durationpb.New(9 * time.Hour) }, codes.InvalidArgument, "TTL_TOO_LONG"},
		"negative ttl":   {func(r *valetkeyv1.RequestGrantRequest) { r.Ttl = durationpb.New(-time.Hour) }, codes.InvalidArgument, "TTL_TOO_LONG"},
		"key too short":  {func(r *valetkeyv1.RequestGrantRequest) { r.IdempotencyKey = "k" }, codes.InvalidArgument, "INVALID_REQUEST"},
		"no such task":   {func(r *valetkeyv1.RequestGrantRequest) { r.TaskId = "task_" + strings.Repeat("a", 26) }, codes.NotFound, "TASK_NOT_FOUND"},
		"needs approval": {func(r *valetkeyv1.RequestGrantRequest) { r.Scope = "s3-bucket-rebuild"; delete(r.Parameters, "prefix") }, codes.FailedPrecondition, "NEEDS_APPROVAL"},
	} {
		t.Run(name, func(t *testing.T) {
			req := ask(task, "key-"+strings.ReplaceAll(name, " ", "-"))
			tc.edit(req)
			_, err := c.RequestGrant(t.Context(), req)
			wantReason(t, err, tc.code, tc.reason)
		})
	}
	if h.Minter.Live() != 0 {
		t.Errorf("%d credentials came of refusals", h.Minter.Live())
	}
	wantRecord(t, h, "grant.needs_approval", "NEEDS_APPROVAL")
	wantRecord(t, h, "refusal.recorded", "INVALID_PARAMETER")
	// What was refused left nothing half done: the same key serves a good request.
	if _, err := c.RequestGrant(t.Context(), ask(task, "key-wildcard")); err != nil {
		t.Error(err)
	}
}

func TestNeedsApprovalSaysWhat(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	req := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	req.Scope = "s3-bucket-rebuild"
	delete(req.Parameters, "prefix")
	for range 2 { // a repeat gets the same answer, not a way round it
		_, err := c.RequestGrant(t.Context(), req)
		wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
		said := 0
		for _, d := range status.Convert(err).Details() {
			switch d := d.(type) {
			case *errdetails.ErrorInfo:
				if d.GetMetadata()["grant_id"] == "" {
					t.Errorf("details %v", d.GetMetadata())
				}
			case *valetkeyv1.ApprovalNeeded:
				if needs := d.GetNeeds(); len(needs) != 1 || needs[0].GetGroup() != "sre" || needs[0].GetApprovals() != 2 {
					t.Errorf("needs %v", needs)
				}
				said++
			}
		}
		if said != 1 {
			t.Errorf("what is needed is said %d times", said)
		}
	}
	if n := strings.Count(typesOf(t, h), "grant.needs_approval"); n != 1 {
		t.Errorf("%d records of one request", n)
	}
}

func TestIdempotency(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	if again := openTask(t, c, "task-key-1"); again != task {
		t.Errorf("a repeat opened %s besides %s", again, task)
	}
	_, err := c.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "other", Environment: "production"})
	wantReason(t, err, codes.AlreadyExists, "IDEMPOTENCY_CONFLICT")

	req := ask(task, "grant-key-1")
	req.Mint = false
	first, err := c.RequestGrant(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.RequestGrant(t.Context(), req)
	if err != nil || second.GetGrant().GetId() != first.GetGrant().GetId() {
		t.Errorf("a repeat made %v, %v", second.GetGrant(), err)
	}
	req.Parameters["prefix"] = vals("other/")
	_, err = c.RequestGrant(t.Context(), req)
	wantReason(t, err, codes.AlreadyExists, "IDEMPOTENCY_CONFLICT")

	id := first.GetGrant().GetId()
	if _, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: id}); err != nil {
		t.Fatal(err)
	}
	_, err = c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: id})
	wantReason(t, err, codes.AlreadyExists, "ALREADY_ISSUED")
	if h.Minter.Live() != 1 {
		t.Errorf("%d credentials for one key", h.Minter.Live())
	}
}

func TestTwoAtOnceWithOneKey(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	req := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			_, err := c.RequestGrant(t.Context(), req)
			errs <- err
		}()
	}
	delivered := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			delivered++
		} else {
			wantReason(t, err, codes.AlreadyExists, "ALREADY_ISSUED")
		}
	}
	if delivered != 1 || h.Minter.Live() != 1 {
		t.Errorf("%d delivered, %d live", delivered, h.Minter.Live())
	}
}

func TestGuard(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 60, Burst: 3}})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	first, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.RequestGrant(t.Context(), ask(task, "grant-key-2")); err != nil {
		t.Fatal(err)
	}
	_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-3"))
	wantReason(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	h.Stop() // a restart forgets nothing
	h.Start()
	c = h.AgentClient(brokertest.Agent)
	_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-3"))
	wantReason(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	h.Clock.Add(10 * time.Second)

	op := h.OperatorClient()
	if _, err := op.SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: brokertest.Agent, Frozen: true, KeepLive: true, Cause: "incident"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-4"))
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
	_, err = c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: first.GetGrant().GetId()})
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
	// Another session of the same user is another agent, unless the user is frozen.
	h.Clock.Add(10 * time.Second)
	session := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/agent/alice/s2")
	other := openTask(t, session, "task-key-2")
	if _, err := session.RequestGrant(t.Context(), ask(other, "grant-key-5")); err != nil {
		t.Error(err)
	}
	if _, err := op.SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: "spiffe://" + brokertest.TrustDomain + "/agent/alice", Frozen: true, KeepLive: true, Cause: "incident"}); err != nil {
		t.Fatal(err)
	}
	_, err = session.RequestGrant(t.Context(), ask(other, "grant-key-6"))
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
	h.Clock.Add(10 * time.Second)
	if _, err := op.SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: "spiffe://" + brokertest.TrustDomain + "/agent/alice", Cause: "over"}); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, h, "issuance.refused", "FROZEN")
	wantRecord(t, h, "agent.frozen", "")
	if _, err := op.SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: brokertest.Agent, Cause: "over"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-2", GrantId: first.GetGrant().GetId()}); err != nil {
		t.Error(err)
	}
}

func TestOthersSeeNothing(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	g, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	id := g.GetGrant().GetId()
	mallory := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/agent/mallory/s1")
	_, err = mallory.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	wantReason(t, err, codes.NotFound, "TASK_NOT_FOUND")
	_, err = mallory.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: id})
	wantReason(t, err, codes.NotFound, "GRANT_NOT_FOUND")
	_, err = mallory.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: id})
	wantReason(t, err, codes.NotFound, "GRANT_NOT_FOUND")
	_, err = mallory.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: task})
	wantReason(t, err, codes.NotFound, "TASK_NOT_FOUND")
	op := valetkeyv1.NewOperatorServiceClient(h.Dial(brokertest.Agent))
	_, err = op.RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: id, Cause: "x"})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	wantRecord(t, h, "refusal.recorded", "CALLER_NOT_ALLOWED")
	_, err = h.AgentClient("spiffe://"+brokertest.TrustDomain+"/database").ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
}
