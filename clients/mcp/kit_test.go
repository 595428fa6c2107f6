package mcp_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/helper/proc"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/mcp"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// TestMain has the test's own binary stand in for the valetkey command: of the one
// that profiles name, "agent credential --socket PATH", and of a keeper.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "agent" && os.Args[2] == "credential" {
		body, err := serve.Ask(context.Background(), os.Args[4], "/")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_, _ = os.Stdout.Write(body)
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[1] == "keep" { // "keep FILE NAME ARGUMENTS"
		status, err := proc.Keep(os.Args[2], os.Args[3:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(126)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// kept has commands run under a keeper, which this binary is too.
func kept(r mcp.Run) mcp.Run {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	r.Keeper = []string{self, "keep"}
	return r
}

var prod = map[string]any{"bucket": "prod", "prefix": "reports/"}

// site is a broker, and an MCP server in front of it.
type site struct {
	h      *brokertest.Harness
	server *mcp.Server
	shelf  *serve.Shelf
	dir    string
	logs   brokertest.Buffer
	wire   brokertest.Buffer // all that clients receive
}

// minter makes up credentials of both providers, and remembers their secrets.
type minter struct {
	permits *mint.Verifier
	vault   string // Vault's address

	mu      sync.Mutex
	secrets []string // locked by mu
}

// Mint implements mint.Minter.
func (m *minter) Mint(_ context.Context, p mint.Permit) (mint.Credential, error) {
	o, err := m.permits.Verify(p)
	if err != nil {
		return mint.Credential{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.Permissions.Permissions().AWS != nil {
		h := o.Handle(mint.ProviderAWS)
		// With what JSON and URLs spell in other ways.
		h.AccessKeyID = "AKIA" + rand.Text()[:16]
		s := mint.AWSSecret{AccessKeyID: h.AccessKeyID, SecretAccessKey: "s3cr3t/+<&>" + rand.Text(), SessionToken: "t0k3n/+=" + rand.Text()}
		m.secrets = append(m.secrets, s.SecretAccessKey, s.SessionToken)
		return mint.NewCredential(h, o.NotAfter, mint.Secret{AWS: &s}), nil
	}
	h := o.Handle(mint.ProviderVault)
	h.VaultAccessor = "accessor-" + rand.Text()
	s := mint.VaultSecret{Accessor: h.VaultAccessor, Address: m.vault}
	if o.Permissions.VaultRead() == "" {
		s.Token = "hvs." + rand.Text()
		m.secrets = append(m.secrets, s.Token)
	} else {
		password := "p4ss/\"" + rand.Text()
		m.secrets = append(m.secrets, password)
		h.VaultLeaseID = "database/creds/app/" + rand.Text()
		s.LeaseID = h.VaultLeaseID
		if s.DataJSON, err = json.Marshal(map[string]string{"username": "v-app-" + rand.Text(), "password": password}); err != nil {
			return mint.Credential{}, err
		}
	}
	return mint.NewCredential(h, o.NotAfter, mint.Secret{Vault: &s}), nil
}

// Revoke implements mint.Minter.
func (m *minter) Revoke(context.Context, mint.Handle) (mint.RevokeOutcome, error) {
	return mint.RevokedUpstream, nil
}

func (m *minter) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.secrets)
}

func newSite(t *testing.T, change func(*mcp.Config)) *site {
	t.Helper()
	s := &site{h: brokertest.NewRunning(t, brokertest.Config{})}
	s.serve(t, change)
	return s
}

func mustClient(t *testing.T, s *site) *valetkey.Client {
	t.Helper()
	return (&clienttest.Kit{H: s.h}).Dial(t, valetkey.WithRetryFor(time.Second), valetkey.WithLogger(slog.Default()))
}

func (s *site) serve(t *testing.T, change func(*mcp.Config)) {
	t.Helper()
	client := mustClient(t, s)
	var err error
	// Short: a socket's path has 107 bytes.
	s.dir, err = os.MkdirTemp("", "vk-mcp-") //nolint:usetesting // its name is too long for a socket in it
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(s.dir)) })
	s.shelf, err = serve.NewShelf(serve.ShelfConfig{Dir: filepath.Join(s.dir, "shelf")})
	must(t, err)
	t.Cleanup(func() { must(t, s.shelf.Close()) })
	cfg := mcp.Config{Client: client, Shelf: s.shelf, Version: "test", Log: slog.New(slog.NewTextHandler(&s.logs, nil))}
	if change != nil {
		change(&cfg)
	}
	s.server, err = mcp.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, s.server.Close()) })
}

