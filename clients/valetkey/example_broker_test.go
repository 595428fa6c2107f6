package valetkey_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestMain prepares the environment that the examples read: a Workload API, and a
// broker that says yes to nearly all, since examples have no testing.T to start the
// real one with. Its ledger is honest.
func TestMain(m *testing.M) {
	code, err := withExampleBroker(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the examples' broker:", err)
		code = 1
	}
	os.Exit(code)
}

func withExampleBroker(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "vk-example-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	authority, err := devauthority.New(devauthority.Config{TrustDomain: brokertest.TrustDomain, SocketDir: filepath.Join(dir, "s")})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, authority.Close()) }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := authority.Serve(ctx, "agent.sock", spiffeid.RequireFromString(brokertest.Agent)); err != nil {
		return 0, err
	}
	socket, err := authority.SocketPath("agent.sock")
	if err != nil {
		return 0, err
	}
	source := authority.Source(brokerID)
	conf := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeMemberOf(brokerID.TrustDomain()))
	conf.MinVersion = tls.VersionTLS13
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	b, vkey, err := newExampleBroker()
	if err != nil {
		return 0, err
	}
	defer b.vault.Close()
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	valetkeyv1.RegisterAgentServiceServer(srv, b)
	go func() { _ = srv.Serve(l) }() // ended by Stop
	defer srv.Stop()
	for name, value := range map[string]string{
		valetkey.EnvAddr: l.Addr().String(), valetkey.EnvBrokerID: brokerID.String(), valetkey.EnvWorkloadAPI: "unix://" + socket, valetkey.EnvLedgerKey: vkey,
	} {
		if err := os.Setenv(name, value); err != nil {
			return 0, err
		}
	}
	return run(), nil
}

type exampleBroker struct {
	valetkeyv1.UnimplementedAgentServiceServer
	signer note.Signer
	vault  *httptest.Server

	mu     sync.Mutex
	size   int64                        // locked by mu
	hashes []tlog.Hash                  // locked by mu
	grants map[string]*valetkeyv1.Grant // locked by mu
}

func newExampleBroker() (*exampleBroker, string, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example.org/valetkey")
	if err != nil {
		return nil, "", err
	}
	signer, err := note.NewSigner(skey)
	b := &exampleBroker{signer: signer, grants: map[string]*valetkeyv1.Grant{}}
	b.vault = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/secret/data/web/smtp" || r.Header.Get("X-Vault-Token") != "hvs.example" {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"data":{"data":{"host":"mail.example.org"},"metadata":{"version":1,"created_time":"2026-11-24T00:00:00Z","deletion_time":""}}}`))
	}))
	return b, vkey, err
}

func exampleID(kind string) string { return kind + "_" + strings.ToLower(rand.Text()) }

func (b *exampleBroker) OpenTask(context.Context, *valetkeyv1.OpenTaskRequest) (*valetkeyv1.OpenTaskResponse, error) {
	return &valetkeyv1.OpenTaskResponse{Task: &valetkeyv1.Task{Id: exampleID("task")}}, nil
}

func (b *exampleBroker) CloseTask(context.Context, *valetkeyv1.CloseTaskRequest) (*valetkeyv1.CloseTaskResponse, error) {
	return &valetkeyv1.CloseTaskResponse{}, nil
}

