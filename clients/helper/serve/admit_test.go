package serve

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/helper/files"
)

// address serves h on a loopback address to p, and says where.
func address(t *testing.T, p listen.Peers, log *slog.Logger, h http.Handler) (*Server, string) {
	t.Helper()
	lis, err := listen.Loopback("")
	must(t, err)
	s := Start(lis, p, log, h)
	t.Cleanup(func() { _ = s.Close() }) // some tests close it first
	return s, lis.Addr().String()
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() }) // the other end may have
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// TestStrangersTakeNoPlace has many of another user begin requests and not end them.
func TestStrangersTakeNoPlace(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux says whose a connection is")
		return
	}
	var served atomic.Int64
	var logged brokertest.Buffer
	_, addr := address(t, listen.NewPeers([]int{os.Geteuid() + 1}, true), slog.New(slog.NewTextHandler(&logged, nil)),
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }))
	resp, err := http.Post("http://"+addr, "text/plain", strings.NewReader("a whole request")) //nolint:noctx // a stranger
	must(t, err)
	text, err := io.ReadAll(resp.Body)
	must(t, errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "may not") || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a stranger gets %d %s", resp.StatusCode, text)
	}
	halves := make([]net.Conn, 200)
	for i := range halves {
		halves[i] = dialTCP(t, addr)
		_, _ = io.WriteString(halves[i], "GET / HTTP/1.1\r\nX: ") // most are hung up on
	}
	began := time.Now()
	for i, c := range halves {
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is held", i)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("strangers are held for %s", took)
	}
	if served.Load() != 0 {
		t.Errorf("%d strangers were served", served.Load())
	}
	if n := strings.Count(logged.String(), "refused"); n < 1 || n > 20 {
		t.Errorf("201 strangers are %d lines in the log", n)
	}
}

// TestAddressesHaveLimits begins one request more than an address takes.
func TestAddressesHaveLimits(t *testing.T) {
	s, addr := address(t, listen.NewPeers(nil, false), discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	many := make([]net.Conn, listen.Table().Local.All)
	for i := range many {
		many[i] = dialTCP(t, addr)
		_, err := io.WriteString(many[i], "GET / HTTP/1.1\r\nHost: "+addr+"\r\n")
		must(t, err)
	}
	late := dialTCP(t, addr)
	_, err := io.WriteString(late, "GET / HTTP/1.1\r\nHost: "+addr+"\r\n\r\n")
	must(t, err)
	must(t, late.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	if _, err := http.ReadResponse(bufio.NewReader(late), nil); !errors.Is(err, os.ErrDeadlineExceeded) { //nolint:bodyclose // there is none
		t.Errorf("one more than %d: %v", len(many), err)
	}
	must(t, many[0].Close())
	must(t, late.SetReadDeadline(time.Now().Add(20*time.Second)))
	resp, err := http.ReadResponse(bufio.NewReader(late), nil)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("when one has left: %d", resp.StatusCode)
	}
	must(t, s.Close()) // full, too
	if _, err := io.Copy(io.Discard, many[1]); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection outlives the address")
	}
}

// TestRefusalsDoNotFillTheLog sends long names, many times.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	var logged brokertest.Buffer
	s, addr := address(t, listen.NewPeers(nil, false), slog.New(slog.NewTextHandler(&logged, nil)), http.NotFoundHandler())
	for range 100 {
		c := dialTCP(t, addr)
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+strings.Repeat("a", 60_000)+"\r\nConnection: close\r\n\r\n")
		must(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusForbidden {
			t.Fatalf("a wrong name: %d", resp.StatusCode)
		}
	}
	must(t, s.Close())
	if n := len(logged.String()); n == 0 || n > 20*1024 {
		t.Errorf("100 refusals are %d bytes in the log", n)
	}
}

// TestNothingOutlivesItsAddress has somebody ask for an upgrade, as for a websocket,
// of an address that passes on.
func TestNothingOutlivesItsAddress(t *testing.T) {
	upgraded := make(chan net.Conn, 1)
	beyond := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		upgraded <- c
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_ = rw.Flush()
	}))
	t.Cleanup(beyond.Close)
	to, err := url.Parse(beyond.URL)
	must(t, err)
	s, addr := address(t, listen.NewPeers(nil, false), discard(), httputil.NewSingleHostReverseProxy(to))
	c := dialTCP(t, addr)
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("asking for an upgrade: %d", resp.StatusCode)
	}
	must(t, s.Close())
	select {
	case far := <-upgraded:
		must(t, far.SetDeadline(time.Now().Add(time.Second)))
		if _, err := far.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection is open, its address is not")
		}
		must(t, far.Close())
	default:
	}
}

// TestWhoOnlyKnocks is a socket that is dialled and left, as probes do.
func TestWhoOnlyKnocks(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	lis, err := files.Socket(sock)
	must(t, err)
	s := Start(lis, listen.NewPeers(nil, true), discard(), http.NotFoundHandler())
	for range 2 * listen.Table().Local.All {
		c, err := net.Dial("unix", sock)
		must(t, err)
		must(t, c.Close())
	}
	if _, err := Ask(t.Context(), sock, "/"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("after them: %v", err)
	}
	must(t, s.Close())
}

func TestLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "10.0.0.1:80", "localhost:0", "127.0.0.1", "x"} {
		if lis, err := listen.Loopback(addr); err == nil {
			t.Errorf("%s is listened on", addr)
			must(t, lis.Close())
		}
	}
}
