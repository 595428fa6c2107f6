package mcp_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/mcp"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func revoke(t *testing.T, h *brokertest.Harness, grant string) {
	t.Helper()
	_, err := h.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{
		IdempotencyKey: valetkey.NewIdempotencyKey(), GrantId: grant, Cause: "a test",
	})
	must(t, err)
}

func TestHostileArguments(t *testing.T) {
	each(t, func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession) {
		s := newSite(t, nil)
		c := connect(s, t)
		task := openTask(t, c)
		with := func(change map[string]any) map[string]any {
			out := request(task, "s3-prefix-read", prod)
			for k, v := range change {
				out[k] = v
			}
			return out
		}
		param := func(v any) map[string]any {
			return with(map[string]any{"parameters": map[string]any{"bucket": "prod", "prefix": v}})
		}
		many := make([]string, 40)
		for name, tt := range map[string]struct {
			tool   string
			args   any
			reason string
		}{
			"a newline":                 {"request_access", param("a\n[profile admin]"), mcp.ReasonInvalidArgument},
			"an escape":                 {"request_access", param("a\x1b[2J"), mcp.ReasonInvalidArgument},
			"a wildcard":                {"request_access", param("*"), "INVALID_PARAMETER"},
			"a value that is too long":  {"request_access", param(strings.Repeat("a", 1025)), mcp.ReasonInvalidArgument},
			"too many values":           {"request_access", param(many), mcp.ReasonInvalidArgument},
			"a name twice":              {"open_task", json.RawMessage(`{"purpose":"x","environment":"staging","environment":"production"}`), mcp.ReasonInvalidArgument},
			"a parameter twice":         {"request_access", json.RawMessage(`{"task":"` + task + `","scope":"s3-prefix-read","purpose":"x","parameters":{"bucket":"prod","prefix":"a/","prefix":"b/"}}`), mcp.ReasonInvalidArgument},
			"a name in capitals":        {"open_task", json.RawMessage(`{"purpose":"x","environment":"staging","Environment":"production"}`), mcp.ReasonInvalidArgument},
			"a name in capitals alone":  {"open_task", json.RawMessage(`{"purpose":"x","ENVIRONMENT":"production"}`), mcp.ReasonInvalidArgument},
			"a look-alike of a name":    {"open_task", json.RawMessage(`{"purpose":"x","environment":"staging","envir\u03bfnment":"production"}`), mcp.ReasonInvalidArgument},
			"a number":                  {"request_access", param(7), mcp.ReasonInvalidArgument},
			"a parameter named so":      {"request_access", with(map[string]any{"parameters": map[string]any{"a\nb": "c"}}), mcp.ReasonInvalidArgument},
			"10 MB":                     {"request_access", param(strings.Repeat("a", 10<<20)), mcp.ReasonTooLarge},
			"10 MB of purpose":          {"open_task", map[string]any{"purpose": strings.Repeat("a", 10<<20), "environment": "staging"}, mcp.ReasonTooLarge},
			"a path as a profile":       {"request_access", with(map[string]any{"profile": "../../etc/passwd"}), mcp.ReasonInvalidArgument},
			"a section as a profile":    {"request_access", with(map[string]any{"profile": "x]\n[default"}), mcp.ReasonInvalidArgument},
			"an absolute profile":       {"request_access", with(map[string]any{"profile": "/tmp/x"}), mcp.ReasonInvalidArgument},
			"a long profile":            {"request_access", with(map[string]any{"profile": strings.Repeat("a", 49)}), mcp.ReasonInvalidArgument},
			"an unknown handle":         {"access_status", map[string]any{"access": "access-AAAAAAAAAAAAAAAAAAAAAAAAAA"}, mcp.ReasonUnknownHandle},
			"no handle":                 {"release", map[string]any{"access": ""}, mcp.ReasonUnknownHandle},
			"a task for an access":      {"release", map[string]any{"access": task}, mcp.ReasonUnknownHandle},
			"an argument too many":      {"open_task", map[string]any{"purpose": "x", "environment": "staging", "admin": true}, mcp.ReasonInvalidArgument},
			"a scope of another form":   {"request_access", with(map[string]any{"scope": "../x"}), "INVALID_REQUEST"},
			"a life without end":        {"request_access", with(map[string]any{"ttl_seconds": 1 << 40}), "TTL_TOO_LONG"},
			"again and more":            {"request_access", with(map[string]any{"again": "access-x"}), mcp.ReasonInvalidArgument},
			"no purpose":                {"request_access", with(map[string]any{"purpose": " "}), mcp.ReasonInvalidArgument},
			"run_command, which is off": {"run_command", map[string]any{"access": []string{"x"}, "argv": []string{"id"}}, mcp.ReasonDisabled},
			"a list for arguments":      {"list_scopes", []string{"x"}, mcp.ReasonInvalidArgument},
		} {
			r := refused(t, c, tt.tool, tt.args)
			if r.Reason != tt.reason {
				t.Errorf("%s: %+v, want %s", name, r, tt.reason)
			}
			if strings.ContainsAny(r.Message, "\n\x1b") || len(r.Message) > 1024 {
				t.Errorf("%s: the message is %q", name, r.Message)
			}
		}
		if s.h.Minter.Live() != 0 {
			t.Errorf("%d credentials live", s.h.Minter.Live())
		}
		// A name is one access's.
		ask[mcp.AccessOut](t, c, "request_access", with(map[string]any{"profile": "mine"}))
		if r := refused(t, c, "request_access", with(map[string]any{"profile": "mine"})); r.Reason != mcp.ReasonInvalidArgument {
			t.Errorf("a name that is taken: %+v", r)
		}
		files, err := filepath.Glob(filepath.Join(s.dir, "*"))
		must(t, err)
		if len(files) != 1 {
			t.Errorf("the folder has %v", files)
		}
	})
}

