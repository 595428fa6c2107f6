package devauthority_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
)

// The in-memory source is an identity source like any other.
var _ identity.Source = (*devauthority.Source)(nil)

const domain = "dev.valetkey.test"

var agentID = spiffeid.RequireFromString("spiffe://dev.valetkey.test/agent/ann/s1")

func newAuthority(t *testing.T, cfg devauthority.Config) *devauthority.Authority {
	t.Helper()
	cfg.TrustDomain = domain
	a, err := devauthority.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func closeLater(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// serve gives a client of a fresh socket and the socket's path.
func serve(t *testing.T, a *devauthority.Authority) (*workloadapi.Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api", "agent.sock")
	if err := a.Serve(t.Context(), path, agentID); err != nil {
		t.Fatal(err)
	}
	client, err := workloadapi.New(t.Context(), workloadapi.WithAddr("unix://"+path))
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, client)
	return client, path
}

func TestWorkloadAPI(t *testing.T) {
	a := newAuthority(t, devauthority.Config{})
	client, _ := serve(t, a)
	svid, err := client.FetchX509SVID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bundles, err := client.FetchX509Bundles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := x509svid.Verify(svid.Certificates, bundles); err != nil || id != agentID {
		t.Errorf("got %v, %v", id, err)
	}
	if life := time.Until(svid.Certificates[0].NotAfter); life > devauthority.DefaultSVIDTTL || life < devauthority.DefaultSVIDTTL-time.Minute {
		t.Errorf("the SVID lives %v", life)
	}
	token, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "a", ExtraAudiences: []string{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := client.FetchJWTBundles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, audience := range []string{"a", "b"} {
		if got, err := jwtsvid.ParseAndValidate(token.Marshal(), keys, []string{audience}); err != nil || got.ID != agentID {
			t.Errorf("audience %q: got %v, %v", audience, got, err)
		}
		if got, err := client.ValidateJWTSVID(t.Context(), token.Marshal(), audience); err != nil || got.ID != agentID {
			t.Errorf("audience %q: the API says %v, %v", audience, got, err)
		}
	}
	if _, err := client.ValidateJWTSVID(t.Context(), token.Marshal(), "c"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("another audience: %v", err)
	}
	other := spiffeid.RequireFromString("spiffe://dev.valetkey.test/other")
	if _, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "a", Subject: other}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another subject: %v", err)
	}
}

func TestSecurityHeader(t *testing.T) {
	a := newAuthority(t, devauthority.Config{})
	_, path := serve(t, a)
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, conn)
	client := workload.NewSpiffeWorkloadAPIClient(conn)
	for name, pairs := range map[string][]string{
		"missing": nil,
		"false":   {"workload.spiffe.io", "false"},
		"doubled": {"workload.spiffe.io", "true", "workload.spiffe.io", "true"},
	} {
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs(pairs...))
		if _, err := client.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"a"}}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: JWT-SVID: %v", name, err)
		}
		stream, err := client.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: X509-SVID: %v", name, err)
		}
	}
}

