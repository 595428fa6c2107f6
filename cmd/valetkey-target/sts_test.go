package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/versity/versitygw/iamapi/storage"
)

const (
	self  = "spiffe://example.org/valetkeyd"
	other = "spiffe://example.org/agent/alice/dev"
)

// authority signs JWT-SVIDs as dev mode's does.
type authority struct{ key *ecdsa.PrivateKey }

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return authority{key}
}

func (a authority) bundle(t *testing.T) json.RawMessage {
	t.Helper()
	b, err := jwtbundle.FromJWTAuthorities(spiffeid.RequireTrustDomainFromString("example.org"), map[string]crypto.PublicKey{"k1": a.key.Public()}).Marshal()
	must(t, err)
	return b
}

func (a authority) token(t *testing.T, edit func(*jwt.Claims)) string {
	t.Helper()
	return sign(t, jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: a.key, KeyID: "k1"}}, edit)
}

func sign(t *testing.T, key jose.SigningKey, edit func(*jwt.Claims)) string {
	t.Helper()
	signer, err := jose.NewSigner(key, new(jose.SignerOptions).WithType("JWT"))
	must(t, err)
	claims := jwt.Claims{
		Subject: self, Issuer: "https://dev.invalid", Audience: jwt.Audience{"sts.amazonaws.com"},
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
	}
	if edit != nil {
		edit(&claims)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	must(t, err)
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testConfig(t *testing.T, a authority) config {
	t.Helper()
	all := json.RawMessage(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
	return config{
		Dir: t.TempDir(), S3: "127.0.0.1:0", STS: "127.0.0.1:0", IAM: "127.0.0.1:0", TrustDomain: "example.org", Bundle: a.bundle(t),
		Issuer: "https://dev.invalid", Audience: "sts.amazonaws.com", Roles: []roleConfig{{"agents", []string{self}, map[string]json.RawMessage{"all": all}}},
	}
}

// desk is the front over a real IAM store.
type desk struct {
	*front
	authority
	dir string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	a := newAuthority(t)
	c := testConfig(t, a)
	must(t, c.check())
	store, err := storage.New(storage.Config{Dir: c.Dir})
	must(t, err)
	must(t, setUp(t.Context(), store, c))
	return &desk{&front{store: store, cfg: c, log: slog.New(slog.DiscardHandler), now: time.Now}, a, c.Dir}
}

// sessions counts those in the store's file.
func (d *desk) sessions(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(d.dir, "iam.json"))
	must(t, err)
	var have struct{ Sessions map[string]any }
	must(t, json.Unmarshal(raw, &have))
	return len(have.Sessions)
}

type answer struct {
	status int
	Code   string `xml:"Error>Code"`
	Key    string `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
	Secret string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SecretAccessKey"`
	Token  string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SessionToken"`
	ARN    string `xml:"AssumeRoleWithWebIdentityResult>AssumedRoleUser>Arn"`
}

func (d *desk) form(t *testing.T) url.Values {
	t.Helper()
	return url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {stsVersion}, "RoleArn": {roleARN("agents")}, "RoleSessionName": {"vk-one"},
		"WebIdentityToken": {d.token(t, nil)},
	}
}

func (d *desk) send(t *testing.T, r *http.Request) (a answer) {
	t.Helper()
	w := httptest.NewRecorder()
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	d.ServeHTTP(w, r)
	a = decode(t, w.Body)
	a.status = w.Code
	return a
}

func decode(t *testing.T, body io.Reader) (a answer) {
	t.Helper()
	must(t, xml.NewDecoder(body).Decode(&a))
	return a
}

func (d *desk) post(t *testing.T, form url.Values) answer {
	t.Helper()
	return d.send(t, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(form.Encode())))
}

