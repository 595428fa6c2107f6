package scopes_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/jcs"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type params = map[string][]string

func example(t testing.TB) *scopes.Catalog {
	t.Helper()
	c, err := loadAWS("../testdata/catalog")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestResolve(t *testing.T) {
	c := example(t)
	r, err := c.Resolve(scopes.Query{Scope: "s3-prefix-write", Params: params{"bucket": {"production"}, "prefix": {"app"}}, TTL: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Permissions().Canonical()
	want := `{"aws":{"Statement":[{"Action":["s3:GetObject","s3:PutObject"],"Effect":"Allow","Resource":"arn:aws:s3:::production/app/*"},` +
		`{"Action":"s3:ListBucket","Condition":{"StringLike":{"s3:prefix":"app/*"}},"Effect":"Allow","Resource":"arn:aws:s3:::production"}],"Version":"2012-10-17"},"dialect":"aws"}`
	if err != nil || string(b) != want {
		t.Errorf("got  %s, %v\nwant %s", b, err, want)
	}
	if !r.Valid() || r.TTL() != 5*time.Minute || r.Tier() != scopes.TierWrite || r.Scope().Name() != "s3-prefix-write" {
		t.Errorf("%+v", r)
	}
	if got := fmt.Sprint(r.Params(), r.Actions(), r.Resources(), r.TierReasons(), r.SensitiveReads()); got !=
		"map[bucket:[production] prefix:[app/]] [s3:GetObject s3:ListBucket s3:PutObject] [arn:aws:s3:::production arn:aws:s3:::production/app/*] [s3:PutObject: AWS calls it a write] []" {
		t.Error(got)
	}
	// What a caller gets is a copy.
	r.Params()["bucket"][0] = "x"
	r.Permissions().AWS.Statements[0].Resource[0] = "*"
	if again, err := r.Permissions().Canonical(); err != nil || string(again) != want || r.Params()["bucket"][0] != "production" {
		t.Error("the request was changed from outside")
	}

	r, err = c.Resolve(scopes.Query{Scope: "db-creds", Params: params{"role": {"app"}}})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := r.Permissions().Canonical(); err != nil || string(b) != `{"vault_read":"database/creds/app"}` || r.TTL() != 15*time.Minute {
		t.Errorf("%s, %v, %s", b, err, r.TTL())
	}
	r, err = c.Resolve(scopes.Query{Scope: "vault-kv-read", Params: params{"team": {"app"}}})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := r.Permissions().Canonical(); err != nil || len(r.SensitiveReads()) != 1 || string(b) !=
		`{"vault":[{"capabilities":["read"],"path":"secret/data/app/*"},{"capabilities":["list"],"path":"secret/metadata/app/*"}]}` {
		t.Errorf("%s, %v, %v", b, err, r.SensitiveReads())
	}
}

// What a request says of its permissions is what they say themselves, shrunk or not, for every enforcer.
func TestPrintedOnce(t *testing.T) {
	c := example(t)
	many, _ := load(t, twice)
	all, err := scopes.Load("../testdata/catalog")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		c *scopes.Catalog
		q scopes.Query
	}{
		{c, scopes.Query{Scope: "s3-prefix-write", Params: params{"bucket": {"production"}, "prefix": {"app/"}}}},
		{c, scopes.Query{Scope: "s3-bucket-rebuild", Params: params{"bucket": {"production"}}}},
		{c, scopes.Query{Scope: "vault-kv-read", Params: params{"team": {"app"}}}},
		{c, scopes.Query{Scope: "db-creds", Params: params{"role": {"app"}}}},
		{many, scopes.Query{Scope: "x", Params: params{"bucket": {"production"}, "prefixes": prefixes(12)}}},
		{many, scopes.Query{Scope: "x", Params: params{"bucket": {"production"}, "prefixes": prefixes(18)}}},
		{all, scopes.Query{Scope: "s3-prefix-write", Params: params{"bucket": {"production"}, "prefix": {"app/"}}}},
	} {
		rs, err := x.c.ResolveAll(x.q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			p := r.Permissions()
			text, err := p.Canonical()
			if err != nil || r.CanonicalPermissions() != string(text) {
				t.Errorf("%s: got  %s, %v\nwant %s", x.q.Scope, r.CanonicalPermissions(), err, text)
			}
			whole, err := jcs.Marshal(struct {
				AWS       *iam.Policy     `json:"aws,omitempty"`
				Dialect   iam.Dialect     `json:"dialect,omitempty"`
				Vault     []vaultacl.Rule `json:"vault,omitempty"`
				VaultRead string          `json:"vault_read,omitempty"`
				VaultWrap bool            `json:"vault_wrap,omitempty"`
			}{p.AWS, p.Dialect, p.Vault, p.VaultRead, p.VaultWrap})
			if err != nil || string(text) != string(whole) {
				t.Errorf("%s: got  %s\nwant %s, %v", x.q.Scope, text, whole, err)
			}
			if digest, err := r.Permissions().Digest(); err != nil || r.PermissionsDigest() != digest || len(digest) != 64 {
				t.Errorf("%s: digest %q, %v, want %q", x.q.Scope, r.PermissionsDigest(), err, digest)
			}
		}
	}
}

func TestZeroRequest(t *testing.T) {
	var r scopes.Request
	if r.CanonicalPermissions() != "" || r.PermissionsDigest() != "" {
		t.Error("the zero request has permissions")
	}
	if r.Valid() || r.Tier() != scopes.TierUnspecified || r.Scope() != nil {
		t.Error("the zero request looks like something")
	}
	if _, err := r.Permissions().Canonical(); !errors.Is(err, scopes.ErrEmpty) {
		t.Errorf("%v", err)
	}
	allow := iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{"s3:GetObject"}, Resource: []string{"*"}}}}
	for name, p := range map[string]scopes.Permissions{
		"two kinds":       {VaultRead: "a/b", Vault: []vaultacl.Rule{{Path: "a", Capabilities: []string{"read"}}}},
		"wrapped nothing": {VaultWrap: true, Vault: []vaultacl.Rule{{Path: "a", Capabilities: []string{"read"}}}},
		"bad rule":        {Vault: []vaultacl.Rule{{Path: "a\"", Capabilities: []string{"read"}}}},
		"empty policy":    {AWS: &iam.Policy{}, Dialect: iam.DialectAWS},
		"no dialect":      {AWS: &allow},
		"no such dialect": {AWS: &allow, Dialect: "s3-compatible"},
		"idle dialect":    {VaultRead: "a/b", Dialect: iam.DialectAWS},
	} {
		if b, err := p.Canonical(); err == nil {
			t.Errorf("%s: %s", name, b)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	c := example(t)
	ok := params{"bucket": {"production"}, "prefix": {"app/"}}
	for _, x := range []struct {
		name string
		q    scopes.Query
		want error
	}{
		{"unknown scope", scopes.Query{Scope: "s3-raed", Params: ok}, scopes.ErrUnknownScope},
		{"10 MB of scope", scopes.Query{Scope: strings.Repeat("x", 10<<20)}, scopes.ErrUnknownScope},
		{"stale version", scopes.Query{Scope: "s3-prefix-read", Version: "sha256:00", Params: ok}, scopes.ErrStaleVersion},
		{"ttl over max", scopes.Query{Scope: "s3-prefix-read", TTL: 2 * time.Hour, Params: ok}, scopes.ErrTTL},
		{"ttl negative", scopes.Query{Scope: "s3-prefix-read", TTL: -1, Params: ok}, scopes.ErrTTL},
		{"ttl fraction", scopes.Query{Scope: "s3-prefix-read", TTL: 1500 * time.Millisecond, Params: ok}, scopes.ErrTTL},
		{"no parameters", scopes.Query{Scope: "s3-prefix-read"}, scopes.ErrParameter},
		{"missing parameter", scopes.Query{Scope: "s3-prefix-read", Params: params{"bucket": {"production"}}}, scopes.ErrParameter},
		{"unknown parameter", scopes.Query{Scope: "s3-prefix-read", Params: params{"bucket": {"production"}, "prefix": {"a"}, "key": {"a"}}}, scopes.ErrParameter},
		{"hostile parameter name", scopes.Query{Scope: "s3-prefix-read", Params: params{"\x1b[2J": {"a"}}}, scopes.ErrParameter},
		{"two values", scopes.Query{Scope: "s3-prefix-read", Params: params{"bucket": {"production", "other"}, "prefix": {"a"}}}, scopes.ErrParameter},
		{"no values", scopes.Query{Scope: "s3-prefix-read", Params: params{"bucket": {}, "prefix": {"a"}}}, scopes.ErrParameter},
		{"policy too large", scopes.Query{Scope: "s3-prefix-read", Params: params{"bucket": {"production"}, "prefix": {strings.Repeat("a", 900)}}}, scopes.ErrTooLarge},
	} {
		r, err := c.Resolve(x.q)
		if !errors.Is(err, x.want) || r.Valid() {
			t.Errorf("%s: %v", x.name, err)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("%s: an error of %d bytes", x.name, len(err.Error()))
		}
	}
}

// typed is a scope with one parameter of each type, each reachable alone.
func typed(t testing.TB, typ, template string) *scopes.Catalog {
	t.Helper()
	c, _ := load(t, strings.Replace(strings.Replace(good, "{type: s3_bucket}", typ, 1), "arn:aws:s3:::{bucket}/*", template, 1))
	return c
}

func TestValues(t *testing.T) {
	for typ, c := range map[string]struct {
		template    string
		good, wrong []string
	}{
		"{type: s3_bucket}": {"arn:aws:s3:::{bucket}/*", []string{"abc", "a.b-c", "production"},
			[]string{"", "a", "ab", "-ab", "Abc", "a/b", "a..b", "xn--abc", strings.Repeat("a", 64), "a*b", "a?b", "${a}", "abc\n", "abc ", "a:b"}},
		"{type: s3_prefix}": {"arn:aws:s3:::b/{bucket}*", []string{"a", "a/", "a/b c/d", "a=1,b+c@d", "données/"},
			[]string{"", "/", "/a", "a//b", "a/*", "a?", "a$", "${aws:username}", "{bucket}", "a\\b", "a\"b", "a\nb", "a\x00b", "a\x7fb", "a/../b", "..", "./a", "a\u3164", "a\u2800b", "a\u115f", "a\ufe0f", "a\U000E0100", "a\u034fb", "a\u3000b", "a\u202eb", "a\u00a0b", "\xff", strings.Repeat("a", 1024), strings.Repeat("a", 10<<20)}},
		"{type: arn}": {"{bucket}", []string{"arn:aws:s3:::b/k", "arn:aws-cn:s3:::b/k/l"},
			[]string{"b", "*", "arn:aws:s3:::b", "arn:aws:s3:::*/k", "arn:aws:sqs:eu-west-1:123456789012:q", "arn:x:s3:::b/k", "arn:aws:s3:::", "arn:aws:s3:::b/k l"}},
		"{type: region}":                     {"arn:aws:s3:{bucket}:123456789012:accesspoint/a/object/*", []string{"eu-west-1", "us-gov-east-1"}, []string{"eu", "eu-west", "eu-west-1:1", "EU-WEST-1", "*"}},
		"{type: account_id}":                 {"arn:aws:s3:eu-west-1:{bucket}:accesspoint/a/object/*", []string{"012345678901"}, []string{"1", "0123456789012", "12345678901a", "*"}},
		"{type: identifier}":                 {"arn:aws:s3:::b/{bucket}/*", []string{"a", "A_b.c-d"}, []string{"", ".", "..", "a..b", "a/b", "a:b", "-a", "a b", strings.Repeat("a", 129)}},
		"{type: enum, allowed: [dev, prod]}": {"arn:aws:s3:::b/{bucket}/*", []string{"dev", "prod"}, []string{"", "Dev", "dev,prod", "stage", "d*"}},
		// Anchored whatever it holds: flags, alternatives, captures, a quotation without an end, \z and \A of its own.
		"{type: pattern, pattern: \"prod|(?s)sta.e|(?U)a+|(dev)\"}": {"arn:aws:s3:::b/{bucket}/*", []string{"prod", "stage", "aaa", "dev"}, []string{"prod2", "xprod", "xstage", "stagex", "baaa", "aaab", "devdev", "\nprod"}},
		`{type: pattern, pattern: 'a\Qb.c'}`:                        {"arn:aws:s3:::b/{bucket}/*", []string{"ab.c"}, []string{"abxc", "ab.c)", "ab", "xab.c"}},
		`{type: pattern, pattern: '\Aprod|stage\z'}`:                {"arn:aws:s3:::b/{bucket}/*", []string{"prod", "stage"}, []string{"prodx", "xstage"}},
		`{type: pattern, pattern: '(?m)^prod$|(?m:^)stage(?m:$)'}`:  {"arn:aws:s3:::b/{bucket}/*", []string{"prod", "stage"}, []string{"prod\nx", "x\nstage", "prodx"}},
		"{type: pattern, pattern: \"[a-z*$]+|x.y|(?m)^z$\"}":        {"arn:aws:s3:::b/{bucket}/*", []string{"abc", "x-y", "z"}, []string{"a*", "a$", "x\ny", "z\nq", "abc1", "xxxy1"}},
		"{type: integer, min: -2, max: 30}":                         {"arn:aws:s3:::b/{bucket}/*", []string{"-2", "0", "30"}, []string{"-3", "31", "+1", "007", "-0", "1.0", "1e1", "0x1", " 1", "99999999999999999999"}},
		"{type: s3_bucket, allowed: [one, two]}":                    {"arn:aws:s3:::{bucket}/*", []string{"one"}, []string{"three", "onetwo"}},
	} {
		cat := typed(t, typ, c.template)
		for _, v := range c.good {
			if r, err := cat.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {v}}}); err != nil || !r.Valid() {
				t.Errorf("%s refuses %q: %v", typ, v, err)
			}
		}
		for _, v := range c.wrong {
			r, err := cat.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {v}}})
			if !errors.Is(err, scopes.ErrParameter) || r.Valid() {
				t.Errorf("%s takes %.40q: %v", typ, v, err)
			}
			if err != nil && (strings.ContainsAny(err.Error(), "\n\x1b\x00") || len(err.Error()) > 6000) {
				t.Errorf("the error repeats %.40q raw", v)
			}
		}
	}
}

