package vaultplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/vaultplugin"
)

// storage is Vault's, with everything that was ever put, and faults on demand.
type storage struct {
	logical.InmemStorage

	mu          sync.Mutex
	ever        []string               // locked by mu
	put, delete func(key string) error // of the next calls; locked by mu
}

func (s *storage) hook(fn func(*storage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
}

func (s *storage) Put(ctx context.Context, e *logical.StorageEntry) error {
	s.mu.Lock()
	s.ever = append(s.ever, e.Key+" "+string(e.Value))
	fail := s.put
	s.mu.Unlock()
	if fail != nil {
		if err := fail(e.Key); err != nil {
			return err
		}
	}
	return s.InmemStorage.Put(ctx, e)
}

func (s *storage) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	fail := s.delete
	s.mu.Unlock()
	if fail != nil {
		if err := fail(key); err != nil {
			return err
		}
	}
	return s.InmemStorage.Delete(ctx, key)
}

// mount is the plugin in this process, as Vault would call it, on a real broker.
type mount struct {
	*brokertest.Harness
	backend logical.Backend
	store   *storage
	view    logical.StaticSystemView
}

func newMount(t *testing.T, changes map[string]any) *mount {
	t.Helper()
	return newLimited(t, guard.Config{RatePerMinute: 600_000, Burst: 10_000}, changes)
}

func newLimited(t *testing.T, limits guard.Config, changes map[string]any, people ...brokertest.Person) *mount {
	t.Helper()
	m := &mount{store: &storage{}, Harness: brokertest.NewRunning(t, brokertest.Config{
		Guard:     limits,
		People:    people,
		Delegates: []identity.Delegate{{ID: delegateID, Agents: []string{"/agent/{user}/vault"}}},
	})}
	m.view = logical.StaticSystemView{EntityVal: &logical.Entity{ID: "e1", Name: "alice", NamespaceID: "root"}}
	m.crash(t)
	socket := filepath.Join(shortDir(t), "api.sock")
	must(t, m.Authority.Serve(t.Context(), socket, spiffeid.RequireFromString(delegateID)))
	c := map[string]any{
		"address": m.Addr(), "broker_id": brokerID, "workload_api": "unix://" + socket, "ledger_key": m.Key.VerifierKey(),
		"agent_template": "spiffe://example.org/agent/{{identity.entity.name}}/vault", "environment": "staging",
	}
	for k, v := range changes {
		c[k] = v
	}
	_, err := m.call(t.Context(), logical.UpdateOperation, "config", c)
	must(t, err)
	return m
}

// crash replaces the process: what was in memory is gone, and storage stays.
func (m *mount) crash(t *testing.T) {
	t.Helper()
	b, err := vaultplugin.Factory("v0.0.0")(context.Background(), &logical.BackendConfig{System: &m.view})
	must(t, err)
	t.Cleanup(func() { b.Cleanup(context.Background()) })
	m.backend = b
}

func (m *mount) call(ctx context.Context, op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	return m.backend.HandleRequest(ctx, &logical.Request{
		Operation: op, Path: path, Data: data, Storage: m.store, EntityID: "e1", MountPoint: "valetkey/",
	})
}

func (m *mount) creds(ctx context.Context, more map[string]any) (*logical.Response, error) {
	data := map[string]any{"bucket": "prod", "prefix": "reports/", "purpose": "a test"}
	for k, v := range more {
		data[k] = v
	}
	return m.call(ctx, logical.ReadOperation, "creds/s3-prefix-read", data)
}

func (m *mount) rollback() error {
	resp, err := m.call(context.Background(), logical.RollbackOperation, "", map[string]any{"immediate": true})
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	return err
}

// clean is when nothing is left behind: no credential, no open task, no log entry.
func (m *mount) clean(t *testing.T) {
	t.Helper()
	brokertest.Eventually(t, "no credential works", func() bool { return m.Minter.Live() == 0 })
	keys, err := m.store.List(t.Context(), "wal/")
	must(t, err)
	if len(keys) > 0 {
		t.Errorf("%d entries are left in the write-ahead log", len(keys))
	}
	if opened, closed := m.count("task.opened"), m.count("task.closed"); opened != closed {
		t.Errorf("%d tasks were opened and %d closed", opened, closed)
	}
}

func (m *mount) count(kind string) int { return count(m.Records(), kind) }