func TestFrontMakesSessions(t *testing.T) {
	d := newDesk(t)
	doc := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}`
	form := d.form(t)
	form.Set("Policy", doc)
	form.Set("DurationSeconds", "900")
	got := d.post(t, form)
	if got.status != http.StatusOK || len(got.Key) != 20 || len(got.Secret) != 40 || got.Token == "" || got.ARN != "arn:aws:sts::000000000000:assumed-role/agents/vk-one" {
		t.Fatalf("%+v", got)
	}
	s, err := d.store.GetSession(t.Context(), got.Key)
	must(t, err)
	if s.Policy != doc || s.Subject != self || s.Expiration.Sub(s.CreateDate) != 15*time.Minute {
		t.Errorf("%+v", s)
	}
}

func TestFrontRefuses(t *testing.T) {
	d := newDesk(t)
	set := func(name, value string) func(url.Values) { return func(f url.Values) { f.Set(name, value) } }
	token := func(edit func(*jwt.Claims)) func(url.Values) { return set("WebIdentityToken", d.token(t, edit)) }
	stranger := newAuthority(t)
	for name, x := range map[string]struct {
		edit func(url.Values)
		code string
	}{
		"another audience":     {token(func(c *jwt.Claims) { c.Audience = jwt.Audience{"minio"} }), "InvalidIdentityToken"},
		"two audiences":        {token(func(c *jwt.Claims) { c.Audience = append(c.Audience, "minio") }), "InvalidIdentityToken"},
		"no audience":          {token(func(c *jwt.Claims) { c.Audience = nil }), "InvalidIdentityToken"},
		"another issuer":       {token(func(c *jwt.Claims) { c.Issuer = "https://evil.invalid" }), "InvalidIdentityToken"},
		"the issuer by http":   {token(func(c *jwt.Claims) { c.Issuer = "http://dev.invalid" }), "InvalidIdentityToken"},
		"the issuer bare":      {token(func(c *jwt.Claims) { c.Issuer = "dev.invalid" }), "InvalidIdentityToken"},
		"no issuer":            {token(func(c *jwt.Claims) { c.Issuer = "" }), "InvalidIdentityToken"},
		"over":                 {token(func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Hour)) }), "ExpiredTokenException"},
		"no end":               {token(func(c *jwt.Claims) { c.Expiry = nil }), "InvalidIdentityToken"},
		"not yet":              {token(func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) }), "InvalidIdentityToken"},
		"not said when":        {token(func(c *jwt.Claims) { c.IssuedAt = nil }), "InvalidIdentityToken"},
		"another subject":      {token(func(c *jwt.Claims) { c.Subject = other }), "InvalidIdentityToken"},
		"a longer subject":     {token(func(c *jwt.Claims) { c.Subject = self + "/x" }), "InvalidIdentityToken"},
		"another trust domain": {token(func(c *jwt.Claims) { c.Subject = "spiffe://example.com/valetkeyd" }), "InvalidIdentityToken"},
		"no SPIFFE ID":         {token(func(c *jwt.Claims) { c.Subject = "valetkeyd" }), "InvalidIdentityToken"},
		"another's key":        {set("WebIdentityToken", stranger.token(t, nil)), "InvalidIdentityToken"},
		"an unknown key":       {set("WebIdentityToken", sign(t, jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: d.key, KeyID: "k2"}}, nil)), "InvalidIdentityToken"},
		"a shared secret":      {set("WebIdentityToken", sign(t, jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: make([]byte, 32), KeyID: "k1"}}, nil)), "InvalidIdentityToken"},
		"no signature": {func(f url.Values) {
			f.Set("WebIdentityToken", strings.TrimRight(f.Get("WebIdentityToken"), "-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"))
		}, "InvalidIdentityToken"},
		"no token":              {set("WebIdentityToken", ""), "ValidationError"},
		"a token too long":      {set("WebIdentityToken", strings.Repeat("a", maxToken+1)), "ValidationError"},
		"no such role":          {set("RoleArn", roleARN("absent")), "AccessDenied"},
		"the role by a path":    {set("RoleArn", "arn:aws:iam::000000000000:role/x/agents"), "AccessDenied"},
		"another account's":     {set("RoleArn", "arn:aws:iam::000000000001:role/agents"), "AccessDenied"},
		"the role's bare name":  {set("RoleArn", "agents"), "AccessDenied"},
		"no role":               {set("RoleArn", ""), "ValidationError"},
		"a session of no name":  {set("RoleSessionName", ""), "ValidationError"},
		"a name too short":      {set("RoleSessionName", "a"), "ValidationError"},
		"a name too long":       {set("RoleSessionName", strings.Repeat("a", 65)), "ValidationError"},
		"a name with a slash":   {set("RoleSessionName", "a/b"), "ValidationError"},
		"899 s":                 {set("DurationSeconds", "899"), "ValidationError"},
		"43,201 s":              {set("DurationSeconds", "43201"), "ValidationError"},
		"over the role's":       {set("DurationSeconds", "3601"), "ValidationError"},
		"no number of seconds":  {set("DurationSeconds", "900s"), "MalformedInput"},
		"a policy too long":     {set("Policy", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/`+strings.Repeat("a", 2048)+`"}}`), "ValidationError"},
		"no policy":             {set("Policy", ""), "ValidationError"},
		"a policy of no policy": {set("Policy", "{}"), "MalformedPolicyDocument"},
		"another's action":      {set("Policy", `{"Version":"2012-10-17","Statement":{"Effect":"Permit","Action":"s3:GetObject","Resource":"*"}}`), "MalformedPolicyDocument"},
		"policies by ARN":       {set("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess"), "InvalidInput"},
		"a provider":            {set("ProviderId", "www.amazon.com"), "InvalidInput"},
		"two policies":          {func(f url.Values) { f["Policy"] = []string{"{}", "{}"} }, "InvalidInput"},
		"AssumeRole":            {set("Action", "AssumeRole"), "InvalidAction"},
		"another version":       {set("Version", "2010-05-08"), "InvalidAction"},
		"too much":              {set("Policy", strings.Repeat("a", maxForm)), "MalformedInput"},
	} {
		form := d.form(t)
		x.edit(form)
		if got := d.post(t, form); got.status < 400 || got.status > 499 || got.Code != x.code || got.Key != "" {
			t.Errorf("%s: %+v, want %s", name, got, x.code)
		}
	}
	query := d.form(t).Encode()
	for _, r := range []*http.Request{
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+query, http.NoBody),
		httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/?Policy=", strings.NewReader(query)),
	} {
		if got := d.send(t, r); got.status < 400 || got.Key != "" {
			t.Errorf("%s %s: %+v", r.Method, r.URL, got)
		}
	}
	if n := d.sessions(t); n != 0 {
		t.Errorf("%d sessions were stored", n)
	}
}

