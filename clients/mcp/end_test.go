package mcp_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/mcp"
)

// busy has a client's command run that does not listen to SIGTERM, and gives the
// file with the id of what it started.
func busy(t *testing.T, s *site, c *sdk.ClientSession) (pid string) {
	t.Helper()
	pid = filepath.Join(s.dir, "pid")
	a := ask[mcp.AccessOut](t, c, "request_access", request(openTask(t, c), "s3-prefix-read", prod)).Access
	go func() {
		args := command(a, "sh", "-c", `trap "" TERM; sleep 1000 & echo $! > `+pid+".part; mv "+pid+".part "+pid+"; wait; sleep 1000")
		_, _ = c.CallTool(context.WithoutCancel(t.Context()), &sdk.CallToolParams{Name: "run_command", Arguments: args}) // cut off
	}()
	brokertest.Eventually(t, "the command runs", func() bool {
		_, err := os.Stat(pid)
		return err == nil
	})
	return pid
}

// over holds that an end takes no longer than it may, and leaves nothing.
func (s *site) over(t *testing.T, pid string, end func()) {
	t.Helper()
	began := time.Now()
	end()
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("the end took %v", took)
	}
	gone(t, pid)
	brokertest.Eventually(t, "its credential is over", func() bool { return s.h.Minter.Live() == 0 })
}

// TestEndWhileACommandRuns ends servers and sessions in the middle of a call.
func TestEndWhileACommandRuns(t *testing.T) {
	sh := withRun(mcp.Run{Programs: []string{"sh"}})
	t.Run("stdio", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, sh)
		down, serverOut := io.Pipe()
		serverIn, up := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.server.ServeStdio(ctx, serverIn, serverOut) }()
		c, err := newClient().Connect(t.Context(), &sdk.IOTransport{Reader: down, Writer: up}, nil)
		must(t, err)
		pid := busy(t, s, c)
		s.over(t, pid, func() {
			cancel()
			must(t, <-done)
			must(t, s.server.Close())
		})
		must(t, down.Close())
	})
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, sh)
		s.over(t, busy(t, s, s.http(t)), func() { must(t, s.server.Close()) })
	})
	t.Run("a client that leaves", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, sh)
		url := s.listen(t)
		c := s.httpTo(t, url)
		s.over(t, busy(t, s, c), func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
			must(t, err)
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Mcp-Session-Id", c.ID())
			resp, err := http.DefaultClient.Do(req)
			must(t, err)
			must(t, resp.Body.Close())
		})
	})
	t.Run("a client that reads nothing", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, sh)
		down, serverOut := io.Pipe()
		serverIn, up := io.Pipe()
		t.Cleanup(func() { _ = down.Close() })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.server.ServeStdio(ctx, serverIn, serverOut) }()
		_, err := io.WriteString(up, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`+"\n")
		must(t, err)
		_, err = io.ReadFull(down, make([]byte, 1)) // the answer is on its way, and no more of it is read
		must(t, err)
		cancel()
		must(t, <-done)
		must(t, s.server.Close())
	})
}