func TestLists(t *testing.T) {
	cat := typed(t, "{type: s3_bucket, list: true}", "arn:aws:s3:::{bucket}/*")
	r, err := cat.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {"bbb", "aaa", "bbb"}}})
	if err != nil || fmt.Sprint(r.Params(), r.Resources()) != "map[bucket:[aaa bbb]] [arn:aws:s3:::aaa/* arn:aws:s3:::bbb/*]" {
		t.Errorf("%v %v %v", r.Params(), r.Resources(), err)
	}
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf("b%02d", i)
	}
	if _, err := cat.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": many}}); !errors.Is(err, scopes.ErrParameter) {
		t.Errorf("33 values: %v", err)
	}
}

func TestVaultValues(t *testing.T) {
	text := "name: x\ndescription: d\nprovider: vault\nrole: vault\nparams: {p: {type: pattern, pattern: \".*\"}}\npaths: [{path: \"secret/{p}\", capabilities: [read]}]\nttl: {default: 1m, max: 1m}\n"
	c, _ := load(t, text)
	for _, v := range []string{"data/a", "a"} {
		if _, err := c.Resolve(scopes.Query{Scope: "x", Params: params{"p": {v}}}); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
	for _, v := range []string{"sys", "a/sys/b", "auth", "identity/x", "+", "a/+/b", "a+b", "*", "a/../b", "a//b", "/a", "a/", "a%2fb", "a b", "é", "a\"b", "{{identity.entity.id}}"} {
		if _, err := c.Resolve(scopes.Query{Scope: "x", Params: params{"p": {v}}}); !errors.Is(err, scopes.ErrParameter) {
			t.Errorf("%q: %v", v, err)
		}
	}
}

// A value that is one of Vault's own words, alone or grown together with its neighbours, cannot lift the tier.
func TestVaultValuesKeepTheTier(t *testing.T) {
	text := "name: x\ndescription: d\nprovider: vault\nrole: vault\nparams: {p: {type: identifier}}\npaths: [{path: \"db/r{p}/a\", capabilities: [update]}, {path: \"db/{p}\", capabilities: [list]}]\nttl: {default: 1m, max: 1m}\n"
	c, s := load(t, text)
	if s.Tier() != scopes.TierWrite {
		t.Fatalf("%s", s.Tier())
	}
	for v, ok := range map[string]bool{"x": true, "ole": false, "oles": false, "oot": false} {
		if _, err := c.Resolve(scopes.Query{Scope: "x", Params: params{"p": {v}}}); ok != (err == nil) || (err != nil && !errors.Is(err, scopes.ErrParameter)) {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func TestVaultTiers(t *testing.T) {
	for _, c := range []struct {
		path, caps string
		want       scopes.Tier
	}{
		{"secret/data/a", "read, list", scopes.TierRead}, {"secret/data/a", "create, update, patch", scopes.TierWrite},
		{"secret/data/a", "delete", scopes.TierDestructive}, {"secret/destroy/a", "update", scopes.TierDestructive}, {"secret/metadata/a", "update", scopes.TierDestructive},
		{"secret/data/roles/a", "update", scopes.TierWrite}, {"database/roles/a", "update", scopes.TierAdmin}, {"database/config/a", "read", scopes.TierRead},
		{"sys/policies/acl/a", "read", scopes.TierRead}, {"sys/policies/acl/a", "update", scopes.TierAdmin}, {"ns1/sys/x", "create", scopes.TierAdmin},
		{"auth/token/create", "update", scopes.TierAdmin}, {"identity/entity", "delete", scopes.TierAdmin}, {"secret/data/a", "read, sudo", scopes.TierAdmin},
		{"aws/creds/a", "read", scopes.TierWrite}, {"aws/sts/a", "read", scopes.TierWrite},
		{"database/*", "update", scopes.TierAdmin}, {"database/*", "read", scopes.TierWrite}, {"database/*", "list", scopes.TierRead}, {"a/+/b", "create", scopes.TierAdmin},
		{"secret/data/*", "update", scopes.TierWrite}, {"secret/data/*", "read", scopes.TierRead}, {"data/*", "update", scopes.TierAdmin},
		{"s*/x", "read", scopes.TierUnspecified}, {"+/x", "read", scopes.TierAdmin}, {"pki/issue/a", "update", scopes.TierWrite},
	} {
		text := "name: x\ndescription: d\nprovider: vault\nrole: vault\npaths: [{path: \"" + c.path + "\", capabilities: [" + c.caps + "]}]\nttl: {default: 1m, max: 1m}\n"
		cat, err := loadAWS(folder(t, map[string]string{"x.yaml": text}))
		if c.want == scopes.TierUnspecified {
			if err == nil {
				t.Errorf("%s loads", c.path)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got := cat.Scopes()[0].Tier(); got != c.want {
			t.Errorf("%s [%s] is %s", c.path, c.caps, got)
		}
	}
}

// An action that the catalogue does not have is refused where it stands, with what was most likely meant.
func TestUnknownActionIsRefused(t *testing.T) {
	for action, want := range map[string]string{
		"s3:GetObjct":             `x.yaml:8:15: action "s3:GetObjct" is not in the catalogue of 2026-09-26; did you mean "s3:GetObject"?`,
		"s3:GetObjectFromBeyond2": `x.yaml:8:15: action "s3:GetObjectFromBeyond2" is not in the catalogue of 2026-09-26`,
		"nowhere:DoThings":        `x.yaml:8:15: action "nowhere:DoThings" is not in the catalogue of 2026-09-26`,
		"s3:GetObjcts*":           `x.yaml:8:15: action "s3:GetObjcts*" matches nothing in the catalogue of 2026-09-26`,
	} {
		_, err := scopes.Load(folder(t, map[string]string{"x.yaml": strings.Replace(good, "s3:GetObject", action, 1)}))
		if !errors.Is(err, scopes.ErrCatalog) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", action, err)
		}
	}
}

// inside tells whether a resolved policy stays in the one prefix of the one bucket that was asked for.
func inside(t interface{ Fatalf(string, ...any) }, r scopes.Request) {
	bucket, prefix := r.Params()["bucket"][0], r.Params()["prefix"][0]
	p := r.Permissions().AWS
	if len(p.Statements) != 2 || fmt.Sprint(p.Statements[0].Resource) != "[arn:aws:s3:::"+bucket+"/"+prefix+"*]" || fmt.Sprint(p.Statements[1].Resource) != "[arn:aws:s3:::"+bucket+"]" ||
		fmt.Sprint(p.Statements[1].Condition) != "map[StringLike:map[s3:prefix:["+prefix+"*]]]" {
		t.Fatalf("%v became %+v", r.Params(), p)
	}
	for _, v := range []string{bucket, prefix} {
		if strings.ContainsAny(v, "*?${}\"\\\n\r\x00") || v == "" {
			t.Fatalf("the value %q passed", v)
		}
	}
	if strings.ContainsAny(bucket, "/:") || !strings.HasSuffix(prefix, "/") {
		t.Fatalf("%q and %q", bucket, prefix)
	}
}

// No value of any kind yields a wildcard of its own, or a resource outside the scope's pattern.
func TestNoValueWidens(t *testing.T) {
	c := example(t)
	rapid.Check(t, func(t *rapid.T) {
		hostile := rapid.SampledFrom([]string{"*", "?", "$", "${*}", "${aws:username}", "{bucket}", "/", "..", ":", "a", "b-c", "\n", "\"", ",", "arn:aws:s3:::", "\u2028", "%2a", " "})
		value := func(name string) string {
			if rapid.Bool().Draw(t, name+" is free") {
				return rapid.String().Draw(t, name)
			}
			return strings.Join(rapid.SliceOfN(hostile, 0, 6).Draw(t, name), "")
		}
		r, err := c.Resolve(scopes.Query{Scope: "s3-prefix-write", Params: params{"bucket": {rapid.OneOf(rapid.Just("production"), rapid.Custom(func(t *rapid.T) string { return value("bucket") })).Draw(t, "b")}, "prefix": {value("prefix")}}})
		if err != nil {
			if !errors.Is(err, scopes.ErrParameter) && !errors.Is(err, scopes.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		inside(t, r)
	})
}

func FuzzResolve(f *testing.F) {
	for _, v := range []string{"app", "app/", "*", "a/*", "${aws:username}", "a\nb", "..", strings.Repeat("a", 2000), "\xff", "a/../../b"} {
		f.Add("production", v)
		f.Add(v, "app")
	}
	c := example(f)
	f.Fuzz(func(t *testing.T, bucket, prefix string) {
		r, err := c.Resolve(scopes.Query{Scope: "s3-prefix-write", Params: params{"bucket": {bucket}, "prefix": {prefix}}})
		if err == nil {
			inside(t, r)
			// A canonical value stays what it is.
			again, err := c.Resolve(scopes.Query{Scope: "s3-prefix-write", Params: r.Params()})
			if err != nil || fmt.Sprint(again.Params()) != fmt.Sprint(r.Params()) {
				t.Fatalf("%v, then %v, %v", r.Params(), again.Params(), err)
			}
		}
		v, err := c.Resolve(scopes.Query{Scope: "vault-kv-read", Params: params{"team": {prefix}}})
		if err == nil && fmt.Sprint(v.Resources()) != "[secret/data/"+prefix+"/* secret/metadata/"+prefix+"/*]" || err == nil && strings.Contains(prefix, "/") {
			t.Fatalf("%q became %v", prefix, v.Resources())
		}
	})
}

// The whole step, check and proof and all, has a budget of 200 µs. Shrinking, where a policy does not fit otherwise, has
// none.
func BenchmarkResolve(b *testing.B) {
	c := example(b)
	many, _ := load(b, twice)
	for _, x := range []struct {
		name string
		c    *scopes.Catalog
		q    scopes.Query
	}{
		{"s3-prefix-write", c, scopes.Query{Scope: "s3-prefix-write", Params: params{"bucket": {"production"}, "prefix": {"app/"}}}},
		{"s3-bucket-rebuild", c, scopes.Query{Scope: "s3-bucket-rebuild", Params: params{"bucket": {"production"}}}},
		{"vault-kv-read", c, scopes.Query{Scope: "vault-kv-read", Params: params{"team": {"app"}}}},
		{"db-creds", c, scopes.Query{Scope: "db-creds", Params: params{"role": {"app"}}}},
		{"24 resources", many, scopes.Query{Scope: "x", Params: params{"bucket": {"production"}, "prefixes": prefixes(12)}}},
		{"shrunk", many, scopes.Query{Scope: "x", Params: params{"bucket": {"production"}, "prefixes": prefixes(18)}}},
	} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := x.c.Resolve(x.q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