func (b *exampleBroker) RequestGrant(_ context.Context, r *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
	g := &valetkeyv1.Grant{
		Id: exampleID("grant"), TaskId: r.GetTaskId(), AgentSpiffeId: brokertest.Agent, Scope: r.GetScope(), ScopeVersion: "sha256:1",
		Parameters: r.GetParameters(), EnvelopeDigest: "1", State: valetkeyv1.GrantState_GRANT_STATE_CLEARED, ExpiresAt: timestamppb.New(time.Now().Add(15 * time.Minute)),
	}
	if r.GetScope() == "s3-bucket-rebuild" {
		g.State, g.ExpiresAt, g.DecideBy = valetkeyv1.GrantState_GRANT_STATE_PENDING, nil, g.GetExpiresAt()
		g.Needs = []*valetkeyv1.Need{{Group: "sre", Approvals: 2}}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grants[g.GetId()] = g
	if !r.GetMint() || g.GetState() == valetkeyv1.GrantState_GRANT_STATE_PENDING {
		return &valetkeyv1.RequestGrantResponse{Grant: g}, nil
	}
	c, receipt, err := b.mintLocked(g)
	return &valetkeyv1.RequestGrantResponse{Grant: g, Credential: c, Receipt: receipt}, err
}

// WatchGrant has people approve in the moment that somebody waits for them.
func (b *exampleBroker) WatchGrant(r *valetkeyv1.WatchGrantRequest, stream grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
	b.mu.Lock()
	g := proto.CloneOf(b.grants[r.GetGrantId()])
	g.State, g.ExpiresAt, g.DecideBy = valetkeyv1.GrantState_GRANT_STATE_CLEARED, g.GetDecideBy(), nil
	b.grants[g.GetId()] = g
	b.mu.Unlock()
	return stream.Send(&valetkeyv1.WatchGrantResponse{Grant: g})
}

func (b *exampleBroker) MintCredential(_ context.Context, r *valetkeyv1.MintCredentialRequest) (*valetkeyv1.MintCredentialResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, receipt, err := b.mintLocked(b.grants[r.GetGrantId()])
	return &valetkeyv1.MintCredentialResponse{Credential: c, Receipt: receipt}, err
}

func (b *exampleBroker) ReleaseGrant(_ context.Context, r *valetkeyv1.ReleaseGrantRequest) (*valetkeyv1.ReleaseGrantResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.grants[r.GetGrantId()]
	g.State = valetkeyv1.GrantState_GRANT_STATE_RELEASED
	return &valetkeyv1.ReleaseGrantResponse{Grant: g}, nil
}

func (b *exampleBroker) GetConsistencyProof(_ context.Context, r *valetkeyv1.GetConsistencyProofRequest) (*valetkeyv1.GetConsistencyProofResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	proof, err := tlog.ProveTree(r.GetNewSize(), r.GetOldSize(), b.reader())
	return &valetkeyv1.GetConsistencyProofResponse{Proof: raw(proof)}, err
}

// mintLocked makes a credential and puts it on the record.
func (b *exampleBroker) mintLocked(g *valetkeyv1.Grant) (*valetkeyv1.Credential, *valetkeyv1.Receipt, error) {
	c := &valetkeyv1.Credential{ExpiresAt: g.GetExpiresAt()}
	rec := map[string]any{
		"type": "issuance.issued", "time": time.Now(), "agent_spiffe_id": g.GetAgentSpiffeId(), "task_id": g.GetTaskId(), "grant_id": g.GetId(),
		"issuance_id": exampleID("iss"), "scope": g.GetScope() + "@" + g.GetScopeVersion(), "envelope_digest": g.GetEnvelopeDigest(), "not_after": g.GetExpiresAt().AsTime(),
	}
	switch {
	case strings.HasPrefix(g.GetScope(), "s3-"):
		key := "ASIA" + rand.Text()
		rec["access_key_id"] = key
		c.Kind = &valetkeyv1.Credential_Aws{Aws: &valetkeyv1.AwsCredential{AccessKeyId: key, SecretAccessKey: rand.Text(), SessionToken: rand.Text()}}
	case g.GetScope() == "db-creds":
		rec["vault_accessor"], rec["vault_lease_id"] = "a", "l"
		c.Kind = &valetkeyv1.Credential_Vault{Vault: &valetkeyv1.VaultCredential{
			Accessor: "a", LeaseId: "l", Address: b.vault.URL, DataJson: `{"username":"v-reader-1","password":"example"}`,
		}}
	default:
		rec["vault_accessor"] = "a"
		c.Kind = &valetkeyv1.Credential_Vault{Vault: &valetkeyv1.VaultCredential{Accessor: "a", Token: "hvs.example", Address: b.vault.URL}}
	}
	leaf, err := json.Marshal(rec)
	if err != nil {
		return nil, nil, err
	}
	hashes, err := tlog.StoredHashes(b.size, leaf, b.reader())
	if err != nil {
		return nil, nil, err
	}
	b.hashes, b.size = append(b.hashes, hashes...), b.size+1
	root, err := tlog.TreeHash(b.size, b.reader())
	if err != nil {
		return nil, nil, err
	}
	proof, err := tlog.ProveRecord(b.size, b.size-1, b.reader())
	if err != nil {
		return nil, nil, err
	}
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", b.signer.Name(), b.size, root)}, b.signer)
	return c, &valetkeyv1.Receipt{Index: b.size - 1, Record: leaf, InclusionProof: raw(proof), Checkpoint: string(signed)}, err
}

func (b *exampleBroker) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, n := range at {
			out[i] = b.hashes[n]
		}
		return out, nil
	})
}

func raw(hashes []tlog.Hash) (out [][]byte) {
	for _, h := range hashes {
		out = append(out, h[:])
	}
	return out
}