var errFault = errors.New("a fault")

// errKilled stands for the end of the process: nothing after it runs.
var errKilled = errors.New("killed")

// TestFaults fails each step of getting a credential.
func TestFaults(t *testing.T) {
	t.Parallel()
	onWAL := func(err error) func(string) error {
		return func(key string) error {
			if strings.HasPrefix(key, "wal/") {
				return err
			}
			return nil
		}
	}
	for name, fault := range map[string]func(*mount){
		"the log cannot be written":   func(m *mount) { m.store.hook(func(s *storage) { s.put = onWAL(errFault) }) },
		"the log cannot be committed": func(m *mount) { m.store.hook(func(s *storage) { s.delete = onWAL(errFault) }) },
		"nothing is minted": func(m *mount) {
			m.Minter.Set(func(mi *brokertest.Minter) { mi.BeforeMint = func(mint.Order) error { return mint.ErrUnavailable } })
		},
		"the answer of STS is lost": func(m *mount) {
			m.Minter.Set(func(mi *brokertest.Minter) { mi.AfterMint = func(mint.Order) error { return mint.ErrUnavailable } })
		},
		"the broker is away": func(m *mount) { m.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t, nil)
			fault(m)
			if resp, err := m.creds(t.Context(), nil); err == nil {
				t.Fatalf("a credential came: %v", resp)
			}
			m.store.hook(func(s *storage) { s.put, s.delete = nil, nil })
			if name == "the broker is away" {
				if err := m.rollback(); err == nil {
					t.Error("it was rolled back without a broker")
				}
				m.Start()
				_, err := m.call(t.Context(), logical.UpdateOperation, "config", map[string]any{"address": m.Addr()})
				must(t, err)
			}
			must(t, m.rollback())
			m.clean(t)
		})
	}
}

// TestKilled ends the plugin's process at each step, and has its successor roll
// back what was left.
func TestKilled(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(m *mount, die func()){
		"before the task": func(m *mount, die func()) {
			m.store.hook(func(s *storage) {
				s.put = func(key string) error {
					s.hook(func(s *storage) { s.put = nil })
					must(m.T, s.InmemStorage.Put(context.Background(), &logical.StorageEntry{Key: key, Value: []byte(lastOf(s, key))}))
					die()
					return errKilled
				}
			})
		},
		"before the minting": func(m *mount, die func()) {
			m.Minter.Set(func(mi *brokertest.Minter) { mi.BeforeMint = func(mint.Order) error { die(); return nil } })
		},
		"after the minting": func(m *mount, die func()) {
			m.Minter.Set(func(mi *brokertest.Minter) { mi.AfterMint = func(mint.Order) error { die(); return nil } })
		},
		"before the commit": func(m *mount, die func()) {
			m.store.hook(func(s *storage) { s.delete = func(string) error { die(); return errKilled } })
		},
	} {
		for _, in := range []string{"a task of its own", "a task of the caller's"} {
			t.Run(name+" in "+in, func(t *testing.T) {
				t.Parallel()
				m := newMount(t, nil)
				var task string
				more := map[string]any{}
				if in != "a task of its own" {
					resp, err := m.call(t.Context(), logical.UpdateOperation, "tasks", map[string]any{"purpose": "a test"})
					must(t, err)
					task, _ = resp.Data["task"].(string)
					more["task"] = task
				}
				dead, cancel := context.WithCancel(t.Context())
				defer cancel()
				// A process that was killed says nothing more to anybody: its calls are cut
				// off, and its storage takes no more.
				die := sync.OnceFunc(func() {
					cancel()
					m.store.hook(func(s *storage) {
						s.put = func(string) error { return errKilled }
						s.delete = s.put
					})
					m.backend.Cleanup(context.Background())
				})
				kill(m, die)
				if resp, err := m.creds(dead, more); err == nil {
					t.Fatalf("a credential came: %v", resp.Data["grant"])
				}
				m.Minter.Set(func(mi *brokertest.Minter) { mi.BeforeMint, mi.AfterMint = nil, nil })
				m.store.hook(func(s *storage) { s.put, s.delete = nil, nil })
				m.crash(t)
				must(t, m.rollback())
				brokertest.Eventually(t, "no credential works, and the caller's task is open still", func() bool { return m.Minter.Live() == 0 })
				if task != "" {
					_, err := m.call(t.Context(), logical.DeleteOperation, "tasks/"+task, nil)
					must(t, err)
				}
				m.clean(t)
			})
		}
	}
}