// TestRenewal takes a stream past half an SVID's life with nothing else asked.
func TestRenewal(t *testing.T) {
	a := newAuthority(t, devauthority.Config{SVIDTTL: time.Second})
	_, path := serve(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	src, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+path)))
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, src)
	first, err := src.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	for {
		svid, err := src.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		if svid.Certificates[0].NotAfter.After(first.Certificates[0].NotAfter) {
			return
		}
		if err := src.WaitUntilUpdated(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSocketIsPrivate(t *testing.T) {
	a := newAuthority(t, devauthority.Config{})
	_, path := serve(t, a)
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

func TestServeRefused(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, devauthority.Config{SocketDir: filepath.Join(dir, "private")})
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := spiffeid.RequireFromString("spiffe://foreign.test/agent")
	for name, c := range map[string]struct {
		path string
		id   spiffeid.ID
	}{
		"foreign ID":    {filepath.Join(dir, "a.sock"), foreign},
		"zero ID":       {filepath.Join(dir, "a.sock"), spiffeid.ID{}},
		"shared folder": {filepath.Join(shared, "a.sock"), agentID},
		"a file there":  {file, agentID},
		"climbing path": {"../a.sock", agentID},
		"long path":     {filepath.Join(dir, strings.Repeat("a", 108)), agentID},
	} {
		if err := a.Serve(t.Context(), c.path, c.id); err == nil {
			t.Errorf("%s was served", name)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file is now %q, %v", data, err)
	}
	if _, err := devauthority.New(devauthority.Config{TrustDomain: domain, SocketDir: shared}); err == nil {
		t.Error("a shared socket folder was accepted")
	}
	for _, cfg := range []devauthority.Config{{}, {TrustDomain: "A B"}, {TrustDomain: domain, SVIDTTL: time.Millisecond}} {
		if _, err := devauthority.New(cfg); err == nil {
			t.Errorf("config %+v was accepted", cfg)
		}
	}
}

// TestStops ends one socket by its context, the other by Close, and takes a
// path over that a dead authority left behind.
func TestStops(t *testing.T) {
	a := newAuthority(t, devauthority.Config{SocketDir: filepath.Join(t.TempDir(), "s")})
	ctx, cancel := context.WithCancel(t.Context())
	if err := a.Serve(ctx, "one.sock", agentID); err != nil {
		t.Fatal(err)
	}
	path, err := a.SocketPath("two.sock")
	if err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Serve(t.Context(), "two.sock", agentID); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one.sock", "two.sock"} {
		path, err := a.SocketPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if err := a.Serve(t.Context(), "three.sock", agentID); err == nil {
		t.Error("a closed authority serves")
	}
}

func TestOIDC(t *testing.T) {
	if _, err := newAuthority(t, devauthority.Config{}).OIDCHandler(); err == nil {
		t.Error("discovery without an issuer")
	}
	a := newAuthority(t, devauthority.Config{JWTIssuer: "http://127.0.0.1:1"})
	handler, err := a.OIDCHandler()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	getJSON(t, server.URL+"/.well-known/openid-configuration", &discovery)
	if discovery.Issuer != "http://127.0.0.1:1" || discovery.JWKSURI != "http://127.0.0.1:1/keys" {
		t.Errorf("got %+v", discovery)
	}
	var keys struct {
		Keys []map[string]string `json:"keys"`
	}
	getJSON(t, server.URL+"/keys", &keys)
	if len(keys.Keys) != 1 || keys.Keys[0]["alg"] != "ES256" || keys.Keys[0]["d"] != "" {
		t.Errorf("got %v", keys.Keys)
	}
	token, err := a.Source(agentID).FetchJWTSVID(t.Context(), "sts")
	if err != nil || token.Claims["iss"] != "http://127.0.0.1:1" {
		t.Errorf("got %v, %v", token, err)
	}
}

func getJSON(t *testing.T, url string, into any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func TestSource(t *testing.T) {
	ahead := time.Duration(0)
	a := newAuthority(t, devauthority.Config{Now: func() time.Time { return time.Now().Add(ahead) }})
	src := a.Source(agentID)
	get := func() *x509svid.SVID {
		svid, err := src.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		return svid
	}
	first := get()
	if get() != first {
		t.Error("a fresh SVID is made for every use")
	}
	ahead = devauthority.DefaultSVIDTTL/2 + time.Second
	second := get()
	if second == first {
		t.Error("the SVID is not renewed at half life")
	}
	src.Fix(first)
	if get() != first {
		t.Error("Fix has no effect")
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := src.GetX509SVID(); err == nil {
		t.Error("a closed source gives an SVID")
	}
	if err := a.Federate(a.Bundle()); err == nil {
		t.Error("the authority federates with itself")
	}
}
