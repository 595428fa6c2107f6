package e2e_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// skewedMinIO is a real MinIO whose answers are dated by another clock.
type skewedMinIO struct {
	servers.MinIOServer
	url string // of the proxy in front

	mu   sync.Mutex
	off  time.Duration // locked by mu
	last stsAnswer     // what it gave; locked by mu
}

func newSkewedMinIO(t *testing.T) *skewedMinIO {
	t.Helper()
	m := &skewedMinIO{MinIOServer: servers.MinIO(t)}
	to, err := url.Parse(m.Endpoint)
	must(t, err)
	srv := httptest.NewServer(&httputil.ReverseProxy{
		// The Host header stays: the call's signature is over it, and MinIO
		// computes that over what it is told.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: m.answer,
	})
	t.Cleanup(srv.Close)
	m.url = srv.URL
	return m
}

func (m *skewedMinIO) answer(r *http.Response) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	r.Header.Set("Content-Length", strconv.Itoa(len(raw)))
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Header.Set("Date", time.Now().Add(m.off).UTC().Format(http.TimeFormat))
	var a stsAnswer
	if xml.Unmarshal(raw, &a) == nil && a.Token != "" {
		m.last = a
	}
	return nil
}

func (m *skewedMinIO) set(off time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off, m.last = off, stsAnswer{}
}

// given is an S3 client with what MinIO gave last, whether or not the broker
// delivered it.
func (m *skewedMinIO) given(t *testing.T) (*s3.Client, string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last.Token == "" {
		t.Fatal("MinIO gave no session")
	}
	return s3Client(m.Endpoint, m.last.ID, m.last.Secret, m.last.Token), m.last.ID
}

// TestClocksApart has MinIO's answers dated ten minutes off, either way. A deadline
// by one clock and kept by the other would not be the one that was approved, so
// nothing is delivered, and what MinIO gave is revoked there.
func TestClocksApart(t *testing.T) {
	l := newLocal(t)
	m := newSkewedMinIO(t)
	l.edit(t, "valetkeyd.yaml", "    endpoint: "+l.sts.url, "    endpoint: "+m.url)
	root := s3Client(m.Endpoint, m.AccessKey, m.SecretKey, "")
	eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	must(t, put(t.Context(), root, "reports/one"))
	d := start(t, program(t, "valetkeyd"), []string{"AWS_ACCESS_KEY_ID=" + m.AccessKey, "AWS_SECRET_ACCESS_KEY=" + m.SecretKey}, l.args()...)
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	read := func(c *s3.Client) error {
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String("reports/one")})
		return err
	}
	var undelivered []string
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		m.set(off)
		resp, err := c.Agent.RequestGrant(t.Context(), ask(task))
		refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_INVALID)
		if resp.GetCredential() != nil {
			t.Errorf("with a clock %v off a credential was delivered", off)
		}
		eventually(t, 2*time.Minute, "the log says that it is the clock", func() bool { return strings.Contains(d.errors(), "clocks apart") })
		session, id := m.given(t)
		undelivered = append(undelivered, id)
		eventually(t, revocationLimit, "MinIO refuses the session that was not delivered", func() bool { return forbidden(read(session)) })
	}

	// The same, dated right, works: it was the clock.
	m.set(0)
	resp, err := c.Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	session, id := m.given(t)
	if got := resp.GetCredential().GetAws().GetAccessKeyId(); got != id {
		t.Errorf("delivered %s, MinIO gave %s", got, id)
	}
	must(t, read(session))
	eventually(t, 2*time.Minute, "both revocations are on the record", func() bool {
		_, log := readLog(t, l.site, d.log)
		return count(log, func(e entry) bool { return e.Type == "revocation.concluded" && e.Outcome == "revoked_upstream" }) == 2
	})
	verify(t, l.site, d.log)
	_, log := readLog(t, l.site, d.log)
	if n := count(log, func(e entry) bool { return e.Type == "issuance.failed" && e.Reason == "UPSTREAM_INVALID" }); n != len(undelivered) {
		t.Errorf("%d issuances failed on the record, want %d", n, len(undelivered))
	}
	if n := count(log, func(e entry) bool { return e.Type == "issuance.issued" }); n != 1 {
		t.Errorf("%d issuances on the record, want 1", n)
	}
}