// TestTrust changes what IAM has: each change is heeded by the next call.
func TestTrust(t *testing.T) {
	d := newDesk(t)
	trust := func(statements string) {
		_, err := d.store.UpdateAssumeRolePolicy(t.Context(), storage.UpdateAssumeRolePolicyInput{RoleName: "agents", PolicyDocument: `{"Version":"2012-10-17","Statement":[` + statements + `]}`})
		must(t, err)
	}
	statement := func(effect, provider, more string) string {
		return `{"Effect":"` + effect + `","Principal":{"Federated":"` + providerARN(provider) + `"},"Action":"sts:AssumeRoleWithWebIdentity"` + more + `}`
	}
	allow := statement("Allow", "dev.invalid", "")
	for _, x := range []struct{ name, statements, code string }{
		{"everybody", allow, ""},
		{"and a refusal", allow + "," + statement("Deny", "dev.invalid", ""), "AccessDenied"},
		{"a refusal of one name", allow + "," + statement("Deny", "dev.invalid", `,"Condition":{"StringEquals":{"sts:RoleSessionName":"vk-one"}}`), "AccessDenied"},
		{"a provider that is not there", statement("Allow", "evil.invalid", ""), "AccessDenied"},
		{"from elsewhere", statement("Allow", "dev.invalid", `,"Condition":{"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}}`), "InvalidIdentityToken"},
		{"from here", statement("Allow", "dev.invalid", `,"Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`), ""}, // httptest's
	} {
		trust(x.statements)
		if got := d.post(t, d.form(t)); got.Code != x.code || (got.Key != "") != (x.code == "") {
			t.Errorf("%s: %+v, want %q", x.name, got, x.code)
		}
	}
	trust(allow)
	must(t, d.store.DeleteOIDCProvider(t.Context(), providerARN("dev.invalid")))
	if got := d.post(t, d.form(t)); got.Code != "AccessDenied" {
		t.Errorf("without a provider: %+v", got)
	}
}

// TestFullRole has the limit of versitygw's own told as AWS tells one.
func TestFullRole(t *testing.T) {
	limit := storage.MaxActiveSessionsPerRole
	t.Cleanup(func() { storage.MaxActiveSessionsPerRole = limit })
	storage.MaxActiveSessionsPerRole = 1
	d := newDesk(t)
	if got := d.post(t, d.form(t)); got.status != http.StatusOK {
		t.Fatalf("%+v", got)
	}
	if got := d.post(t, d.form(t)); got.Code != "Throttling" || got.Key != "" {
		t.Errorf("one too many: %+v", got)
	}
}