// said is all that the server has logged.
func (s *site) said() string { return s.logs.String() }

type teeReader struct {
	io.Reader
	io.Closer
}

// stdio connects a client over newline-delimited JSON.
func (s *site) stdio(t *testing.T) *sdk.ClientSession {
	t.Helper()
	down, serverOut := io.Pipe()
	serverIn, up := io.Pipe()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { done <- s.server.ServeStdio(ctx, serverIn, serverOut) }()
	c, err := newClient().Connect(t.Context(), &sdk.IOTransport{Reader: teeReader{io.TeeReader(down, &s.wire), down}, Writer: up}, nil)
	must(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		cancel()
		must(t, <-done)
	})
	return c
}

func newClient() *sdk.Client {
	return sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
}

const token = "a-token-of-more-than-26-characters"

// teeTransport adds the token and copies what is received.
type teeTransport struct {
	token string
	to    io.Writer
}

func (tt teeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+tt.token)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	_ = resp.Header.Write(tt.to)
	resp.Body = teeReader{io.TeeReader(resp.Body, tt.to), resp.Body}
	return resp, nil
}

// listen serves over HTTP, and says where.
func (s *site) listen(t *testing.T) (url string) {
	t.Helper()
	lis, err := serve.ListenLocal("127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.server.ServeHTTP(ctx, lis, mcp.HTTPConfig{Token: token}) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return lis.URL(mcp.MCPPath)
}

// http connects a client over streamable HTTP.
func (s *site) http(t *testing.T) *sdk.ClientSession {
	t.Helper()
	return s.httpTo(t, s.listen(t))
}

func (s *site) httpTo(t *testing.T, url string) *sdk.ClientSession {
	t.Helper()
	c, err := newClient().Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: url, HTTPClient: &http.Client{Transport: teeTransport{token, &s.wire}}, MaxRetries: -1,
	}, nil)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// transports are the two ways to connect.
var transports = map[string]func(*site, *testing.T) *sdk.ClientSession{"stdio": (*site).stdio, "http": (*site).http}

// each runs f over both.
func each(t *testing.T, f func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession)) {
	for name, connect := range transports {
		t.Run(name, func(t *testing.T) { f(t, connect) })
	}
}

// raw calls a tool.
func raw(t *testing.T, c *sdk.ClientSession, tool string, args any) *sdk.CallToolResult {
	t.Helper()
	res, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return res
}

// ask calls a tool that is to succeed.
func ask[Out any](t *testing.T, c *sdk.ClientSession, tool string, args any) (out Out) {
	t.Helper()
	res := raw(t, c, tool, args)
	if res.IsError {
		t.Fatalf("%s refuses: %s", tool, textOf(res))
	}
	b, err := json.Marshal(res.StructuredContent)
	must(t, errors.Join(err, json.Unmarshal(b, &out)))
	return out
}

// refused calls a tool that is to refuse.
func refused(t *testing.T, c *sdk.ClientSession, tool string, args any) (r mcp.Refusal) {
	t.Helper()
	res := raw(t, c, tool, args)
	if !res.IsError || len(res.Content) != 2 {
		t.Fatalf("%s does not refuse: %s", tool, textOf(res))
	}
	must(t, json.Unmarshal([]byte(res.Content[1].(*sdk.TextContent).Text), &r))
	if r.Reason == "" || r.Message == "" || r.Next == "" || res.StructuredContent != nil {
		t.Errorf("%s refuses with %+v", tool, r)
	}
	return r
}

func textOf(res *sdk.CallToolResult) (out string) {
	for _, c := range res.Content {
		if text, ok := c.(*sdk.TextContent); ok {
			out += text.Text + "\n"
		}
	}
	return out
}

func openTask(t *testing.T, c *sdk.ClientSession) string {
	t.Helper()
	return ask[mcp.OpenTaskOut](t, c, "open_task", map[string]any{"purpose": "a test", "environment": "staging"}).Task
}

func request(task, scope string, params map[string]any) map[string]any {
	return map[string]any{"task": task, "scope": scope, "parameters": params, "purpose": "a test"}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
