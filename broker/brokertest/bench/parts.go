package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// single is one caller that does f.
func single(f func(context.Context) error) func(int) (op, error) {
	return func(int) (op, error) { return f, nil }
}

const benchScope = `name: scope-%04d
description: Read one prefix.
provider: aws
role: s3
params:
  bucket: {type: s3_bucket, description: The bucket.}
statements:
  - actions: [s3:GetObject]
    resources: ["arn:aws:s3:::{bucket}/*"]
ttl: {default: 15m, max: 1h}
`

// decide is row (c): the engine beside a bare scan of the same policies by cedar-go.
func (t *bench) decide(auth *devauthority.Authority) {
	id, err := auth.ID("agent", "user-0", "s1")
	t.must(err)
	a, err := identity.New(identity.Config{TrustDomains: []string{trustDomain}, PathTemplates: []string{"/agent/{user}/{session}"}}, auth.X509Bundle(), nil)
	t.must(err)
	svid, err := auth.Source(id).GetX509SVID()
	t.must(err)
	agent, err := a.AuthenticateX509(svid.Certificates)
	t.must(err)
	for _, n := range []int{10, 100, 1000} {
		dir := t.TempDir()
		text := policies(n)
		t.must(os.MkdirAll(filepath.Join(dir, "policies"), 0o700))
		for i := range n / 10 {
			t.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("s%04d.yaml", i)), fmt.Appendf(nil, benchScope, i), 0o600))
		}
		t.must(os.WriteFile(filepath.Join(dir, "policies", "policy.yaml"), []byte("approval_groups: [sre]\nagent_paths: [\"/agent/{user}/{session}\"]\n"), 0o600))
		t.must(os.WriteFile(filepath.Join(dir, "policies", "bench.cedar"), []byte(text), 0o600))
		cat, err := scopes.Load(dir)
		t.must(err)
		engine, err := policy.Load(dir, cat)
		t.must(err)
		req, err := cat.Resolve(scopes.Query{Dialect: iam.DialectAWS, Scope: "scope-0000", Params: map[string][]string{"bucket": {"prod-data"}}})
		t.must(err)
		in := policy.Input{Agent: agent, Request: req, Now: time.Now(), TTL: req.TTL(), Task: policy.Task{ID: "task", Environment: "production"}}
		set, err := cedar.NewPolicySetFromBytes("bench.cedar", []byte(text))
		t.must(err)
		entities, bare := cedarRequest(id.String())
		t.compare("c", []int{1},
			way{fmt.Sprintf("**Decide**, %d policies", n), single(func(ctx context.Context) error {
				d, err := engine.Decide(ctx, in)
				if err == nil && d.Outcome() != policy.Allow {
					err = fmt.Errorf("decided %v", d.Outcome())
				}
				return err
			})},
			way{fmt.Sprintf("cedar-go alone, %d policies", n), single(func(context.Context) error {
				if ok, diag := cedar.Authorize(set, entities, bare); ok != cedar.Allow {
					return fmt.Errorf("cedar-go: %v", diag.Errors)
				}
				return nil
			})},
		)
	}
}

// policies has most name a scope of their own, and one in fifty be about all.
func policies(n int) string {
	var b strings.Builder
	for i := range n {
		name := fmt.Sprintf("scope-%04d", i%(n/10))
		switch {
		case i%50 == 49:
			fmt.Fprintf(&b, "@id(\"p%d\") forbid (principal, action, resource) when { principal.user == \"banned-%d\" };\n", i, i)
		case i%10 == 9:
			fmt.Fprintf(&b, "@id(\"p%d\") forbid (principal, action == Valetkey::Action::%q, resource) when { context.tier == \"destructive\" } unless { context.approvals.sre >= 2 };\n", i, name)
		default:
			fmt.Fprintf(&b, "@id(\"p%d\") permit (principal, action == Valetkey::Action::%q, resource) when { principal.user == \"user-%d\" && context.params.bucket like \"prod-*\" && context.environments.contains(\"unvouched\") };\n", i, name, i/(n/10))
		}
	}
	return b.String()
}

