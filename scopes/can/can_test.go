package can_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/can"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

func write() scopes.Permissions {
	return scopes.Permissions{Dialect: iam.DialectAWS, AWS: &iam.Policy{Version: iam.Version, Statements: []iam.Statement{
		{Effect: iam.Allow, Action: []string{"s3:GetObject", "s3:PutObject"}, Resource: []string{"arn:aws:s3:::prod/a/*"}},
		{Effect: iam.Allow, Action: []string{"s3:ListBucket"}, Resource: []string{"arn:aws:s3:::prod"},
			Condition: map[string]map[string][]string{"StringLike": {"s3:prefix": {"a/*"}}}},
	}}}
}

func ask(t *testing.T, p scopes.Permissions, action, resource string) can.Answer {
	t.Helper()
	a, err := can.Ask(p, can.Question{Action: action, Resource: resource, Now: time.Now(), TTL: time.Minute})
	if err != nil {
		t.Fatalf("%s on %s: %v", action, resource, err)
	}
	if len(a.Why) == 0 {
		t.Errorf("%s on %s: no why", action, resource)
	}
	return a
}

// One question, by who enforces. F8: to MinIO reading an old version is reading, listing versions is listing, and tags
// go with writing; and it believes what a caller says of a prefix.
func TestByDialect(t *testing.T) {
	const object, bucket = "arn:aws:s3:::prod/a/x", "arn:aws:s3:::prod"
	for _, x := range []struct {
		action, resource               string
		aws, minio, radosgw, versitygw iam.Answer
	}{
		{"s3:GetObject", object, iam.Yes, iam.Yes, iam.Yes, iam.Yes},
		{"s3:GetObject", "arn:aws:s3:::prod/b/x", iam.No, iam.No, iam.No, iam.No},
		{"s3:GetObjectVersion", object, iam.No, iam.Yes, iam.No, iam.No},
		{"s3:ListBucketVersions", bucket, iam.No, iam.Yes, iam.No, iam.No},
		{"s3:PutObjectTagging", object, iam.No, iam.Yes, iam.Yes, iam.No},
		{"s3:ListBucket", bucket, iam.No, iam.Yes, iam.No, iam.No}, // without the prefix
		{"s3:DeleteBucket", bucket, iam.No, iam.No, iam.No, iam.No},
		{"s3:ListAllMyBuckets", "*", iam.No, iam.No, iam.No, iam.No},
		{"s3:PutBucketWebsite", bucket, iam.No, iam.Unknown, iam.Unknown, iam.Unknown}, // nobody has tried
		{"sqs:SendMessage", "arn:aws:sqs:eu-west-1:1:q", iam.No, iam.Unknown, iam.Unknown, iam.Unknown},
	} {
		for d, want := range map[iam.Dialect]iam.Answer{iam.DialectAWS: x.aws, iam.DialectMinIO: x.minio, iam.DialectRadosGW: x.radosgw, iam.DialectVersityGW: x.versitygw} {
			p := write()
			p.Dialect = d
			if got := ask(t, p, x.action, x.resource); got.Answer != want {
				t.Errorf("%s: %s on %s: %s, want %s: %q", d, x.action, x.resource, got.Answer, want, got.Why)
			}
		}
	}
}