// TestOtherSession hands one session's handles to another.
func TestOtherSession(t *testing.T) {
	s := newSite(t, withRun(mcp.Run{Programs: []string{"true"}}))
	url := s.listen(t)
	alice, mallory := s.httpTo(t, url), s.httpTo(t, url)
	task := openTask(t, alice)
	a := ask[mcp.AccessOut](t, alice, "request_access", request(task, "s3-prefix-read", prod)).Access
	for tool, args := range map[string]map[string]any{
		"access_status": {"access": a}, "release": {"access": a}, "close_task": {"task": task}, "run_command": command(a, "true"),
		"request_access": request(task, "s3-prefix-read", prod), "explain": {"task": task, "scope": "s3-prefix-read", "parameters": prod},
	} {
		if r := refused(t, mallory, tool, args); r.Reason != mcp.ReasonUnknownHandle {
			t.Errorf("%s with another session's handle: %+v", tool, r)
		}
	}
	if r := refused(t, mallory, "request_access", map[string]any{"again": a}); r.Reason != mcp.ReasonUnknownHandle {
		t.Errorf("asking again for another session: %+v", r)
	}
	// Its end is not the other's.
	must(t, mallory.Close())
	if got := ask[mcp.AccessOut](t, alice, "access_status", map[string]any{"access": a}); got.State != "ready" {
		t.Errorf("then it is %+v", got)
	}
}

// TestForgedState answers a question that the server has not asked.
func TestForgedState(t *testing.T) {
	s := newSite(t, nil)
	c := s.stdio(t)
	res, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: "list_scopes", RequestState: "approved=yes"})
	must(t, err)
	if !res.IsError || !strings.Contains(textOf(res), mcp.ReasonInvalidArgument) {
		t.Errorf("a state of the client's own is taken: %s", textOf(res))
	}
}

func TestGate(t *testing.T) {
	s := newSite(t, nil)
	url := s.listen(t)
	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), mcp.MCPPath)
	_, port, err := net.SplitHostPort(host)
	must(t, err)
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
	for name, tt := range map[string]struct {
		change func(*http.Request)
		code   int
	}{
		"as it should be":  {func(*http.Request) {}, http.StatusOK},
		"localhost":        {func(r *http.Request) { r.Host = "localhost:" + port }, http.StatusOK},
		"no token":         {func(r *http.Request) { r.Header.Del("Authorization") }, http.StatusUnauthorized},
		"another token":    {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"x") }, http.StatusUnauthorized},
		"a token as basic": {func(r *http.Request) { r.Header.Set("Authorization", "Basic "+token) }, http.StatusUnauthorized},
		"a rebound name":   {func(r *http.Request) { r.Host = "evil.example.org:" + port }, http.StatusForbidden},
		"no port":          {func(r *http.Request) { r.Host = "127.0.0.1" }, http.StatusForbidden},
		"a page":           {func(r *http.Request) { r.Header.Set("Origin", "https://evil.example.org") }, http.StatusForbidden},
		"a local page":     {func(r *http.Request) { r.Header.Set("Origin", "http://"+host) }, http.StatusForbidden},
		"no page's Origin": {func(r *http.Request) { r.Header.Set("Origin", "null") }, http.StatusForbidden},
		"a browser":        {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, http.StatusForbidden},
		"a proxy":          {func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.1") }, http.StatusForbidden},
		"two tokens":       {func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+token) }, http.StatusUnauthorized},
		"another path":     {func(r *http.Request) { r.URL.Path = "/" }, http.StatusNotFound},
		"a session's id":   {func(r *http.Request) { r.Header.Set("Mcp-Session-Id", "guess") }, http.StatusNotFound},
		"over the limit": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 17<<20)), 17<<20
		}, http.StatusRequestEntityTooLarge},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(hello))
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		tt.change(r)
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != tt.code {
			t.Errorf("%s: %s, want %d", name, resp.Status, tt.code)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestManySessions opens more than the server keeps.
func TestManySessions(t *testing.T) {
	s := &site{h: brokertest.NewRunning(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1e6, Burst: 1e5}})}
	s.serve(t, nil)
	url := s.listen(t)
	first := s.httpTo(t, url)
	openTask(t, first)
	second := s.httpTo(t, url)
	for range 62 + 100 { // these hold nothing: the oldest of such make room
		s.httpTo(t, url)
	}
	brokertest.Eventually(t, "the oldest that holds nothing is over", func() bool { return second.Ping(t.Context(), nil) != nil })
	must(t, first.Ping(t.Context(), nil))
	for range 63 {
		openTask(t, s.httpTo(t, url))
	}
	_, err := newClient().Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: url, HTTPClient: &http.Client{Transport: teeTransport{token, io.Discard}}, MaxRetries: -1,
	}, nil)
	if err == nil || !strings.Contains(err.Error(), "64 sessions are open") {
		t.Errorf("one session too many: %v", err)
	}
	must(t, first.Ping(t.Context(), nil))
}