func cedarRequest(agent string) (types.EntityMap, cedar.Request) {
	principal := types.NewEntityUID("Valetkey::Agent", types.String(agent))
	resource := types.NewEntityUID("Valetkey::Scope", "scope-0000")
	return types.EntityMap{
			principal: {UID: principal, Attributes: types.NewRecord(types.RecordMap{"user": types.String("user-0")})},
		}, cedar.Request{
			Principal: principal, Action: types.NewEntityUID("Valetkey::Action", "scope-0000"), Resource: resource,
			Context: types.NewRecord(types.RecordMap{
				"tier": types.String("read"), "environments": types.NewSet(types.String("unvouched")),
				"params":    types.NewRecord(types.RecordMap{"bucket": types.String("prod-data")}),
				"approvals": types.NewRecord(types.RecordMap{"sre": types.Long(0)}),
			}),
		}
}

// compile is row (d): resolving, compiling, binding and printing a request, beside
// what scripts do instead, which is to fill in a template and see that it is JSON.
func (t *bench) compile(cat *scopes.Catalog) {
	deadline := time.Now().Add(time.Hour)
	filled := template.Must(template.New("policy").Parse(strings.ReplaceAll(t.document(cat, iam.DialectAWS), "bench/reports/", "{{.Bucket}}/{{.Prefix}}")))
	data := struct{ Bucket, Prefix string }{"bench", "reports/"}
	t.compare("d", []int{1},
		way{"**resolve and compile**", single(func(context.Context) error {
			_, err := cat.Resolve(query())
			return err
		})},
		way{"**resolve, compile, bind and print**", single(func(context.Context) error {
			req, err := cat.Resolve(query())
			if err != nil {
				return err
			}
			bound, err := iam.Bind(*req.Permissions().AWS, iam.Limits{NotAfter: deadline, Dialect: iam.DialectAWS})
			if err != nil {
				return err
			}
			_, err = bound.Marshal()
			return err
		})},
		way{"text/template and json.Valid", single(func(context.Context) error {
			var b bytes.Buffer
			if err := filled.Execute(&b, data); err != nil {
				return err
			}
			if !json.Valid(b.Bytes()) {
				return errors.New("the filled template is not JSON")
			}
			return nil
		})},
	)
}

// ledger is row (e): a durable record beside a durable row, and a proof from disk
// beside one from memory.
func (t *bench) ledger() {
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "ledger.key")
	t.must(ledger.GenerateKey(keyFile, "bench.example.org/log"))
	key, err := ledger.LoadKey(keyFile)
	t.must(err)
	st, err := sqlite.Open(t.ctx, sqlite.Config{Path: filepath.Join(dir, "ledger.db"), Seal: key.Seal})
	t.must(err)
	t.Cleanup(func() { t.note(st.Close()) })
	l := ledger.New(st, time.Now)
	record := grant.Damaged(strings.Repeat("x", 660))

	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "plain.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_txlock=immediate")
	t.must(err)
	t.Cleanup(func() { t.note(db.Close()) })
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(t.ctx, "CREATE TABLE rows (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
	t.must(err)
	insert, err := db.PrepareContext(t.ctx, "INSERT INTO rows (data) VALUES (?)")
	t.must(err)
	body := bytes.Repeat([]byte("x"), 800)

	t.compare("e", []int{1, 64},
		way{"**append a record, durable**", single(func(ctx context.Context) error { return l.Write(ctx, record) })},
		way{"SQLite row of that size, durable", single(func(ctx context.Context) error {
			_, err := insert.ExecContext(ctx, body)
			return err
		})},
	)

	var head store.Head
	t.must(st.View(t.ctx, func(r store.Reader) (err error) {
		head, err = r.Head()
		return err
	}))
	memory, err := copyHashes(t.ctx, st, head.Size)
	t.must(err)
	t.compare("e", []int{1},
		way{fmt.Sprintf("**prove one of %d records**", head.Size), single(func(ctx context.Context) error {
			_, err := l.Prove(ctx, rand.N(head.Size))
			return err
		})},
		way{"the same by tlog, from memory", single(func(context.Context) error {
			_, err := tlog.ProveRecord(head.Size, rand.N(head.Size), memory)
			return err
		})},
	)
}

// copyHashes takes a log's stored hashes into memory.
func copyHashes(ctx context.Context, st store.Store, size int64) (tlog.HashReaderFunc, error) {
	all := make([]tlog.Hash, 0, tlog.StoredHashCount(size))
	err := st.View(ctx, func(r store.Reader) error {
		const chunk = 10_000
		for len(all) < cap(all) {
			var indexes []int64
			for i := range min(chunk, cap(all)-len(all)) {
				indexes = append(indexes, int64(len(all)+i))
			}
			some, err := r.ReadHashes(indexes)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
		return nil
	})
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = all[at]
		}
		return out, nil
	}, err
}