// Where nobody says who enforces, an answer that differs is unknown.
func TestAskAll(t *testing.T) {
	all := []scopes.Permissions{write(), write()}
	all[1].Dialect = iam.DialectMinIO
	q := can.Question{Action: "s3:GetObjectVersion", Resource: "arn:aws:s3:::prod/a/x", Now: time.Now(), TTL: time.Minute}
	got, err := can.AskAll(all, q)
	if err != nil || got.Answer != iam.Unknown || !strings.Contains(strings.Join(got.Why, " "), "--dialect") {
		t.Errorf("%+v, %v", got, err)
	}
	q.Action = "s3:GetObject"
	if got, err := can.AskAll(all, q); err != nil || got.Answer != iam.Yes {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := can.AskAll(nil, q); !errors.Is(err, can.ErrQuestion) {
		t.Errorf("%v", err)
	}
}

// The CLI and the MCP server disagreed here: Vault puts a slash behind what is listed.
func TestVault(t *testing.T) {
	kv := scopes.Permissions{Vault: []vaultacl.Rule{{Path: "secret/data/web/*", Capabilities: []string{"read"}}, {Path: "secret/metadata/web/*", Capabilities: []string{"list"}}}}
	for action, want := range map[string]iam.Answer{"list": iam.Yes, "LIST": iam.Yes, "vault:list": iam.Yes, "read": iam.No} {
		for _, path := range []string{"secret/metadata/web", "secret/metadata/web/", "/secret/metadata/web"} {
			if got := ask(t, kv, action, path); got.Answer != want {
				t.Errorf("%s %s: %s", action, path, got.Answer)
			}
		}
	}
	// Vault protects these, so that a rule without sudo gives nothing on them.
	for path, op := range map[string]string{
		"sys/raw/core/keyring": "read", "sys/auth/oidc": "update", "sys/audit": "read", "sys/seal": "update", "auth/token/accessors": "list",
		"sys/leases/lookup/aws/creds": "list", "sys/plugins/catalog/secret/x": "update",
	} {
		rule := vaultacl.Rule{Path: strings.SplitAfter(path, "/")[0] + "*", Capabilities: []string{"list", "read", "update"}}
		if got := ask(t, scopes.Permissions{Vault: []vaultacl.Rule{rule}}, op, path); got.Answer != iam.No || !strings.Contains(got.Why[0], "sudo") {
			t.Errorf("%s %s without sudo: %s: %q", op, path, got.Answer, got.Why)
		}
		rule.Capabilities = append(rule.Capabilities, "sudo")
		if got := ask(t, scopes.Permissions{Vault: []vaultacl.Rule{rule}}, op, path); got.Answer != iam.Yes {
			t.Errorf("%s %s with sudo: %s: %q", op, path, got.Answer, got.Why)
		}
	}
	// Of these nobody can tell here: what is mounted there, and what the token has.
	for _, tc := range []struct{ op, path, field string }{
		{"delete", "pki/root", ""}, {"update", "pki/int/root/sign-self-issued", ""}, {"update", "auth/token/create", "no_parent"}, {"update", "auth/token/create/ci", "period"},
		{"update", "team/sys/auth/oidc", ""}, {"update", "team/auth/token/create", ""},
	} {
		q := can.Question{Action: tc.op, Resource: tc.path, Now: time.Now(), TTL: time.Minute, Context: map[string][]string{}}
		if tc.field != "" {
			q.Context[tc.field] = []string{"1h"}
		}
		rule := vaultacl.Rule{Path: strings.SplitAfter(tc.path, "/")[0] + "*", Capabilities: []string{"delete", "update"}}
		for _, want := range []iam.Answer{iam.Unknown, iam.Yes} { // without sudo, and with it
			got, err := can.Ask(scopes.Permissions{Vault: []vaultacl.Rule{rule}}, q)
			if err != nil || got.Answer != want || want == iam.Unknown && !strings.Contains(got.Why[0], "sudo") {
				t.Errorf("%s: %s, want %s: %q (%v)", tc.path, got.Answer, want, got.Why, err)
			}
			rule.Capabilities = append(rule.Capabilities, "sudo")
		}
	}
	for path, op := range map[string]string{"secret/data/db/root": "read", "pki/root/pem": "read", "secret/root": "update"} {
		rule := vaultacl.Rule{Path: path, Capabilities: []string{"read", "update"}}
		if got := ask(t, scopes.Permissions{Vault: []vaultacl.Rule{rule}}, op, path); got.Answer != iam.Yes {
			t.Errorf("%s %s: %s: %q", op, path, got.Answer, got.Why)
		}
	}
	for _, path := range []string{"sys/authx", "sys/mounts", "sys/leases/lookup", "auth/token/create", "sys/seal-status"} {
		rule := vaultacl.Rule{Path: path, Capabilities: []string{"update"}}
		if got := ask(t, scopes.Permissions{Vault: []vaultacl.Rule{rule}}, "update", path); got.Answer != iam.Yes {
			t.Errorf("%s: %s: %q", path, got.Answer, got.Why)
		}
	}
	creds := scopes.Permissions{VaultRead: "database/creds/app"}
	if ask(t, creds, "read", "database/creds/app").Answer != iam.Yes || ask(t, creds, "read", "database/creds/other").Answer != iam.No {
		t.Error("what the broker reads")
	}
	for _, q := range []can.Question{{Action: "write", Resource: "a/b"}, {Action: "read"}} {
		if _, err := can.Ask(kv, q); !errors.Is(err, can.ErrQuestion) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func TestNoQuestion(t *testing.T) {
	for _, d := range iam.Dialects() {
		p := write()
		p.Dialect = d
		for _, q := range []can.Question{{Action: "GetObject", Resource: "*"}, {Action: "s3:GetObject", Resource: "prod"}} {
			q.Now, q.TTL = time.Now(), time.Minute
			if a, err := can.Ask(p, q); !errors.Is(err, can.ErrQuestion) {
				t.Errorf("%s: %+v: %+v, %v", d, q, a, err)
			}
		}
	}
}