// TestManyAccesses holds as much as a session may, which leaves room to look at it:
// the broker has a limit on what an agent follows.
func TestManyAccesses(t *testing.T) {
	s := &site{h: brokertest.NewRunning(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1e6, Burst: 1e5}})}
	s.serve(t, nil)
	c := s.stdio(t)
	task := openTask(t, c)
	var all []mcp.AccessOut
	for range 64 {
		all = append(all, ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-prefix-read", prod)))
	}
	for _, a := range all {
		if now := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": a.Access}); now.State != "ready" {
			t.Fatalf("it is %+v", now)
		}
	}
	// Also one that is not followed does not live on when it was revoked.
	last := all[len(all)-1]
	revoke(t, s.h, last.GrantID)
	if now := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": last.Access}); now.State != "ended" {
		t.Errorf("a revoked grant: %+v", now)
	}
}

func TestLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "localhost:0", "unix://mcp.sock", "10.0.0.1:80"} {
		if lis, err := serve.ListenLocal(address); err == nil {
			t.Errorf("%s is listened on", address)
			must(t, lis.Close())
		}
	}
	s := newSite(t, nil)
	for _, short := range []string{"", "short"} {
		lis, err := serve.ListenLocal("127.0.0.1:0")
		must(t, err)
		if err := s.server.ServeHTTP(t.Context(), lis, mcp.HTTPConfig{Token: short}); err == nil {
			t.Errorf("the token %q is taken", short)
		}
	}
}

// TestStdioFlood sends a message that no message is.
func TestStdioFlood(t *testing.T) {
	s := newSite(t, nil)
	down, out := io.Pipe()
	in, up := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.server.ServeStdio(ctx, in, out) }()
	go func() { _, _ = io.Copy(io.Discard, down) }()
	go func() {
		_, _ = io.Copy(up, io.MultiReader(strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`), io.LimitReader(letters{}, 64<<20)))
	}()
	if err := <-done; err == nil || ctx.Err() != nil {
		t.Errorf("a message without end: %v", err)
	}
}

type letters struct{}

func (letters) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	return len(b), nil
}

func TestNewToken(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	first, err := mcp.NewToken(name)
	must(t, err)
	must(t, os.Chmod(name, 0o640))
	second, err := mcp.NewToken(name)
	must(t, err)
	info, err := os.Stat(name)
	must(t, err)
	raw, err := os.ReadFile(name)
	must(t, err)
	if first == second || len(second) != 52 || info.Mode().Perm() != 0o600 || string(raw) != second+"\n" {
		t.Errorf("two starts, tokens of %d characters, mode %v, the file holds the second: %v", len(second), info.Mode(), string(raw) == second+"\n")
	}
	if _, err := mcp.NewToken(t.TempDir()); err == nil {
		t.Error("a folder is taken")
	}
	theirs := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(theirs, []byte(token+"\n"), 0o600))
	says := "another user's"
	if os.Chown(theirs, 65534, -1) != nil { // not root: then the kernel says no
		theirs, says = "/proc/1/environ", "permission denied"
	}
	if _, err := mcp.NewToken(theirs); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("another user's file: %v", err)
	}
}
