package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/go-jose/go-jose/v4/jwt"
)

func TestConfigIsRefused(t *testing.T) {
	good := testConfig(t, newAuthority(t))
	for name, edit := range map[string]func(*config){
		"S3 everywhere":           func(c *config) { c.S3 = ":8702" },
		"S3 on every address":     func(c *config) { c.S3 = "0.0.0.0:8702" },
		"STS on the network":      func(c *config) { c.STS = "192.0.2.1:0" },
		"IAM by a name":           func(c *config) { c.IAM = "localhost:0" },
		"S3 on a socket":          func(c *config) { c.S3 = "/tmp/s3.sock" },
		"a relative folder":       func(c *config) { c.Dir = "state" },
		"no keys":                 func(c *config) { c.Bundle = json.RawMessage(`{"keys":[]}`) },
		"no trust domain":         func(c *config) { c.TrustDomain = "" },
		"an issuer by http":       func(c *config) { c.Issuer = "http://dev.invalid" },
		"an issuer with a port":   func(c *config) { c.Issuer = "https://dev.invalid:1" },
		"no issuer":               func(c *config) { c.Issuer = "" },
		"no audience":             func(c *config) { c.Audience = "" },
		"a role for nobody":       func(c *config) { c.Roles[0].Subjects = nil },
		"a role for a foreign ID": func(c *config) { c.Roles[0].Subjects = []string{"spiffe://example.com/valetkeyd"} },
		"a role for a pattern":    func(c *config) { c.Roles[0].Subjects = []string{"spiffe://example.org/*"} },
		"a role with a path":      func(c *config) { c.Roles[0].Name = "a/b" },
		"a role of nothing":       func(c *config) { c.Roles[0].Policies = nil },
	} {
		c := good
		c.Roles = append([]roleConfig(nil), good.Roles...)
		edit(&c)
		line, err := json.Marshal(c)
		must(t, err)
		if _, err := parseConfig(line); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	line, err := json.Marshal(good)
	must(t, err)
	if _, err := parseConfig(line); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "{}", string(line) + "{}", strings.Replace(string(line), `"STS"`, `"STZ"`, 1)} {
		if _, err := parseConfig([]byte(text)); err == nil {
			t.Errorf("%.40s: it was taken", text)
		}
	}
}

// running is the whole target in this process.
type running struct {
	at  addresses
	in  *io.PipeWriter
	end chan error
}

func start(t *testing.T, c config) *running {
	t.Helper()
	in, out := io.Pipe()
	told, tell := io.Pipe()
	r := &running{in: out, end: make(chan error, 1)}
	go func() { r.end <- errors.Join(run(in, tell), tell.Close()) }()
	line, err := json.Marshal(c)
	must(t, err)
	_, err = out.Write(append(line, '\n'))
	must(t, err)
	said, err := bufio.NewReader(told).ReadBytes('\n')
	if err != nil {
		t.Fatal(errors.Join(err, <-r.end))
	}
	must(t, json.Unmarshal(said, &r.at))
	return r
}

// stop lets go of its standard input, which is how it ends.
func (r *running) stop(t *testing.T) {
	t.Helper()
	must(t, r.in.Close())
	select {
	case err := <-r.end:
		must(t, err)
	case <-time.After(2 * time.Minute):
		t.Fatal("it outlives its standard input")
	}
}

// session asks the running STS.
func (r *running) session(t *testing.T, a authority, name, policy string) *s3.Client {
	t.Helper()
	resp, err := http.PostForm(r.at.STS, url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {stsVersion}, "RoleArn": {roleARN("agents")}, "RoleSessionName": {name},
		"WebIdentityToken": {a.token(t, nil)}, "Policy": {policy},
	})
	must(t, err)
	defer func() { must(t, resp.Body.Close()) }()
	return client(t, r.at.S3, resp.Body)
}

func refused(err error) bool {
	var resp *awshttp.ResponseError
	return errors.As(err, &resp) && resp.HTTPStatusCode() == http.StatusForbidden && resp.Response.Header.Get("Server") == "VERSITYGW"
}

// TestTarget is the whole: a session does what both its role and its policy say, on a real S3, across a restart.
func TestTarget(t *testing.T) {
	dir, err := os.MkdirTemp("", "vkt") //nolint:usetesting // short: a socket is in it
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := newAuthority(t)
	c := testConfig(t, a)
	c.Dir = filepath.Join(dir, "state")
	c.Buckets = map[string]map[string]string{"example": {"a/one": "1", "b/two": "2"}}
	c.Roles[0].Policies = map[string]json.RawMessage{"ceiling": json.RawMessage(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::example/*"}}`)}
	r := start(t, c)
	if !strings.HasPrefix(r.at.Gateway, "versitygw") {
		t.Errorf("it says it is %q", r.at.Gateway)
	}
	narrow := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:ListBucket"],"Resource":["arn:aws:s3:::example/a/*","arn:aws:s3:::example"]}]}`
	s := r.session(t, a, "vk-one", narrow)
	get := func(s *s3.Client, key string) error {
		_, err := s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("example"), Key: aws.String(key)})
		return err
	}
	put := func(key string) error {
		_, err := s.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("example"), Key: aws.String(key), Body: strings.NewReader("new")})
		return err
	}
	list := func() error {
		_, err := s.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("example")})
		return err
	}
	must(t, get(s, "a/one"))
	must(t, put("a/new"))
	for name, err := range map[string]error{"outside the session's": get(s, "b/two"), "not the session's": put("b/two"), "not the role's": list()} {
		if !refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.stop(t)

	// The same folder, keys made anew, and the bucket is not filled again.
	b := newAuthority(t)
	c.Bundle, c.Buckets = b.bundle(t), map[string]map[string]string{"example": {"a/late": "3"}}
	r = start(t, c)
	kept := elsewhere(r.at.S3, s)
	must(t, get(kept, "a/new"))
	again := r.session(t, b, "vk-two", narrow)
	must(t, get(again, "a/one"))
	if err := get(again, "a/late"); err == nil {
		t.Error("an earlier bucket was filled again")
	}
	resp, err := http.PostForm(r.at.STS, url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {stsVersion}, "RoleArn": {roleARN("agents")}, "RoleSessionName": {"vk-old"}, "WebIdentityToken": {a.token(t, func(*jwt.Claims) {})},
	})
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode < 400 {
		t.Errorf("a token of the earlier authority: %s", resp.Status)
	}
	second := c
	second.Buckets = nil
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := open(short, mustCheck(t, second)); err == nil || !strings.Contains(err.Error(), "another target") {
		t.Errorf("two in one folder: %v", err)
	}
	r.stop(t)
}

func mustCheck(t *testing.T, c config) config {
	t.Helper()
	must(t, c.check())
	return c
}

// client signs with the session that STS answers.
func client(t *testing.T, endpoint string, body io.Reader) *s3.Client {
	t.Helper()
	got := decode(t, body)
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: region, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(got.Key, got.Secret, got.Token),
	})
}

// elsewhere is the same client at another address.
func elsewhere(endpoint string, c *s3.Client) *s3.Client {
	o := c.Options()
	o.BaseEndpoint = aws.String(endpoint)
	return s3.New(o)
}