// lastOf is what was last put under key.
func lastOf(s *storage, key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, value, _ := strings.Cut(s.ever[len(s.ever)-1], key+" ")
	return value
}

// TestReadOnly has a performance standby ask for nothing, so that the active node
// is the one that does.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	m := newMount(t, nil)
	before := len(m.Records())
	m.view.ReplicationStateVal = consts.ReplicationPerformanceStandby
	for path, op := range map[string]logical.Operation{
		"creds/s3-prefix-read": logical.ReadOperation, "tasks": logical.UpdateOperation, "config": logical.UpdateOperation,
	} {
		if _, err := m.call(t.Context(), op, path, map[string]any{"bucket": "prod", "prefix": "reports/", "purpose": "a test"}); !errors.Is(err, logical.ErrReadOnly) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// Where Vault does not say what it is, the log's write does, before any effect.
	m.view.ReplicationStateVal = 0
	m.store.hook(func(s *storage) { s.put = func(string) error { return logical.ErrReadOnly } })
	if _, err := m.creds(t.Context(), nil); !errors.Is(err, logical.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	if after := len(m.Records()); after != before {
		t.Errorf("the broker was asked: %d records more", after-before)
	}
}

// TestNoSecretIsStored greps all that was ever put into storage, and into leases.
func TestNoSecretIsStored(t *testing.T) {
	t.Parallel()
	m := newMount(t, nil)
	var leases []*logical.Response
	own, err := m.creds(t.Context(), map[string]any{"lease": "60s"})
	must(t, err)
	task, err := m.call(t.Context(), logical.UpdateOperation, "tasks", map[string]any{"purpose": "a test"})
	must(t, err)
	shared, err := m.creds(t.Context(), map[string]any{"task": task.Data["task"]})
	must(t, err)
	leases = append(leases, own, task, shared)
	all := m.store.ever
	for _, l := range leases {
		raw, err := json.Marshal(l.Secret.InternalData)
		must(t, err)
		all = append(all, string(raw))
	}
	if len(m.Minter.Secrets()) != 2 || len(all) < 7 {
		t.Fatalf("%d secrets and %d things stored", len(m.Minter.Secrets()), len(all))
	}
	for _, secret := range m.Minter.Secrets() {
		if own.Data["secret_key"] != secret && shared.Data["secret_key"] != secret {
			t.Error("a secret was minted that nobody has")
		}
		for _, text := range all {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is stored in %.60s", text)
			}
		}
	}
	for _, l := range leases {
		_, err := m.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: m.store, Secret: l.Secret})
		must(t, err)
	}
	m.clean(t)
}

// TestAgentTemplate is who callers are, and that no name of theirs is more than one
// segment.
func TestAgentTemplate(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"alice": "", "alice.smith-1": "", "alice/s1": "SPIFFE ID", "..": "SPIFFE ID", "alice/../root": "SPIFFE ID", "alice smith": "SPIFFE ID",
		"älice": "SPIFFE ID", "a@b": "SPIFFE ID", "": "makes no agent",
	} {
		m := newMount(t, nil)
		m.view.EntityVal.Name = name
		resp, err := m.call(t.Context(), logical.ListOperation, "scopes", nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", name, resp, err, want)
		}
	}
	for template, want := range map[string]string{
		"spiffe://example.org/agent/{{identity.entity.name}}/{{identity.entity.namespace_id}}": "",
		"spiffe://example.org/agent/vault":                     "says nothing of the caller",
		"spiffe://{{identity.entity.name}}/agent/a":            "trust domain",
		"/agent/{{identity.entity.name}}":                      "no template",
		"spiffe://example.org/agent//{{identity.entity.name}}": "segment",
		"spiffe://example.org/agent/{{identity.entity.name":    "unbalanced",
	} {
		m := newMount(t, nil)
		_, err := m.call(t.Context(), logical.UpdateOperation, "config", map[string]any{"agent_template": template})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", template, err, want)
		}
	}
	m := newMount(t, nil)
	m.view.EntityVal = nil
	if _, err := m.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.ListOperation, Path: "scopes", Storage: m.store}); err == nil || !strings.Contains(err.Error(), "no identity entity") {
		t.Errorf("without an entity: %v", err)
	}
}
